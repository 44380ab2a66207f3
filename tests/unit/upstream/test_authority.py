"""Hosts and ports: of upstreams, of proxies, of URLs."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI

from oci_registry.config.settings import HostSettings, ProxySettings
from oci_registry.spec.urls import BadAddress
from oci_registry.upstream.authority import Authority, address_of


class Addresses(SynchronousTestCase):
    """Hosts that are written as addresses."""

    def test_addresses(self) -> None:
        """Both kinds are known, and a mapped one is the one it stands for."""
        self.assertEqual(IPv4Address("1.2.3.4"), address_of("1.2.3.4"))
        self.assertEqual(IPv4Address("1.2.3.4"), address_of("::ffff:1.2.3.4"))
        self.assertEqual(IPv6Address("::1"), address_of("0:0::1"))

    def test_names(self) -> None:
        """What only a resolver would take for an address is a name."""
        for host in ("", "localhost", "127.1", "0x7f.0.0.1", "2130706433", "1.2.3.4.", "[::1]"):
            self.assertIsNone(address_of(host), host)


class Places(SynchronousTestCase):
    """Where something is."""

    def test_upstream(self) -> None:
        """A host without a port is at that of its scheme."""
        for host, tls, expected in (
            ("registry.example.com", True, "registry.example.com:443"),
            ("registry.example.com", False, "registry.example.com:80"),
            ("registry.example.com:5000", True, "registry.example.com:5000"),
            ("[2001:db8::1]", True, "[2001:db8::1]:443"),
            ("[2001:db8::1]:5000", False, "[2001:db8::1]:5000"),
            ("192.0.2.1", True, "192.0.2.1:443"),
        ):
            self.assertEqual(expected, str(Authority.of_upstream(HostSettings(host, tls=tls))))

    def test_proxy(self) -> None:
        """A proxy is named as the authority of a URL would be."""
        for host, expected in (("proxy", "proxy:3128"), ("2001:db8::1", "[2001:db8::1]:3128")):
            self.assertEqual(expected, str(Authority.of_proxy(ProxySettings(host, 3128))))

    def test_uri(self) -> None:
        """A URI leads to the host in it, at its port or at that of its scheme."""
        for uri, expected in (
            (b"https://CDN.example.com/x", "cdn.example.com:443"),
            (b"http://cdn.example.com./x", "cdn.example.com.:80"),
            (b"https://under_score.example.com:8443/", "under_score.example.com:8443"),
            (b"https://[2001:db8::1]/", "[2001:db8::1]:443"),
            (b"http://127.1/", "127.1:80"),
        ):
            self.assertEqual(expected, str(Authority.of_uri(URI.fromBytes(uri))))

    def test_no_such_host(self) -> None:
        """What cannot be the name of a host is refused before any request."""
        for host in (
            b"",
            b"user@cdn.example.com",
            b"cdn.example.com\r\nX: y",
            b"a b",
            b"a..b",
            b".a",
            b"a" * 64 + b".example.com",
            b"a." * 127 + b"ab",
            b"caf\xc3\xa9.example.com",
            b"%31",
            b"\x00",
        ):
            uri = URI(b"https", host, host, 443, b"/", b"", b"", b"")
            with self.assertRaises(BadAddress):
                Authority.of_uri(uri)

    def test_no_such_port(self) -> None:
        """A port that no server can have is refused before any request."""
        for port in (0, 65536, 10**12, -1):
            with self.assertRaises(BadAddress):
                Authority.of_uri(URI(b"https", b"h", b"h", port, b"/", b"", b"", b""))

    @given(st.binary())
    def test_any_bytes(self, host: bytes) -> None:
        """Whatever is given as a host, nothing of it can start a new line."""
        try:
            authority = Authority.of_uri(URI(b"https", host, host, 443, b"/", b"", b"", b""))
        except BadAddress:
            return
        self.assertNotRegex(str(authority), r"[^!-~]")
