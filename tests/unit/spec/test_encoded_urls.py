"""URLs as they are sent."""

from __future__ import annotations

from hyperlink import EncodedURL
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.encoded_urls import encoded
from oci_registry.spec.urls import BadAddress

_TEXT = st.text(st.sampled_from("aZ09/%2F.-_~!$&'()*+,;=:@?éü\" {}[]^|\\<>`#\t"), max_size=30)
_STARTS = st.sampled_from(("", "https://", "http://h/", "//", "https://h:", "https://u@[::1]", "/"))


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
