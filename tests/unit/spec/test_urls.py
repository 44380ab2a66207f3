"""URLs of servers."""

from __future__ import annotations

from hyperlink import EncodedURL
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.urls import (
    BadAddress,
    BadRedirect,
    Url,
    authority,
    encoded,
    split_authority,
    with_query,
)

HOME = "https://reg.example/v2/a/blobs/x?ns=y"
_TEXT = st.text(st.sampled_from("aZ09/%2F.-_~!$&'()*+,;=:@?éü\" {}[]^|\\<>`#\t"), max_size=30)
_STARTS = st.sampled_from(("", "https://", "http://h/", "//", "https://h:", "https://u@[::1]", "/"))


class Parsing(SynchronousTestCase):
    """Url.parse."""

    def test_parts(self) -> None:
        """A URL has its parts, and the port of its scheme if it has none."""
        for text, url in {
            "https://h/a": Url("https://h/a", "https", "h", "h", 443, "/a", ""),
            "HTTP://H:5/a?b": Url("http://H:5/a?b", "http", "H:5", "h", 5, "/a", "b"),
            "https://[2001:DB8::1]": Url(
                "https://[2001:DB8::1]", "https", "[2001:DB8::1]", "2001:db8::1", 443, "", ""
            ),
            "http://under_score.lan/": Url(
                "http://under_score.lan/", "http", "under_score.lan", "under_score.lan", 80, "/", ""
            ),
            "https://u:p@h/": Url("https://u:p@h/", "https", "h", "h", 443, "/", "", user=True),
            "https://h/a#b": Url("https://h/a", "https", "h", "h", 443, "/a", ""),
        }.items():
            self.assertEqual(url, Url.parse(text))

    def test_origins(self) -> None:
        """An origin has its port, and an address its brackets."""
        for text, origin in (
            ("https://h/a", "https://h:443"),
            ("http://H:80/a?b", "http://h:80"),
            ("https://[::1]:5/a", "https://[::1]:5"),
            ("https://u@h", "https://h:443"),
        ):
            self.assertEqual(origin, Url.parse(text).origin)
            self.assertEqual(origin, Url.parse(origin).origin)

    def test_refused(self) -> None:
        """What leads to no server that speaks HTTP is no such URL."""
        for text in (
            *("", "h", "//h/", "/a", "ftp://h/", "https://", "https:///a", "https://:5/"),
            *("https://[::1/", "https://[x]/", "https://h:0/", "https://h:65536/", "https://h:x/"),
            *("https://]@[::/", "https://[@h]/", "https://[x]@h/"),
        ):
            with self.assertRaises(BadAddress, msg=text):
                Url.parse(text)

    @given(_STARTS, st.text() | _TEXT)
    def test_any_text(self, start: str, rest: str) -> None:
        """Any text is a URL, which means the same when it is read again, or refused."""
        try:
            url = Url.parse(start + rest)
        except BadAddress:
            return
        self.assertEqual(url, Url.parse(url.text))
        self.assertEqual(url.origin, Url.parse(f"{url.scheme}://{url.authority}").origin)


