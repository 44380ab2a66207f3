"""Tests of responses whose head is kept in pieces."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.ready.answers import part_head, part_of, parts_in_pieces

HEADERS = [
    (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
    (b"Content-Type", b"application/octet-stream"),
    (b"Content-Length", b"5"),
    (b"Content-Range", b"bytes 0-4/99"),
]


def head(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a response with status 206 and these headers."""
    lines = [b"%b: %b" % header for header in headers]
    return b"\r\n".join([b"HTTP/1.1 206 Partial Content", *lines, b"", b""])


class Parts(SynchronousTestCase):
    """The heads of responses to ranges."""

    def test_anywhere(self) -> None:
        """Another header may stand at any place: the heads of other ranges have it there too."""
        for at in range(len(HEADERS) + 1):
            before, after = HEADERS[:at], HEADERS[at:]
            parts = parts_in_pieces([*before, (b"X-More", b"bytes 1"), *after], 99)
            assert parts is not None
            other = dict(HEADERS) | {
                b"Date": b"now",
                b"Content-Length": b"11",
                b"Content-Range": b"bytes 10-20/99",
            }
            wanted = list(other.items())
            wanted.insert(at, (b"X-More", b"bytes 1"))
            part = part_of(parts, 10, 20)
            assert part is not None
            self.assertEqual(part_head(parts, b"now", *part), head(wanted), at)

    def test_missing(self) -> None:
        """Without one of the headers that differ, nothing is kept."""
        for missing in (b"Date", b"Content-Length", b"Content-Range"):
            headers = [(name, value) for name, value in HEADERS if name != missing]
            self.assertIsNone(parts_in_pieces(headers, 99), missing)

    def test_other_unit(self) -> None:
        """Nothing is kept for a range in other units than bytes."""
        headers = [*HEADERS[:-1], (b"Content-Range", b"lines 0-4/99")]
        self.assertIsNone(parts_in_pieces(headers, 99))
