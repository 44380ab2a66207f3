"""A proxy in the environment of a client."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings
from oci_registry.config.options import OptionReader
from oci_registry.setup.nouns import Mirror
from oci_registry.setup.surroundings import proxy_note
from tests.unit.setup.support import HTTP, HTTPS
from tests.unit.setup.test_command import MIRROR, CommandTestCase

PROXY = "http://pat:s3cret@proxy.example:3128"


def note(url: str, **environ: str) -> str | None:
    """The note about a mirror."""
    return proxy_note(Mirror(url), OptionReader({}, environ, Findings()))


class ProxyNote(SynchronousTestCase):
    """Whether there is a note."""

    def test_proxied(self) -> None:
        """A mirror whose scheme has a proxy is named, without the proxy's credentials."""
        said = note(HTTPS, HTTPS_PROXY=PROXY)
        assert said is not None
        self.assertTrue(said.startswith("HTTPS_PROXY is set here: "))
        self.assertTrue(said.endswith("add mirror.example to the client's NO_PROXY"))
        self.assertNotIn("s3cret", said)
        self.assertIsNotNone(note(HTTP, http_proxy=PROXY, NO_PROXY="other.example, ?, 10.0.0.0/8"))

    def test_not_proxied(self) -> None:
        """Without a proxy for the scheme, or with an exception for the mirror, there is none."""
        self.assertIsNone(note(HTTPS))
        self.assertIsNone(note(HTTP, HTTPS_PROXY=PROXY))
        for url, exceptions in (
            (HTTP, "a, mirror.example"),
            (HTTP, "example"),
            (HTTP, ".example"),
            (HTTP, "mirror.example:8080"),
            (HTTP, "*"),
            ("http://10.1.2.3:8080", "10.0.0.0/8"),
            ("http://10.1.2.3:8080", "10.1.2.3"),
            ("http://10.1.2.3:8080", "10.1.2.3:8080"),
            ("http://[fd00::1]:8080", "fd00::1"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080"),
        ):
            self.assertIsNone(note(url, http_proxy=PROXY, no_proxy=exceptions), exceptions)
        for exceptions in ("mirror.example:80", "irror.example", "10.0.0.0/8"):
            self.assertIsNotNone(note(HTTP, http_proxy=PROXY, no_proxy=exceptions), exceptions)

    def test_local(self) -> None:
        """No client asks a proxy for its own machine."""
        for url in ("http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"):
            self.assertIsNone(note(url, HTTP_PROXY=PROXY))


class Command(CommandTestCase):
    """The command tells of it."""

    def test_told(self) -> None:
        """It is a note beside the configuration."""
        _, notes = self.run_command("podman", *MIRROR, HTTP_PROXY=PROXY)
        self.assertEqual(["HTTP_PROXY is set here"], [each.split(":")[0] for each in notes])
