"""Registry hosts, and what looks like one."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import NameInvalid
from oci_registry.spec.reference import canonical_host, looks_like_host, parse_host

HOST = (
    r"\A[a-z]([a-z0-9-]{0,5}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,5}[a-z0-9])?){0,3}(:[1-9][0-9]{0,3})?\Z"
)


class Hosts(SynchronousTestCase):
    """Registry hosts."""

    def test_accepted(self) -> None:
        """Hosts are accepted with and without a port, in lower case."""
        for text, expected in {
            "docker.io": "docker.io",
            "Docker.IO": "docker.io",
            "registry-1.docker.io:443": "registry-1.docker.io:443",
            "localhost": "localhost",
            "localhost:5000": "localhost:5000",
            "mirror": "mirror",
            "xn--bcher-kva.example": "xn--bcher-kva.example",
            "3com.example": "3com.example",
            "registry.3com": "registry.3com",
            "a--b.example": "a--b.example",
            "127.0.0.1": "127.0.0.1",
            "127.0.0.1:1": "127.0.0.1:1",
            "example.com:65535": "example.com:65535",
            "[::1]": "[::1]",
            "[::1]:5000": "[::1]:5000",
            "[2001:DB8::1]:5000": "[2001:db8::1]:5000",
            "[::ffff:1.2.3.4]": "[::ffff:1.2.3.4]",
            "a" * 63 + ".example": "a" * 63 + ".example",
            ("a" * 49 + ".") * 5 + "abc:65535": ("a" * 49 + ".") * 5 + "abc:65535",
        }.items():
            self.assertEqual(parse_host(text), expected)

    def test_refused(self) -> None:
        """What is no host is refused with the reason."""
        table = {
            "": "must not be empty",
            "quay.io/": "slash",
            "quay.io/x": "slash",
            "/quay.io": "slash",
            "quay.io\\x": "slash",
            "http://quay.io": "scheme",
            "file:///etc/passwd": "scheme",
            "user@quay.io": "credentials",
            "user:pass@quay.io": "credentials",
            "quay.io ": "spaces",
            " quay.io": "spaces",
            "quay io": "spaces",
            "quay.io\t": "spaces",
            "quay.io\n": "spaces",
            "quay.io\r\nHost: x": "spaces",
            "quay.io\x00": "spaces",
            "qu\u00e4y.io": "non-ASCII",
            "\u212aeybase.io": "non-ASCII",
            "quay.io.": "ends with a dot",
            ".quay.io": "between two dots",
            "quay..io": "between two dots",
            ".": "ends with a dot",
            "..": "ends with a dot",
            "quay_.io": "letters, digits",
            "a_b.io": "letters, digits",
            "-quay.io": "letters, digits",
            "quay-.io": "letters, digits",
            "quay.io-": "letters, digits",
            "quay.io%00": "letters, digits",
            "quay.io?x": "letters, digits",
            "quay.io#x": "letters, digits",
            "*.quay.io": "letters, digits",
            "a" * 64 + ".io": "longer than 63",
            "a." * 126 + "ab": "longer than 253",
            "a" * 5000: "longer than 259",
            ":5000": "name is missing",
            ":": "name is missing",
            "quay.io:": "port",
            "quay.io:0": "port",
            "quay.io:00443": "port",
            "quay.io:65536": "port",
            "quay.io:99999999": "port",
            "quay.io:-1": "port",
            "quay.io:+1": "port",
            "quay.io:http": "port",
            "quay.io:1:2": "port",
            "1.2.3": "ends in a number",
            "127.1": "ends in a number",
            "2130706433": "ends in a number",
            "0x7f000001": "ends in a number",
            "0x7f.0.0.0x1": "ends in a number",
            "0177.0.0.1": "ends in a number",
            "1.2.3.4.5": "ends in a number",
            "256.1.1.1": "ends in a number",
            "quay.1": "ends in a number",
            "::1": "name is missing",
            "fe80::1": "port",
            "[": "not closed",
            "[::1": "not closed",
            "[::1]x": "not closed",
            "[::1]5000": "not closed",
            "[::1]:": "port",
            "[::1]:0": "port",
            "[]": "no IPv6",
            "[1.2.3.4]": "no IPv6",
            "[quay.io]": "no IPv6",
            "[fe80::1%eth0]": "a zone",
            "[fe80::1%25eth0]": "a zone",
            "[::1]]": "not closed",
            "[[::1]]": "not closed",
        }
        for text, reason in table.items():
            error = self.assertRaises(NameInvalid, parse_host, text)
            self.assertIn(reason, error.message, text)
            self.assertLess(len(error.message), 250)

    def test_credentials_are_not_repeated(self) -> None:
        """The message of a refused host does not tell a password that was in it."""
        for text in ("joe:s3cret@quay.io", "https://joe:s3cret@quay.io/x", "s3cret@ @quay.io"):
            error = self.assertRaises(NameInvalid, parse_host, text)
            self.assertNotIn("s3cret", error.message)
            self.assertIn("quay.io", error.message)

    @settings(deadline=None)
    @given(st.from_regex(HOST))
    def test_any_host(self, text: str) -> None:
        """Any name of plain labels is a host."""
        self.assertEqual(parse_host(text), text)

    @settings(deadline=None)
    @given(st.text(st.sampled_from(string.printable + "\u00e9"), max_size=30))
    def test_any_text(self, text: str) -> None:
        """Whatever is accepted is accepted again, and could not leave its place in a URL."""
        try:
            host = parse_host(text)
        except NameInvalid:
            return
        self.assertEqual(parse_host(host), host)
        self.assertEqual(host, text.lower())
        self.assertFalse(set(host) & set("/\\@?#% \r\n\t\x00"))

    @settings(deadline=None)
    @given(st.ip_addresses(), st.integers(1, 65535))
    def test_any_address(self, address: object, port: int) -> None:
        """Any address is a host: as it is in version 4, in brackets in version 6."""
        text = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
        if "%" not in text:
            self.assertEqual(parse_host(text), text)


class LenientHosts(SynchronousTestCase):
    """Hosts as the DNS has them."""

    def test_accepted(self) -> None:
        """Underscores inside a label and one dot at the end of a name are kept."""
        for text in (
            "a_b",
            "docker_registry:5000",
            "a__b.c_d.example",
            "a.example.",
            "a.example.:443",
        ):
            self.assertEqual(parse_host(text.upper(), lenient=True), text)
            self.assertRaises(NameInvalid, parse_host, text)

    def test_refused(self) -> None:
        """What might be read as an address, or is malformed, is refused nevertheless."""
        for text in (
            *("127.1.", "2130706433.", "0x7f000001.", "1.2.3.4.5.", "a..", ".", "..", "", ":5000"),
            *("_a", "a_", "_", "a._b", "-a", "a_:5000", "[::1].", "a.example.:0", "a/b", "a b"),
        ):
            self.assertRaises(NameInvalid, parse_host, text, lenient=True)

    def test_canonical(self) -> None:
        """The port of https and a dot at the end of a name say nothing."""
        for text, host in {
            "reg.test": "reg.test",
            "reg.test.": "reg.test",
            "reg.test:443": "reg.test",
            "reg.test.:443": "reg.test",
            "reg.test.:5000": "reg.test:5000",
            "reg.test:80": "reg.test:80",
            "reg.test:4443": "reg.test:4443",
            "[::1]:443": "[::1]",
            "[2001:db8::443]": "[2001:db8::443]",
            "127.0.0.1.": "127.0.0.1",
        }.items():
            self.assertEqual(canonical_host(parse_host(text, lenient=True)), host)

    @settings(deadline=None)
    @given(st.text(st.sampled_from("a1_-.:[]%/@4x \u00e4"), max_size=14))
    def test_any_text(self, text: str) -> None:
        """Whatever is a host is one in its canonical form too, and strictly more is than otherwise."""
        try:
            strict = parse_host(text)
        except NameInvalid:
            strict = None
        try:
            host = parse_host(text, lenient=True)
        except NameInvalid:
            self.assertIsNone(strict)
            return
        self.assertIn(strict, (None, host))
        canonical = canonical_host(host)
        self.assertEqual(parse_host(canonical, lenient=True), canonical)
        self.assertEqual(canonical_host(canonical), canonical)


class Forms(SynchronousTestCase):
    """Which first components mean a host."""

    def test_hosts(self) -> None:
        """A dot, a port, brackets or the name localhost make a host."""
        for text in (
            "docker.io",
            "Docker.io",
            "localhost",
            "LOCALHOST",
            "localhost:5000",
            "mirror:5000",
            "127.0.0.1",
            "[::1]",
            "[::1]:5000",
            "docker.io.",
            "localhost.",
            "a_b:5000",
            "a_b.c:5000",
        ):
            self.assertTrue(looks_like_host(text), text)

    def test_no_hosts(self) -> None:
        """Plain components are none, nor is what no host could be called."""
        for text in (
            "",
            "library",
            "mirror",
            "a..b",
            "a_b.c",
            "a__b",
            "1.2",
            "mirror.",
            "docker.io..",
            ".",
            "..",
            "a:b",
            "a:0",
            "a b.c",
            "[::1",
            "docker.io\n",
        ):
            self.assertFalse(looks_like_host(text), text)
