"""Replies as values: what is said of a body, 304 and 206."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.digest import Digest
from oci_registry.spec.ranges import ByteRange
from oci_registry.streams.send import CHUNK
from oci_registry.web.reply import (
    Reply,
    Stream,
    age_shown,
    conditional,
    content,
    matches,
    paced,
    partial,
    redirect,
    warning,
)

DIGEST = Digest.of(b"content")
ETAG = f'"{DIGEST}"'
WHOLE = Reply(
    200,
    {"Accept-Ranges": "bytes", "Age": "7", **content("a/b", 7, DIGEST)},
    b"content",
    Outcome.HIT,
)
_TAGS = st.lists(st.sampled_from([ETAG, f"W/{ETAG}", '"other"', "*", "x", str(DIGEST)]), max_size=4)


class Content(SynchronousTestCase):
    """What is said of a body."""

    def test_content(self) -> None:
        """Type, length, digest and entity tag, as far as they are known."""
        told = {
            "Content-Type": "a/b",
            "Content-Length": "7",
            "Docker-Content-Digest": str(DIGEST),
            "ETag": ETAG,
        }
        self.assertEqual(told, content("a/b", 7, DIGEST))
        self.assertEqual({"Content-Type": "a/b"}, content("a/b", None))
        self.assertEqual({"Content-Type": "a/b", "Content-Length": "0"}, content("a/b", 0))

    def test_paced(self) -> None:
        """A large body is sent at the client's pace, a small one at once."""
        self.assertEqual(b"x" * CHUNK, paced(b"x" * CHUNK))
        body = paced(b"x" * (CHUNK + 1))
        assert isinstance(body, Stream)
        self.assertEqual(CHUNK + 1, body.length)

    def test_redirect(self) -> None:
        """The reply that sends a client elsewhere is not to be kept."""
        reply = redirect("https://x/", DIGEST)
        self.assertEqual((307, b"", Outcome.HIT), (reply.status, reply.body, reply.outcome))
        expected = ("https://x/", "no-store", "0")
        names = ("Location", "Cache-Control", "Content-Length")
        self.assertEqual(expected, tuple(reply.headers[name] for name in names))

    def test_warning(self) -> None:
        """A warning is ASCII, whatever it is about."""
        self.assertEqual({"Warning": '299 - "a ? b"'}, warning("a \u2603 b"))

    def test_age_shown(self) -> None:
        """An age is shown in minutes as soon as there are any."""
        for age, shown in ((0.9, "0s"), (59.9, "59s"), (61.0, "1m"), (7260.0, "2h 1m")):
            self.assertEqual(shown, age_shown(age))


class Conditional(SynchronousTestCase):
    """``If-None-Match`` (RFC 9110 section 13.1.2)."""

    def test_table(self) -> None:
        """A client that has the content is told so in all forms of the question; others get it."""
        for header, status in (
            (ETAG, 304),
            (f"W/{ETAG}", 304),
            (f'"other", {ETAG}', 304),
            (f'"other",W/{ETAG} ,"third"', 304),
            ("*", 304),
            (None, 200),
            ("", 200),
            ('"other"', 200),
            (str(DIGEST), 200),
            (ETAG[:-1], 200),
            ('"*"', 200),
        ):
            self.assertEqual(status, conditional(WHOLE, header).status, header)

    def test_headers(self) -> None:
        """A 304 says nothing of a body that is not sent, and keeps the rest; the body can be closed."""
        reply = conditional(WHOLE, ETAG)
        self.assertEqual({"Age": "7", "ETag": ETAG}, reply.headers)
        self.assertEqual((WHOLE.body, Outcome.HIT), (reply.body, reply.outcome))

    @given(_TAGS)
    def test_any(self, tags: list[str]) -> None:
        """It is a 304 exactly if one of the tags is that of the content, or any will do."""
        header = ", ".join(tags)
        mine = any(tag.removeprefix("W/") == ETAG for tag in tags)
        self.assertEqual(mine, matches(header, ETAG, exists=False))
        self.assertEqual(mine or "*" in tags, matches(header, ETAG))
        expected = 304 if mine or "*" in tags else 200
        self.assertEqual(expected, conditional(WHOLE, header).status)

    @given(st.text())
    def test_garbage(self, header: str) -> None:
        """Whatever a client sends, the answer is the content or a 304."""
        self.assertIn(conditional(WHOLE, header).status, (200, 304))


class Partial(SynchronousTestCase):
    """The 206."""

    @given(st.integers(1, 2**63), st.data())
    def test_any(self, size: int, data: st.DataObject) -> None:
        """A part says where it is and how long it is, and otherwise what the whole says."""
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        whole = Reply(200, content("a/b", size, DIGEST), outcome=Outcome.MISS)
        reply = partial(whole, ByteRange(start, stop), size)
        expected = {
            **whole.headers,
            "Content-Length": str(stop - start),
            "Content-Range": f"bytes {start}-{stop - 1}/{size}",
        }
        self.assertEqual((206, expected), (reply.status, reply.headers))
        self.assertEqual(Outcome.MISS, reply.outcome)
