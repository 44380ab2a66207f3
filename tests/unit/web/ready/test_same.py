"""Whatever is sent, ready answers are those of requests answered in full."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from tests import examples
from tests.unit.web.ready.support import BLOB, RAW, SMALL, Mirror, feed

DIGEST = str(Digest.of(RAW))
PARTS = f"/v2/library/app/blobs/{Digest.of(BLOB)}"
WHOLE = f"/v2/library/app/blobs/{Digest.of(SMALL)}"
TARGETS = (
    "/v2/library/app/manifests/1",
    "/v2/library/app/manifests/2?ns=docker.io",
    f"/v2/app/manifests/{DIGEST}",
    PARTS,
    WHOLE,
    "/v2/library/app/manifests/none",
    "/docker.io/v2/app/manifests/1",
    "http://mirror/v2/library/app/manifests/1",
    "//v2//library/app/manifests/1",
    "/v2/library/app/manifests/1?token=Tr0ub4dor",
    "/v2/library/app/manifests/%31",
    "/v2/",
    "/v2",
    "/healthz",
    "/readyz",
    "*",
)
FIELDS = (
    "Host: mirror",
    "Host: mirror",
    "host:mirror ",
    "Host: m/x",
    "User-Agent: podman/4",
    'User-Agent: "odd" \x80',
    "User-Agent:",
    "Accept: */*",
    "Accept:text/plain",
    "Accept : */*",
    "Accept-Encoding: gzip",
    "Connection: keep-alive",
    "Connection: Keep-Alive",
    "Connection: close",
    "Connection: TE, close",
    "X-Forwarded-For: 1.2.3.4",
    "Docker-Distribution-Api-Version: registry/2.0",
    "Authorization: Basic eDp5",
    f'If-None-Match: "{DIGEST}"',
    'If-None-Match: "x"',
    "Range: bytes=0-1",
    "Range: bytes=5-4",
    "Range: bytes=7-",
    "Range: bytes=-7",
    f"Range: bytes={len(BLOB) - 1}-{len(BLOB)}",
    f"Range: bytes={len(BLOB)}-{len(BLOB)}",
    f"Range: bytes=9-{10**18}",
    "Range: bytes=1000-66535",
    "Range: bytes=1000-66536",
    "Range:bytes=0-1",
    "range: bytes=0-1",
    "Range: bytes=00-01",
    "Range: bytes=0-1,3-4",
    f'If-Range: "{Digest.of(BLOB)}"',
    'If-Range: "x"',
    f'If-None-Match: "{Digest.of(BLOB)}"',
    "Cookie: a=b",
    "Content-Length: 0",
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "X-Odd: 1",
    " folded",
    "Bad\x00: 1",
    "",
)

simple = st.builds(
    lambda method, target, agent: (
        f"{method} {target} HTTP/1.1\r\nHost: m\r\nUser-Agent: {agent}\r\n\r\n".encode("latin-1")
    ),
    st.sampled_from(("GET", "GET", "HEAD")),
    st.sampled_from((*TARGETS[:5] * 5, *TARGETS[5:12])),
    st.sampled_from(("a", "b")),
)
nearly = st.builds(
    lambda method, target, fields: "\r\n".join(
        (f"{method} {target} HTTP/1.1", "Host: m", *fields, "", "")
    ).encode("latin-1"),
    st.sampled_from(("GET", "HEAD")),
    st.sampled_from(TARGETS[:5]),
    st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2),
)
odd = st.builds(
    lambda method, space, target, version, fields, end: (
        f"{method}{space}{target}{version}\r\n{''.join(f'{f}{end}' for f in fields)}\r\n"
    ).encode("latin-1"),
    st.sampled_from(("GET", "HEAD", "get", "POST", "GET ", "")),
    st.sampled_from((" ", " ", " ", "  ", "\t")),
    st.sampled_from(TARGETS),
    st.sampled_from((" HTTP/1.1", " HTTP/1.1", " HTTP/1.1", " HTTP/1.0", " HTTP/2.0", "")),
    st.lists(st.sampled_from(FIELDS), max_size=5).map(lambda fields: ["Host: mirror", *fields])
    | st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from(("\r\n", "\r\n", "\r\n", "\n")),
)
JUNK = (
    b"\r\n",
    b"\r\n" * 5,
    b"\x16",
    b"abc",
    b"\0",
    b"GET /v2/ HTTP/1.1\r\n",
    b"GET /v2/ HTTP/1.1\r\nHost: m\r\nX: ",
    b"PUT /v2/ HTTP/1.1\r\nHost: m\r\nContent-Length: 5\r\n\r\n",
    b"3\r\nabc\r\n0\r\n\r\n",
)
junk = st.sampled_from(JUNK)
parts = st.lists(st.one_of(simple, simple, nearly, nearly, odd, junk), min_size=1, max_size=6)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Return pieces that a connection sends: requests one by one, together, or split anywhere."""
    sent = draw(parts)
    how = draw(st.sampled_from(("whole", "whole", "whole", "together", "split")))
    if how == "whole":
        return sent
    data = b"".join(sent)
    if how == "together":
        return [data]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def warm(mirror: Mirror) -> None:
    """Let the answers of a mirror become ready, if it has such."""
    for target in TARGETS[:3]:
        mirror.warm(target)
    mirror.warm_parts()
    mirror.warm_small()


