"""The configuration that podman, buildah, skopeo and CRI-O share."""

from __future__ import annotations

import tomllib

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.setup.containers import PATH, crio, podman
from oci_registry.setup.nouns import Mirror, Unusable, Wanted, choose_registries

from .support import HTTP, HTTPS, GeneratorTestCase


class Podman(GeneratorTestCase):
    """A file for podman."""

    generator = staticmethod(podman)
    path = PATH

    def test_blocks(self) -> None:
        """Each registry has a block, whose mirror has the registry in its path."""
        made = self.configure("docker.io", "quay.io")
        self.assertEqual(list(made.files), [PATH])
        self.assertEqual(made.notes, ())
        self.assertEqual(
            tomllib.loads(made.files[PATH])["registry"],
            [
                {
                    "prefix": name,
                    "location": name,
                    "mirror": [{"location": f"mirror.example:8080/{name}", "insecure": True}],
                }
                for name in ("docker.io", "quay.io")
            ],
        )

    def test_tls(self) -> None:
        """A mirror with TLS is not insecure."""
        made = self.configure(url=HTTPS)
        (block,) = tomllib.loads(made.files[PATH])["registry"]
        self.assertEqual(block["mirror"], [{"location": "mirror.example:8443/docker.io"}])

    def test_port(self) -> None:
        """A registry with a port is left out, since it cannot be in a path; and told."""
        made = self.configure("lan.example:5000", "quay.io")
        self.assertNotIn("lan.example", made.files[PATH])
        self.assertEqual([note.split()[0] for note in made.notes], ["lan.example:5000"])
        made = self.configure("lan.example:5000")
        self.assertEqual(made.files, {})

    def test_address(self) -> None:
        """The mirror cannot be an IPv6 address, with which older clients do not pull at all."""
        error = self.assertRaises(Unusable, self.configure, url="http://[fd00::1]:8080")
        self.assertIn("IPv6", error.reason)
        self.assertIn("10.0.0.1:80/", self.configure(url="http://10.0.0.1:80").files[PATH])

    def test_plain_registry(self) -> None:
        """A registry that has no TLS itself is insecure, and its mirror is what it is."""
        upstream = UpstreamSettings("lan.example", (HostSettings("lan.example", tls=False),))
        registries, _ = choose_registries(["lan.example"], [upstream])
        made = podman(Wanted(Mirror(HTTPS), registries, lambda _: None))
        (block,) = tomllib.loads(made.files[PATH])["registry"]
        self.assertEqual(block["insecure"], True)
        self.assertNotIn("insecure", block["mirror"][0])

    def test_own_file(self) -> None:
        """The file is ours alone: what was in it is replaced."""
        made = self.configure(url=HTTP, existing="[[registry]]\nlocation = 'old.example'\n")
        self.assertEqual(made.files, self.configure(url=HTTP).files)


class Crio(GeneratorTestCase):
    """A file for CRI-O."""

    generator = staticmethod(crio)
    path = PATH

    def test_same(self) -> None:
        """CRI-O reads the same file as podman, when it starts."""
        made = self.configure("quay.io", "r.example:5000")
        registries, _ = choose_registries(["quay.io", "r.example:5000"], ())
        other = podman(Wanted(Mirror(HTTP), registries, lambda _: None))
        self.assertEqual(made.files, other.files)
        self.assertEqual(made.notes, (*other.notes, "restart CRI-O after a change"))


class Alone(GeneratorTestCase):
    """No fallback."""

    generator = staticmethod(podman)
    path = PATH

    def test_instead(self) -> None:
        """The mirror stands in for the registry, and there is nothing to fall back to."""
        document = tomllib.loads(self.configure("quay.io", fallback=False).files[PATH])
        self.assertEqual(
            document["registry"],
            [
                {
                    "prefix": "quay.io",
                    "location": "mirror.example:8080/quay.io",
                    "insecure": True,
                }
            ],
        )
