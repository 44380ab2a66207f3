"""Which proxy a connection uses, and which connections use none."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import EgressSettings, HostSettings, ProxySettings
from oci_registry.upstream.authority import Authority
from oci_registry.upstream.proxies import Proxies, is_excluded

LABELS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), min_size=1, max_size=4)
NAMES = LABELS.map(".".join)
PORTS = st.integers(1, 65535)
V4 = st.integers(0, 2**32 - 1).map(IPv4Address)


def excluded(entry: str, host: str, port: int = 443) -> bool:
    """Whether one entry means a authority."""
    return is_excluded((entry,), Authority(host, port))


class Excluded(SynchronousTestCase):
    """The entries of ``NO_PROXY``."""

    def test_table(self) -> None:
        """Each kind of entry means what it means to others who read this variable."""
        for entry, host, expected in (
            ("*", "anything.example.com", True),
            ("*", "192.0.2.1", True),
            ("example.com", "example.com", True),
            ("example.com", "a.example.com", True),
            ("example.com", "a.b.example.com", True),
            ("example.com", "notexample.com", False),
            ("example.com", "example.com.evil.net", False),
            ("example.com", "example.org", False),
            ("example.com", "example.com.", True),
            ("a.example.com", "example.com", False),
            (".example.com", "a.example.com", True),
            (".example.com", "example.com", False),
            (".example.com", "notexample.com", False),
            ("localhost", "localhost", True),
            ("192.0.2.1", "192.0.2.1", True),
            ("192.0.2.1", "192.0.2.10", False),
            ("192.0.2.1", "::ffff:192.0.2.1", True),
            ("2.1", "192.0.2.1", False),
            (".2.1", "192.0.2.1", False),
            ("192.0.2.0/24", "192.0.2.200", True),
            ("192.0.2.77/24", "192.0.2.200", True),
            ("192.0.2.0/24", "192.0.3.1", False),
            ("192.0.2.0/24", "::ffff:192.0.2.1", True),
            ("0.0.0.0/0", "registry.example.com", False),
            ("0.0.0.0/0", "2001:db8::1", False),
            ("2001:db8::/32", "2001:db8:1::1", True),
            ("2001:db8::/32", "192.0.2.1", False),
            ("2001:db8::1", "2001:db8:0::1", True),
            ("[2001:db8::1]", "2001:db8::1", True),
            ("", "example.com", False),
            (".", "example.com", False),
            ("example.com/8", "example.com", False),
            ("10.0.0.0/99", "10.0.0.1", False),
            ("exam*.com", "example.com", False),
        ):
            self.assertEqual(expected, excluded(entry, host), (entry, host))

    def test_loopback_is_not_special(self) -> None:
        """Connections to this machine use the proxy like others, unless it is listed."""
        for host in ("localhost", "127.0.0.1", "::1"):
            self.assertFalse(is_excluded((), Authority(host, 80)))

    def test_ports(self) -> None:
        """An entry with a port is for that port only."""
        for entry, host in (
            ("example.com:5000", "a.example.com"),
            (".example.com:5000", "a.example.com"),
            ("192.0.2.1:5000", "192.0.2.1"),
            ("[2001:db8::1]:5000", "2001:db8::1"),
        ):
            self.assertTrue(excluded(entry, host, 5000), entry)
            self.assertFalse(excluded(entry, host, 443), entry)
        for entry in ("example.com:", "example.com:https", "example.com:05000", ":5000"):
            self.assertFalse(excluded(entry, "example.com", 5000), entry)

    def test_any_of_them(self) -> None:
        """One entry is enough."""
        entries = ("192.0.2.1", "", "example.com")
        self.assertTrue(is_excluded(entries, Authority("example.com", 443)))
        self.assertFalse(is_excluded(entries, Authority("example.org", 443)))

    @given(NAMES, NAMES, PORTS)
    def test_suffixes(self, entry: str, host: str, port: int) -> None:
        """A name means itself and what has it at the end behind a dot, at every port."""
        expected = f".{host}".endswith(f".{entry}")
        self.assertEqual(expected, excluded(entry, host, port))
        self.assertEqual(expected and host != entry, excluded(f".{entry}", host, port))
        self.assertEqual(expected, excluded(f"{entry}:{port}", host, port))
        self.assertFalse(excluded(f"{entry}:{port}", host, port % 65535 + 1))
        self.assertTrue(excluded(entry, f"{host}.{entry}", port))
        self.assertFalse(excluded(entry, f"{host}x{entry}", port))

    @given(V4, st.integers(0, 32), V4)
    def test_networks(self, base: IPv4Address, length: int, address: IPv4Address) -> None:
        """A network means the addresses in it, mapped or not, and no name."""
        network = IPv4Network((int(base), length), strict=False)
        self.assertEqual(address in network, excluded(f"{base}/{length}", str(address)))
        self.assertEqual(address in network, excluded(f"{base}/{length}", f"::ffff:{address}"))
        self.assertFalse(excluded(f"{base}/{length}", "example.com"))

    @given(st.integers(0, 2**128 - 1).map(IPv6Address), PORTS)
    def test_addresses(self, address: IPv6Address, port: int) -> None:
        """An address means itself, however it is written."""
        for entry in (str(address), address.exploded, f"[{address}]", f"[{address}]:{port}"):
            self.assertTrue(excluded(entry, str(address), port), entry)
        self.assertFalse(excluded(str(address), str(IPv6Address(int(address) ^ 1)), port))

    @given(st.text(), NAMES | V4.map(str), PORTS)
    def test_any_text(self, entry: str, host: str, port: int) -> None:
        """Whatever is listed is understood or means nothing."""
        self.assertIn(excluded(entry.lower(), host, port), (True, False))


OWN = ProxySettings("own-proxy", 1)
HTTP = ProxySettings("http-proxy", 2)
HTTPS = ProxySettings("https-proxy", 3)
NO_PROXY = ("example.com", "192.0.2.0/24")
EGRESS = EgressSettings(https_proxy=HTTPS, http_proxy=HTTP, no_proxy=NO_PROXY)
REGISTRY = Authority("registry.example.com", 443)
CDN = Authority("cdn.example.net", 443)
STORE = Authority("store.example.com", 443)


class Chosen(SynchronousTestCase):
    """The way to a authority."""

    def test_by_scheme(self) -> None:
        """A host without a proxy of its own uses the one set for the URL's scheme."""
        proxies = Proxies(HostSettings("registry.example.net"), EGRESS)
        self.assertEqual(HTTPS, proxies.choose("https", CDN))
        self.assertEqual(HTTP, proxies.choose("http", CDN))
        self.assertIsNone(proxies.choose("https", STORE))
        self.assertIsNone(proxies.choose("http", STORE))

    def test_nothing_set(self) -> None:
        """Where no proxy is set there is none; one for https is not used for http."""
        host = HostSettings("registry.example.net")
        self.assertIsNone(Proxies(host, EgressSettings()).choose("https", CDN))
        only = EgressSettings(https_proxy=HTTPS)
        self.assertIsNone(Proxies(host, only).choose("http", CDN))

    def test_own(self) -> None:
        """A host's own proxy wins, for it and for where it leads, but not to what is excluded."""
        proxies = Proxies(HostSettings("registry.example.com", proxy=OWN), EGRESS)
        for scheme in ("http", "https"):
            self.assertEqual(OWN, proxies.choose(scheme, CDN))
            self.assertIsNone(proxies.choose(scheme, STORE))
        # It is in NO_PROXY as well, but who gave it a proxy knew better.
        self.assertEqual(OWN, proxies.choose("https", REGISTRY))
        self.assertIsNone(proxies.choose("https", Authority(REGISTRY.host, 5000)))

    def test_direct(self) -> None:
        """A direct host, and where it leads, is reached without any proxy."""
        proxies = Proxies(HostSettings("registry.example.net", proxy="none"), EGRESS)
        for authority in (REGISTRY, CDN):
            self.assertIsNone(proxies.choose("https", authority))