class Same(SynchronousTestCase):
    """A mirror with ready answers beside one without."""

    @settings(max_examples=examples(1.5))
    @given(
        st.lists(
            st.tuples(streams(), st.sampled_from((0.0, 0.25, 1.0, 60.0, 3000.0))),
            min_size=1,
            max_size=5,
        ),
        st.sampled_from(("combined", "json", "text")),
    )
    def test_streams(self, sent: list[tuple[list[bytes], float]], form: str) -> None:
        """Responses, ends of connections, access log, metrics, uses and sizes are the same."""
        mirrors = [Mirror(ready=ready, form=form) for ready in (True, False)]
        for mirror in mirrors:
            warm(mirror)
        for pieces, pause in sent:
            got = [feed(mirror, pieces) for mirror in mirrors]
            self.assertEqual(got[1], got[0])
            for mirror in mirrors:
                mirror.clock.advance(pause)
        states = [mirror.state() for mirror in mirrors]
        for name, value in states[1].items():
            self.assertEqual(value, states[0][name], name)
        for mirror in mirrors:
            mirror.leave()

    def same(self, mirrors: list[Mirror], *pieces: bytes) -> None:
        """What comes of these pieces is the same."""
        before = [mirror.log.tell() for mirror in mirrors]
        got = [feed(mirror, pieces) for mirror in mirrors]
        self.assertEqual(got[1], got[0], pieces)
        logs = []
        for mirror, position in zip(mirrors, before, strict=True):
            mirror.log.seek(position)
            logs.append(mirror.log.read())
        self.assertEqual(logs[1], logs[0], pieces)

    def test_each(self) -> None:
        """Each odd field in an otherwise simple request changes nothing, nor does anything odd before."""
        mirrors = [Mirror(ready=ready) for ready in (True, False)]
        for mirror in mirrors:
            warm(mirror)
        head = f" {TARGETS[0]} HTTP/1.1\r\nHost: m\r\n".encode()
        parts = f"GET {PARTS} HTTP/1.1\r\nHost: m\r\nRange: bytes=3-70\r\n".encode()
        for field in FIELDS:
            line = f"{field}\r\n".encode("latin-1")
            self.same(mirrors, parts + line + b"\r\n")
            self.same(mirrors, parts.replace(b"Range: bytes=3-70\r\n", line) + b"\r\n")
            for name in ("GET", "HEAD"):
                small = f"{name} {WHOLE} HTTP/1.1\r\nHost: m\r\n".encode()
                self.same(mirrors, small + line + b"\r\n")
                self.same(mirrors, small + b"\r\n", small + line + b"\r\n", small + b"\r\n")
        for method in (b"GET", b"HEAD", b"get", b"POST"):
            for field in FIELDS:
                line = f"{field}\r\n".encode("latin-1")
                self.same(mirrors, method + head + line + b"\r\n")
                self.same(mirrors, method + head + line + line + b"\r\n")
            for before in JUNK:
                whole = method + head + b"\r\n"
                self.same(mirrors, before, whole, whole)
                self.same(mirrors, whole, before, whole)
                self.same(mirrors, whole, before, before, whole)
                self.same(mirrors, before + whole + whole)
                self.same(mirrors, before, whole, before, whole)
            for host in ("", "Host: m/x\r\n", "Host:\r\n", "Host: [::1]:80\r\n"):
                head_alone = f" {TARGETS[0]} HTTP/1.1\r\n{host}\r\n"
                self.same(mirrors, method + head_alone.encode())
        self.assertEqual(mirrors[1].state(), mirrors[0].state())
        for mirror in mirrors:
            mirror.leave()

    def test_used(self) -> None:
        """Simple requests are answered at once, in all forms that clients send."""
        mirror = Mirror(ready=True)
        for target in (*TARGETS[:3], "/docker.io/v2/app/manifests/1", "/v2/", "/healthz"):
            mirror.warm(target)
            self.assertTrue(mirror.at_once(target), target)
        mirror.warm_parts()
        for part in ("0-0", "5-9", f"{len(BLOB) - 60000}-99999999", "00-01"):
            self.assertTrue(mirror.at_once(PARTS, Range=f"bytes={part}"), part)
        mirror.warm_small()
        for method in ("GET", "HEAD"):
            self.assertTrue(mirror.at_once(WHOLE, method=method), method)
        self.assertTrue(mirror.at_once(WHOLE, Connection="close"))
        mirror.leave()
