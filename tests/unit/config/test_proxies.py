"""Proxies, and what is reached without one."""

from __future__ import annotations

import ipaddress
from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.proxies import parse_exception, parse_proxy
from oci_registry.config.settings import Credentials, ProxySettings

from .support import SECRET

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9]{0,8}){0,3}", fullmatch=True)
PORTS = st.integers(1, 65535)
PASSWORDS = st.text(
    alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1
)


class Proxies(SynchronousTestCase):
    """parse_proxy."""

    def refusal(self, text: str) -> str:
        message = str(self.assertRaises(ValueError, parse_proxy, text))
        self.assertNotIn(SECRET, message)
        return message

    def test_accepted(self) -> None:
        """A URL of http or https is a proxy, at the scheme's own port unless there is one."""
        for text, proxy in {
            "http://proxy": ProxySettings("proxy", 80),
            "https://proxy/": ProxySettings("proxy", 443, tls=True),
            " HTTP://Proxy.Example:3128/ ": ProxySettings("proxy.example", 3128),
            "http://10.0.0.1:8080": ProxySettings("10.0.0.1", 8080),
            "https://[::1]": ProxySettings("::1", 443, tls=True),
            "http://[2001:DB8::1]:3128": ProxySettings("2001:db8::1", 3128),
        }.items():
            self.assertEqual(parse_proxy(text), proxy)

    def test_credentials(self) -> None:
        """User name and password are percent-decoded, and the password is not shown."""
        for text, username, password in (
            (f"http://alice:{SECRET}@proxy", "alice", SECRET),
            ("http://alice:p%40s%2Fs%3A@proxy", "alice", "p@s/s:"),
            ("http://al%C3%A4ce:a:b@proxy", "aläce", "a:b"),
            ("http://alice:a+b@proxy", "alice", "a+b"),
        ):
            proxy = parse_proxy(text)
            self.assertEqual(
                proxy, ProxySettings("proxy", 80, False, Credentials(username, password))
            )
            self.assertNotIn(password, repr(proxy))

    def test_exposed(self) -> None:
        """Credentials are exposed if they are sent without TLS."""
        for text, exposed in {
            "http://a:b@proxy": True,
            "https://a:b@proxy": False,
            "http://proxy": False,
        }.items():
            self.assertEqual(parse_proxy(text).exposed, exposed)

    def test_refused(self) -> None:
        """What is no such URL is refused with a reason."""
        for text, reason in {
            "": "must be http://[USER:PASSWORD@]HOST[:PORT] or https://",
            "proxy:3128": "must be http://",
            "ftp://proxy": "must be http://",
            "socks5://proxy": "SOCKS proxies are not supported",
            f"SOCKS5H://x:{SECRET}@proxy": "SOCKS proxies are not supported",
            "http://": "HOST[:PORT] is missing",
            "http://proxy/x": "HOST[:PORT] is missing, or something follows it",
            "http://proxy?x": "something follows it",
            "http://proxy:99999": "HOST[:PORT] is missing",
            "http://pro xy": "HOST[:PORT] is missing",
            "http://127.1": "HOST[:PORT] is missing",
            f"http://alice:{SECRET}": "HOST[:PORT] is missing",
            f"http://{SECRET}@proxy": "a user name needs a password",
            "http://@proxy": "a user name needs a password",
            f"http://alice:@{SECRET}": "the password is empty",
            f"http://:{SECRET}@proxy": "the username is empty",
            f"http://a%3A:{SECRET}@proxy": "the username contains a colon",
            f"http://alice:{SECRET}%0A@proxy": "the password contains control characters",
            f"http://alice:{SECRET}%ff@proxy": "not UTF-8",
            f"http://alice:{SECRET}@x@proxy": "percent-encoded",
            f"http://alice:{SECRET}/x@proxy": "percent-encoded",
        }.items():
            self.assertIn(reason, self.refusal(text), text)

    @given(NAMES, PORTS, st.booleans(), PASSWORDS)
    def test_any_proxy(self, host: str, port: int, tls: bool, password: str) -> None:
        """Every host, port and password survive."""
        text = f"{'https' if tls else 'http'}://x:{quote(password, safe='')}@{host}:{port}"
        expected = ProxySettings(host, port, tls, Credentials("x", password))
        self.assertEqual(parse_proxy(text), expected)

    @given(st.text(":/@?#%[]. \na1\\", max_size=20), st.text(":/@?#%[]. \na1\\", max_size=20))
    def test_anything(self, before: str, after: str) -> None:
        """Whatever stands around a password, it is in no message and in no repr."""
        for scheme in ("http://", "https://", "socks://", ""):
            try:
                proxy = parse_proxy(f"{scheme}{before}{SECRET}{after}")
            except ValueError as error:
                self.assertNotIn(SECRET, str(error))
            else:
                if proxy.credentials is not None and SECRET in proxy.credentials.password:
                    self.assertNotIn(SECRET, repr(proxy))


class Exceptions(SynchronousTestCase):
    """parse_exception."""

    def test_accepted(self) -> None:
        """Each comes out in its one form."""
        for text, item in {
            "*": "*",
            "Localhost": "localhost",
            "registry.Example.com": "registry.example.com",
            "registry:5000": "registry:5000",
            ".Example.com": ".example.com",
            "*.example.com": ".example.com",
            ".example.com:8080": ".example.com:8080",
            "127.0.0.1": "127.0.0.1",
            "127.0.0.1:5000": "127.0.0.1:5000",
            "::1": "::1",
            "[::1]": "::1",
            "[::1]:5000": "[::1]:5000",
            "2001:DB8:0::1": "2001:db8::1",
            "10.0.0.0/8": "10.0.0.0/8",
            "10.1.2.3/8": "10.0.0.0/8",
            "FD00::/8": "fd00::/8",
        }.items():
            self.assertEqual(parse_exception(text), item)

    def test_refused(self) -> None:
        """What is none is refused, and shown, but not all of it if it is long."""
        for text in ("", ".", "*.", "**", "..x", "10.*", "10/8", "127.1", "a_b", "a/b", "http://a"):
            self.assertIn(ascii(text), str(self.assertRaises(ValueError, parse_exception, text)))
        for text in ("fe80::1%eth0", "[fe80::1%eth0]", "host:0", "10.0.0.0/33", "a:b:c"):
            self.assertRaises(ValueError, parse_exception, text)
        long = str(self.assertRaises(ValueError, parse_exception, "_" * 1000))
        self.assertLess(len(long), 200)

    @given(NAMES, st.none() | PORTS, st.sampled_from(["", ".", "*."]))
    def test_any_host(self, name: str, port: int | None, below: str) -> None:
        """Every host and domain is one."""
        rest = name if port is None else f"{name}:{port}"
        self.assertEqual(parse_exception(f"{below}{rest}".upper()), f"{below[-1:]}{rest}")

    @given(st.ip_addresses(), st.integers(0, 32))
    def test_any_network(self, address: ipaddress.IPv4Address, prefix: int) -> None:
        """Every address and network is one, and `ipaddress` takes what comes out."""
        assume(getattr(address, "scope_id", None) is None)
        self.assertEqual(ipaddress.ip_address(parse_exception(str(address))), address)
        network = ipaddress.ip_network(parse_exception(f"{address}/{prefix}"))
        self.assertIn(address, network)
        self.assertEqual(network.prefixlen, prefix)

    @given(st.text(".*:/[]%0123456789abcdefAX_-", max_size=30))
    def test_anything(self, text: str) -> None:
        """What comes out of anything is accepted as it is."""
        try:
            item = parse_exception(text)
        except ValueError:
            return
        self.assertEqual(parse_exception(item), item)
