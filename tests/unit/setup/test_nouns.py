"""Mirrors, registries and texts of files."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.setup.nouns import Mirror, Registry, Unusable, Wanted, choose_registries


def upstream(namespace: str, *hosts: HostSettings) -> UpstreamSettings:
    """Return an upstream at some hosts."""
    return UpstreamSettings(namespace, hosts)


class Mirrors(SynchronousTestCase):
    """Where the mirror is."""

    def test_parts(self) -> None:
        """A mirror knows its host with its port, and whether it is reached in plain HTTP."""
        for url, host, insecure in (
            ("http://mirror.example:8080", "mirror.example:8080", True),
            ("https://mirror.example", "mirror.example", False),
            ("http://[::1]:80", "[::1]:80", True),
        ):
            mirror = Mirror(url)
            self.assertEqual((mirror.host, mirror.insecure), (host, insecure))


class Registries(SynchronousTestCase):
    """Which registries clients are told of."""

    def test_servers(self) -> None:
        """docker.io is reached at registry-1.docker.io, every other registry under its name."""
        registries, notes = choose_registries(["docker.io", "quay.io", "r.example:5000"], ())
        self.assertEqual(
            registries,
            (
                Registry("docker.io", "https://registry-1.docker.io"),
                Registry("quay.io", "https://quay.io"),
                Registry("r.example:5000", "https://r.example:5000"),
            ),
        )
        self.assertEqual(notes, ())

    def test_once(self) -> None:
        """A name given twice is one registry."""
        registries, _ = choose_registries(["quay.io", "docker.io", "quay.io"], ())
        self.assertEqual([registry.name for registry in registries], ["quay.io", "docker.io"])

    def test_no_host(self) -> None:
        """What clients take for a part of a repository is left out, and told."""
        registries, notes = choose_registries(["mirror", "localhost", "my_mirror"], ())
        self.assertEqual([registry.name for registry in registries], ["localhost"])
        self.assertEqual([note.split()[0] for note in notes], ["mirror", "my_mirror"])

    def test_plain(self) -> None:
        """A registry that is reached without TLS under its own name is so for clients too."""
        upstreams = [
            upstream("lan.example", HostSettings("lan.example", tls=False)),
            # Only another host of it has no TLS, and clients do not know that one.
            upstream("quay.io", HostSettings("cache.example", tls=False), HostSettings("quay.io")),
        ]
        registries, _ = choose_registries(["lan.example", "quay.io"], upstreams)
        self.assertEqual(
            [registry.server for registry in registries], ["http://lan.example", "https://quay.io"]
        )


class Texts(SynchronousTestCase):
    """Files that are there."""

    def text(self, data: bytes | None) -> str | None:
        return Wanted(Mirror("http://m"), (), {"/there": data}.get).text("/there")

    def test_text(self) -> None:
        """A file is text, or there is none."""
        self.assertEqual(self.text("né\r\n".encode()), "né\r\n")
        self.assertIsNone(self.text(None))

    def test_no_text(self) -> None:
        """What is not UTF-8 cannot be used."""
        error = self.assertRaises(Unusable, self.text, b"\xff")
        self.assertEqual((error.path, error.reason), ("/there", "is not UTF-8"))
