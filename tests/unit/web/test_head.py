"""Heads of requests, line by line, and whatever else is sent in their place."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.repeats import RepeatLog
from oci_registry.web.head import (
    MAX_FIELDS,
    MAX_FIELDS_SIZE,
    MAX_REQUEST_LINE,
    RequestHead,
    check_begun,
    origin_form,
)
from oci_registry.web.refusals import Refused
from tests.unit.web.support import Calling, Connection, Log, RegistryRequest, RegistrySite


def status(*lines: bytes, rest: bytes = b"") -> str:
    """Return what is said of lines and of the beginning of another; ``ok`` if nothing is."""
    head = RequestHead()
    try:
        for line in lines:
            head.take(line)
        head.check_rest(rest)
    except Refused as refused:
        return str(refused).split(" ")[1]
    return "ok"


class Heads(SynchronousTestCase):
    """What is taken."""

    def test_request_lines(self) -> None:
        """A request line has a method, a target and a version, with one space between them."""
        for line, expected in (
            (b"GET / HTTP/1.1", "ok"),
            (b"brew-it! /a?b=c#d HTTP/1.0", "ok"),
            (b"GET http://mirror:8080/v2/ HTTP/1.1", "ok"),
            (b"GET HTTPS://[::1]?a HTTP/1.1", "ok"),
            (b"OPTIONS * HTTP/1.1", "ok"),
            (b"CONNECT mirror:443 HTTP/1.1", "ok"),
            (b"GET /" + b"a" * (MAX_REQUEST_LINE - 14) + b" HTTP/1.1", "ok"),
            (b"GET /" + b"a" * (MAX_REQUEST_LINE - 13) + b" HTTP/1.1", "414"),
            (b"GET /", "400"),
            (b"GET", "400"),
            (b"GET / ", "400"),
            (b"GET  / HTTP/1.1", "400"),
            (b"GET\t/ HTTP/1.1", "400"),
            (b" GET / HTTP/1.1", "400"),
            (b"GET / HTTP/1.1 ", "400"),
            (b"GET / http/1.1", "400"),
            (b"GET / HTTP/11", "400"),
            (b"GET / HTTPS/1.1", "400"),
            (b"GET /a b HTTP/1.1", "400"),
            (b"GET /\xe9 HTTP/1.1", "400"),
            (b"GET /\x7f HTTP/1.1", "400"),
            (b"G\xe9T / HTTP/1.1", "400"),
            (b"G(T / HTTP/1.1", "400"),
            (b" / HTTP/1.1", "400"),
            (b"GET v2/ HTTP/1.1", "400"),
            (b"GET mirror:80 HTTP/1.1", "400"),
            (b"GET ftp://mirror/ HTTP/1.1", "400"),
            (b"GET http:///v2/ HTTP/1.1", "400"),
            (b"GET / HTTP/1.2", "505"),
            (b"GET / HTTP/0.9", "505"),
            (b"PRI * HTTP/2.0", "505"),
        ):
            self.assertEqual(expected, status(line), line[:80])

    def test_fields(self) -> None:
        """A header line has a token, a colon right after it, and text."""
        for line, expected in (
            (b"A:", "ok"),
            (b"A:b", "ok"),
            (b"x-1!: \t\xc3\xa9\xff \t", "ok"),
            (b"A", "400"),
            (b": b", "400"),
            (b"A : b", "400"),
            (b"A\t: b", "400"),
            (b"A B: c", "400"),
            (b"\xc3: b", "400"),
            (b" A: b", "400"),
            (b"\tfolded", "400"),
            (b"A: \0", "400"),
            (b"A: b\nC: d", "400"),
            (b"A: b\rC: d", "400"),
            (b"A: \x1b[0m", "400"),
        ):
            self.assertEqual(expected, status(b"GET / HTTP/1.1", line), line)

    def test_hosts(self) -> None:
        """There is one Host, as of HTTP/1.1 (RFC 9112 section 3.2); what it says is nothing to us."""
        for lines, expected in (
            ((b"Host: m",), "ok"),
            ((b"HOST:m_1:80 ",), "ok"),
            ((b"host: [fe80::1%25eth0]:80",), "ok"),
            ((b"host:",), "ok"),
            ((), "400"),
            ((b"Hosts: m",), "400"),
            ((b"Host: m", b"host: m"), "400"),
            ((b"Host: m, m",), "400"),
            ((b"Host: user@m",), "400"),
            ((b"Host: m/v2",), "400"),
        ):
            self.assertEqual(expected, status(b"GET / HTTP/1.1", *lines, b""), lines)
        self.assertEqual("ok", status(b"GET / HTTP/1.0", b""))
        self.assertEqual("400", status(b"GET / HTTP/1.0", b"Host: a", b"Host: b", b""))
        self.assertEqual("400", status(b"GET http://m/ HTTP/1.1", b""))

    def test_framing(self) -> None:
        """A message has one length, written in one way (RFC 9112 sections 6.1 to 6.3)."""
        for lines, expected in (
            ((b"Content-Length: 0",), "ok"),
            ((b"content-length:\t12 ",), "ok"),
            ((b"Transfer-Encoding: Chunked",), "ok"),
            ((b"Content-Length: ",), "400"),
            ((b"Content-Length: -1",), "400"),
            ((b"Content-Length: +1",), "400"),
            ((b"Content-Length: 1_0",), "400"),
            ((b"Content-Length: 0x1",), "400"),
            ((b"Content-Length: \xb2",), "400"),
            ((b"Content-Length: 1, 1",), "400"),
            ((b"Content-Length: " + b"9" * 19,), "400"),
            ((b"Content-Length: 1", b"Content-Length: 1"), "400"),
            ((b"Content-Length: 1", b"Transfer-Encoding: chunked"), "400"),
            ((b"Transfer-Encoding: chunked", b"Content-Length: 1"), "400"),
            ((b"Transfer-Encoding: ",), "400"),
            ((b"Transfer-Encoding: identity",), "400"),
            ((b"Transfer-Encoding: gzip",), "400"),
            ((b"Transfer-Encoding: gzip, chunked",), "400"),
            ((b"Transfer-Encoding: chunked, gzip",), "400"),
            ((b"Transfer-Encoding: chunked, chunked",), "400"),
            ((b"Transfer-Encoding: chunked;q=1",), "400"),
            ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), "400"),
            ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), "400"),
            ((b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), "400"),
            ((b"Transfer-Encoding: \x0bchunked",), "400"),
        ):
            got = status(b"PUT / HTTP/1.1", b"Host: m", *lines, b"")
            self.assertEqual(expected, got, lines)
        self.assertEqual("400", status(b"PUT / HTTP/1.0", b"Transfer-Encoding: chunked", b""))

    def test_sizes(self) -> None:
        """What is too much is refused before it has come to its end."""
        first = b"GET / HTTP/1.1"
        self.assertEqual("ok", status(first, b"A:" + b"b" * (MAX_FIELDS_SIZE - 4)))
        self.assertEqual("431", status(first, b"A:" + b"b" * (MAX_FIELDS_SIZE - 3)))
        self.assertEqual("431", status(first, *(b"A:" + b"b" * 996,) * 66))
        self.assertEqual("431", status(first, rest=b"A:" + b"b" * MAX_FIELDS_SIZE))
        self.assertEqual(
            "431", status(first, *(b"A:" + b"b" * 996,) * 60, rest=b"A:" + b"b" * 6000)
        )
        self.assertEqual("ok", status(first, *(b"A:b",) * MAX_FIELDS))
        self.assertEqual("431", status(first, *(b"A:b",) * (MAX_FIELDS + 1)))
        self.assertEqual("414", status(rest=b"G" * (MAX_REQUEST_LINE + 1)))

    def test_several(self) -> None:
        """Limits are those of one request, and so is what was said in it."""
        head = RequestHead()
        for _ in range(3):
            for line in (b"", b"", b"GET / HTTP/1.1", b"Host: m", b"A:" + b"b" * 60_000, b""):
                head.take(line)

    def test_begun(self) -> None:
        """The beginning of a line is refused for what no line can have."""
        for part in (b"", b"GET", b"GET / HTTP/1.1\r", b"\r", b"\xff", b"a\tb"):
            check_begun(part)
        for part in (b"\n", b"GET / HTTP/1.1\n", b"\ra", b"\r\r", b"\0", b"\x7f"):
            self.assertRaises(Refused, check_begun, part)

    def test_origin_form(self) -> None:
        """A target means its path and query."""
        for target, expected in (
            (b"/v2/?ns=a", b"/v2/?ns=a"),
            (b"http://mirror:8080/v2/?ns=a", b"/v2/?ns=a"),
            (b"HTTPS://user:word@[::1]:80/v2/", b"/v2/"),
            (b"http://mirror", b"/"),
            (b"http://mirror?ns=a", b"/?ns=a"),
            (b"/http://mirror/v2/", b"/http://mirror/v2/"),
            (b"http://mirror//v2/", b"//v2/"),
            (b"*", b"*"),
        ):
            self.assertEqual(expected, origin_form(target))


REQUEST = b"GET /v2/?ns=a HTTP/1.1\r\nHost: mirror\r\nAccept: */*\r\n\r\n"
PIECES = st.sampled_from(
    (b"\r\n", b"\r", b"\n", b" ", b":", b"\0", b"\t", b"GET ", b"/", b"HTTP/1.1", b"Host: m\r\n")
)


def answered(pieces: list[bytes]) -> bytes:
    """Return everything that a connection gets for what is sent in pieces."""
    clock = Clock()

    def reply(request: RegistryRequest) -> None:
        request.setHeader(b"Date", b"now")
        request.setHeader(b"Content-Length", b"2")
        request.write(b"ok")
        request.finish()

    connection = Connection(RegistrySite(Calling(reply), clock, Log(), RepeatLog(Logger(), clock)))
    for piece in pieces:
        if piece:
            connection.send(piece)
    got = connection.got
    connection.leave()
    return got


class Anything(SynchronousTestCase):
    """Whatever comes is answered, the same however it is cut."""

    def check(self, data: bytes, cuts: list[int]) -> None:
        got = answered([data])
        self.assertTrue(got.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")), data)
        places = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
        pieces = [data[start:stop] for start, stop in pairwise(places)]
        self.assertEqual(got, answered(pieces))

    @given(st.binary(min_size=1), st.lists(st.integers(0, 1000), max_size=5))
    def test_bytes(self, data: bytes, cuts: list[int]) -> None:
        """Bytes that are no request are answered when their line ends, if not before."""
        self.check(data + b"x\r\n", cuts)

    @given(
        st.lists(st.tuples(st.integers(0, len(REQUEST)), st.integers(0, 3), PIECES), max_size=4),
        st.lists(st.integers(0, 1000), max_size=5),
    )
    def test_damaged(self, changes: list[tuple[int, int, bytes]], cuts: list[int]) -> None:
        """A request that was damaged anywhere is answered when it has come to its end."""
        data = REQUEST
        for place, removed, added in changes:
            data = data[:place] + added + data[place + removed :]
        self.check(data + b"x\r\n\r\n\r\n\r\n", cuts)
