"""Clients that take arguments or patches and no files: kaniko, Docker-in-Docker, GitLab, Talos."""

from __future__ import annotations

import tomllib

import yaml

from oci_registry.setup import ci, talos
from oci_registry.setup.nouns import Configuration

from .support import HTTP, HTTPS, GeneratorTestCase

MIRROR = "mirror.example:8080"


class SnippetTestCase(GeneratorTestCase):
    """One snippet."""

    def snippet(self, made: Configuration) -> str:
        """The only snippet; there are no files."""
        self.assertEqual(made.files, {})
        (text,) = made.snippets.values()
        return text


class Kaniko(SnippetTestCase):
    """Arguments of kaniko."""

    generator = staticmethod(ci.kaniko)

    def test_arguments(self) -> None:
        """docker.io has a flag of its own, and others are mapped below the mirror."""
        self.assertEqual(
            self.snippet(self.configure("docker.io", "quay.io")).splitlines(),
            [
                f"--registry-mirror={MIRROR}",
                f"--registry-map=quay.io={MIRROR}/quay.io",
                f"--insecure-registry={MIRROR}",
            ],
        )
        self.assertEqual(
            self.snippet(self.configure(url=HTTPS)), "--registry-mirror=mirror.example:8443\n"
        )

    def test_no_fallback(self) -> None:
        """It can be kept from falling back."""
        text = self.snippet(self.configure(url=HTTPS, fallback=False))
        self.assertTrue(text.endswith("\n--skip-default-registry-fallback\n"))

    def test_port(self) -> None:
        """A registry with a port cannot be in a path."""
        made = self.configure("r.example:5000", fallback=False)
        self.assertEqual(made.snippets, {})
        self.assertIn("r.example:5000 is ignored", made.notes[0])


class DockerInDocker(SnippetTestCase):
    """Arguments of dockerd."""

    generator = staticmethod(ci.dind)

    def test_arguments(self) -> None:
        """The mirror of docker.io, and leave to speak plain HTTP to it."""
        self.assertEqual(
            self.snippet(self.configure()).splitlines(),
            [f"--registry-mirror={HTTP}", f"--insecure-registry={MIRROR}"],
        )
        self.assertEqual(self.snippet(self.configure(url=HTTPS)), f"--registry-mirror={HTTPS}\n")

    def test_others(self) -> None:
        """Other registries are reached by name, and the fallback cannot be taken away."""
        made = self.configure("quay.io", url=HTTPS, fallback=False)
        self.assertEqual(made.snippets, {})
        self.assertIn("pull from quay.io as mirror.example:8443/quay.io/...", made.notes[0])
        self.assertIn("always falls back", made.notes[1])


class GitLab(SnippetTestCase):
    """A service of a runner."""

    generator = staticmethod(ci.gitlab)

    def test_service(self) -> None:
        """It can be put into a runner's section as it is."""
        text = self.snippet(self.configure())
        document = tomllib.loads(f'[[runners]]\nname = "x"\n{text}')
        self.assertEqual(
            document["runners"][0]["docker"]["services"],
            [
                {
                    "name": "docker:dind",
                    "alias": "docker",
                    "command": ["--registry-mirror", HTTP, "--insecure-registry", MIRROR],
                }
            ],
        )

    def test_nothing(self) -> None:
        """Without docker.io, and with TLS, there is nothing to tell dockerd."""
        self.assertEqual(self.configure("quay.io", url=HTTPS).snippets, {})


class Talos(SnippetTestCase):
    """A patch of a machine's configuration."""

    generator = staticmethod(talos.configure)

    def test_patch(self) -> None:
        """Each registry has the mirror, and is asked itself only if that is wanted."""
        for fallback, more in ((True, {}), (False, {"skipFallback": True})):
            text = self.snippet(self.configure("docker.io", "quay.io", fallback=fallback))
            mirror = {"endpoints": [HTTP], **more}
            self.assertEqual(
                yaml.safe_load(text),
                {"machine": {"registries": {"mirrors": {"docker.io": mirror, "quay.io": mirror}}}},
            )
        self.assertEqual(self.configure("mirror"), Configuration())
