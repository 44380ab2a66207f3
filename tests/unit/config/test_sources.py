"""Registries that are read again."""

from __future__ import annotations

import json
import os

from attrs import evolve

from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    ConfigError,
    Credentials,
    CredentialsSource,
    Settings,
    UpstreamSources,
)
from oci_registry.config.sources import Reread, pinned, reread_upstreams

from .support import SECRET, LoaderTestCase

QUAY = "- {namespace: quay.io, host: quay.io}\n"
PRIVATE = "- {namespace: corp.example, host: corp.example}\n"


def credentials(namespace: str, password: str = SECRET) -> str:
    """The JSON for one registry."""
    return json.dumps({namespace: {"username": "alice", "password": password}})


class Rereading(LoaderTestCase):
    """reread_upstreams."""

    def reread(self, settings: Settings) -> Reread:
        again = reread_upstreams(settings)
        self.assertNotIn(SECRET, repr(again) + "".join(again.warnings))
        return again

    def refuse(self, settings: Settings) -> list[str]:
        error = self.assertRaises(ConfigError, reread_upstreams, settings)
        self.assertNotIn(SECRET, str(error))
        return list(error.problems)

    def test_unchanged(self) -> None:
        """Files that say the same mean the same, warnings included, wherever credentials come from."""
        path = self.write("u.yaml", QUAY + "- {namespace: a.example, host: a.example, tls: false}")
        secrets = self.write("c.json", credentials("a.example"))
        for flags, environ in (
            ({"upstream-credentials-file": secrets}, {}),
            ({}, {"UPSTREAM_CREDENTIALS": credentials("a.example")}),
        ):
            settings = self.load({"upstream-config-file": path, **flags}, environ)
            again = self.reread(settings)
            self.assertEqual(again.upstreams, settings.upstreams)
            self.assertEqual(again.upstreams[1].hosts[0].credentials, Credentials("alice", SECRET))
            self.assertEqual(again.warnings, settings.warnings)

    def test_credentials_of_the_command_line(self) -> None:
        """What the command line itself has said still holds."""
        settings = self.load({"upstream-credentials": credentials("docker.io")})
        self.assertEqual(self.reread(settings).upstreams, settings.upstreams)
        self.assertNotIn(SECRET, repr(settings))

    def test_nothing_to_read(self) -> None:
        """Without files there is what is built in."""
        self.assertEqual(self.reread(self.load()).upstreams, BUILTIN_UPSTREAMS)

    def test_changed(self) -> None:
        """What both files say now counts."""
        path = self.write("u.yaml", QUAY)
        secrets = self.write("c.json", credentials("quay.io"))
        settings = self.load({"upstream-config-file": path, "upstream-credentials-file": secrets})
        self.write("u.yaml", PRIVATE + QUAY)
        self.write("c.json", credentials("quay.io", "new"))
        private, quay = self.reread(settings).upstreams
        self.assertEqual((private.namespace, quay.namespace), ("corp.example", "quay.io"))
        self.assertEqual(quay.hosts[0].credentials, Credentials("alice", "new"))

    def test_problems(self) -> None:
        """Everything that is wrong is reported at once."""
        path = self.write("u.yaml", QUAY)
        secrets = self.write("c.json", "{}")
        settings = self.load({"upstream-config-file": path, "upstream-credentials-file": secrets})
        self.write("u.yaml", "- {namespace: quay.io, hots: quay.io, retries: -1}")
        self.write("c.json", f"{{{SECRET}")
        problems = self.refuse(settings)
        self.assertEqual(len(problems), 4)
        for part in ("hots", "host: is required", "retries", "--upstream-credentials-file"):
            self.assertEqual(1, len([p for p in problems if part in p]), (part, problems))
        os.unlink(path)
        os.unlink(secrets)
        self.assertEqual(2, len(self.refuse(settings)))

    def test_cut_off(self) -> None:
        """An empty file means no upstream only if there was none at the start."""
        path = self.write("u.yaml", QUAY)
        settings = self.load({"upstream-config-file": path})
        for text in ("", "# only this\n", "null\n", "[]\n"):
            self.write("u.yaml", text)
            (problem,) = self.refuse(settings)
            self.assertEqual(
                f"{path}: contains no upstream; to have none, restart the daemon", problem
            )
            without = self.load({"upstream-config-file": path})
            self.assertEqual((), self.reread(without).upstreams)

    def test_default_namespace(self) -> None:
        """The default must still lead somewhere, unless nothing could be read at all."""
        path = self.write("u.yaml", QUAY + "- {namespace: word, host: corp.example}")
        flags = {"upstream-config-file": path, "default-namespace": "word"}
        for upstreams, part in (("any", "neither configured"), ("configured", "not configured")):
            settings = self.load({**flags, "upstreams": upstreams})
            self.write("u.yaml", QUAY)
            (problem,) = self.refuse(settings)
            self.assertIn(part, problem)
            self.write("u.yaml", "- 5")
            (problem,) = self.refuse(settings)
            self.assertNotIn("--default-namespace", problem)
            self.write("u.yaml", QUAY + "- {namespace: word, host: corp.example}")

    def test_working_directory(self) -> None:
        """Relative names mean what they meant at start."""
        self.write("u.yaml", QUAY)
        self.write("c.json", credentials("quay.io"))
        before = os.getcwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.directory)
        flags = {"upstream-config-file": "u.yaml", "upstream-credentials-file": "c.json"}
        settings = self.load(flags, storage=("filesystem", {"root": "/tmp"}))
        os.chdir("/")
        self.assertEqual(self.reread(settings).upstreams, settings.upstreams)

    def test_pinned(self) -> None:
        """Sources that were not named stay absent."""
        self.assertEqual(pinned(UpstreamSources()), UpstreamSources())
        typed = CredentialsSource("--upstream-credentials", "{}")
        self.assertEqual(pinned(UpstreamSources("/u", typed)), UpstreamSources("/u", typed))
        filed = evolve(typed, file="/c")
        self.assertEqual(pinned(UpstreamSources(None, filed)).credentials, filed)