class Redirects(SynchronousTestCase):
    """Url.redirected."""

    def to(self, location: str | None, home: str = HOME) -> str:
        """Where a redirect leads."""
        return Url.parse(home).redirected(location).text

    def test_followed(self) -> None:
        """A location may be relative in every way there is."""
        for location, expected in (
            ("https://cdn.example:8443/b?c#d", "https://cdn.example:8443/b?c"),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/b", "https://reg.example/b"),
            ("../b", "https://reg.example/v2/a/b"),
            ("?c", "https://reg.example/v2/a/blobs/x?c"),
            ("http://u:p@h/", None),
        ):
            if expected is None:
                self.assertEqual("http://h/", self.to(location, "http://reg.example/"))
            else:
                self.assertEqual(expected, self.to(location))
        self.assertEqual("https://h/", self.to("https://h/", "http://reg.example/"))

    def test_byte_for_byte(self) -> None:
        """What is signed stays as it is, however oddly it is written."""
        for signed in (
            "https://b.s3.example/a%2fb//../c/./d;e=f?X-Amz-Signature=a+b/c==&&x=%7e&y&=z%",
            "https://b.example/a/?sp=r&sig=J%2BG%3d&se=2026-01-01T00:00:00Z&sv=(1)*!'~",
            'https://b.example/a b?"{}|é',
        ):
            self.assertEqual(signed, self.to(signed))
            self.assertEqual(signed, self.to(signed.replace("://", "://user:password@")))

    def test_not_followed(self) -> None:
        """To nowhere, and from https to http, nothing is followed."""
        for location in (None, "", "ftp://x/", "http://", "https://[::1/", "http://h:0/"):
            with self.assertRaisesRegex(BadRedirect, "^sent a redirect without a valid Location$"):
                self.to(location)
        with self.assertRaisesRegex(BadRedirect, "^redirects from https to http$"):
            self.to("http://reg.example/")

    @given(_STARTS, st.text() | _TEXT)
    def test_any_location(self, start: str, rest: str) -> None:
        """Whatever a server says, it leads to a URL without credentials, over TLS, or nowhere."""
        try:
            target = Url.parse(HOME).redirected(start + rest)
        except BadRedirect:
            return
        self.assertEqual((target.scheme, target.user), ("https", False))


class Authorities(SynchronousTestCase):
    """Hosts with their ports."""

    def test_split(self) -> None:
        """Names and addresses lose port and brackets."""
        for text, parts in {
            "quay.io": ("quay.io", None),
            "quay.io:443": ("quay.io", 443),
            "127.0.0.1:80": ("127.0.0.1", 80),
            "[::1]": ("::1", None),
            "[::1]:5000": ("::1", 5000),
        }.items():
            host, port = split_authority(text)
            self.assertEqual((host, port), parts)
            if port is not None:
                self.assertEqual(authority(host, port), text)


class Queries(SynchronousTestCase):
    """with_query."""

    def test_added(self) -> None:
        """Fields come behind those that are there, which stay as they are."""
        for url, expected in (
            ("https://h/a", "https://h/a?x=1"),
            ("https://h/a?", "https://h/a?x=1"),
            ("https://h/a?b=c+d%2f", "https://h/a?b=c+d%2f&x=1"),
        ):
            self.assertEqual(expected, with_query(url, "x=1"))
            self.assertEqual(url, with_query(url, ""))


class Encoding(SynchronousTestCase):
    """encoded."""

    @given(
        st.from_regex(
            r"https?://[a-z0-9]{1,9}(\.[a-z]{1,5}){0,2}(:[1-9][0-9]{0,3})?/", fullmatch=True
        ),
        _TEXT,
    )
    def test_plain(self, start: str, rest: str) -> None:
        """A URL that needs no encoding is the same as if it was encoded."""
        try:
            slow = EncodedURL.from_text(start + rest).to_uri().to_text()
        except ValueError:
            return
        self.assertEqual(slow, encoded(start + rest).to_uri().to_text())

    def test_hosts(self) -> None:
        """Addresses and names with an underscore stay as they are; other names become ASCII."""
        for url, expected in (
            ("https://[2001:db8::1]:5/é", "https://[2001:db8::1]:5/%C3%A9"),
            ("http://under_score.lan/a b", "http://under_score.lan/a%20b"),
            ("https://straße.example/", "https://xn--strae-oqa.example/"),
        ):
            self.assertEqual(expected, encoded(url).to_uri().to_text())

    def test_refused(self) -> None:
        """What has no host, or one that cannot be encoded, is refused."""
        for url in ("https:///a", "a", f"https://{'é' * 80}/", "https://[::1/", "https://h:x/"):
            with self.assertRaises(BadAddress, msg=url):
                encoded(url)

    @given(_STARTS, st.text())
    def test_any_text(self, start: str, rest: str) -> None:
        """Any text is encoded or refused."""
        try:
            encoded(start + rest)
        except BadAddress:
            return
