"""The distribution API as a client of it: which answers can be used, and which cannot."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, BlobUnknown, Denied, ManifestUnknown, RegistryError
from oci_registry.upstream.errors import WrongAnswer
from tests.support.fake_http import FakeResponse, Sent
from tests.unit.upstream.bodies import Sink
from tests.unit.upstream.support import APP, LATEST, A, HostsTestCase

RAW = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'
TYPE = "application/vnd.oci.image.manifest.v1+json"
DIGEST = Digest.of(RAW)
DATA = b"0123456789"
BLOB = Digest.of(DATA)


def part(start: int, stop: int, size: int | str = len(DATA)) -> FakeResponse:
    """Return an answer with a part of the blob."""
    told = f"bytes {start}-{stop - 1}/{size}"
    return FakeResponse(206, DATA[start:stop], {"Content-Range": told})


class OperationsTestCase(HostsTestCase):
    """One host, asked through everything that is in front of it, with no second attempt."""

    names = (A,)

    def setUp(self) -> None:
        super().setUp()
        self.connect(remember_not_found=0.0, remember_denied=0.0)

    def fails(self, request: Any, kind: type[RegistryError]) -> str:
        asked = self.start(request)
        self.clock.pump([1.0] * 10)
        error = self.failureResultOf(asked, kind).value
        self.assertIn(A, str(error))
        return str(error)

    def manifest(self, reference: Any = LATEST) -> Any:
        return self.upstream.manifest(APP, reference, patient=False)


class Manifests(OperationsTestCase):
    """Manifests, and the digests of tags."""

    def test_whole(self) -> None:
        """A 200 or 203 is used, and a 206 that nobody asked for if it is the whole."""
        whole = {"Content-Type": TYPE, "Content-Range": f"bytes 0-{len(RAW) - 1}/{len(RAW)}"}
        for status in (200, 203, 206):
            self.answer(A, FakeResponse(status, RAW, whole))
            for reference in (LATEST, DIGEST):
                found = self.successResultOf(self.start(self.manifest(reference)))
                self.assertEqual((RAW, TYPE, DIGEST), (found.raw, found.media_type, found.digest))

    def test_useless(self) -> None:
        """Any other success, a part, or a redirect without a target, is no answer to this request."""
        answers = [FakeResponse(status, RAW) for status in (201, 202, 204, 206, 300, 304, 307)]
        answers.append(FakeResponse(206, RAW[:5], {"Content-Range": f"bytes 0-4/{len(RAW)}"}))
        answers.append(FakeResponse(206, RAW, {"Content-Range": f"bytes 0-{len(RAW) - 1}/*"}))
        for answer in answers:
            self.answer(A, answer)
            self.fails(self.manifest(), WrongAnswer)

    def test_errors(self) -> None:
        """A 404 is an unknown manifest, a refusal is one."""
        for status, kind in (
            (404, ManifestUnknown),
            (403, Denied),
            (451, Denied),
            (500, BadGateway),
        ):
            self.answer(A, FakeResponse(status))
            self.fails(self.manifest(), kind)

    def test_digests(self) -> None:
        """The bytes have the digest that was asked for, and the one that is claimed."""
        self.answer(A, FakeResponse(body=RAW, headers={"Content-Type": TYPE}))
        self.fails(self.manifest(BLOB), WrongAnswer)
        headers = {"Content-Type": TYPE, "Docker-Content-Digest": str(BLOB)}
        self.answer(A, FakeResponse(body=RAW, headers=headers))
        self.fails(self.manifest(), WrongAnswer)

    def test_portal(self) -> None:
        """A web page is no manifest."""
        self.answer(A, FakeResponse(body=b"<html>", headers={"Content-Type": "text/html"}))
        self.assertIn("no manifest", self.fails(self.manifest(), WrongAnswer))

    def test_head(self) -> None:
        """HEAD gives the digest that the host claims, or None."""
        claim = {"Docker-Content-Digest": str(DIGEST)}
        for answer, expected in (
            (FakeResponse(headers=claim), DIGEST),
            (FakeResponse(203, headers=claim), DIGEST),
            (FakeResponse(), None),
            (FakeResponse(headers={"Docker-Content-Digest": "nonsense"}), None),
            (FakeResponse(405), None),
            (FakeResponse(501), None),
        ):
            self.answer(A, answer)
            found = self.start(self.upstream.manifest_digest(APP, LATEST))
            self.assertEqual(expected, self.successResultOf(found))


class Blobs(OperationsTestCase):
    """Blobs, and parts of them."""

    def read(self, answer: FakeResponse, *asked: int) -> bytes:
        self.answer(A, answer)
        request = self.upstream.part if asked else self.upstream.blob
        body = self.successResultOf(self.start(request(APP, BLOB, *asked)))
        sink = Sink()
        sent: Deferred[int] = body.pump(sink)
        self.successResultOf(sent)
        return bytes(sink.data)

    def test_whole(self) -> None:
        """A 200 or 203 is used, and a 206 that nobody asked for if it is the whole."""
        for answer in (FakeResponse(200, DATA), FakeResponse(203, DATA), part(0, 10)):
            self.assertEqual(DATA, self.read(answer))

    def test_part(self) -> None:
        """A part is what was asked for."""
        self.assertEqual(DATA[2:5], self.read(part(2, 5), 2, 5))
        self.assertEqual("bytes=2-4", self.asked[-1][1].headers["Range"])

    def test_useless(self) -> None:
        """A part that nobody asked for, or another one, is of no use."""
        for answer in (part(2, 5), part(0, 5), FakeResponse(201, DATA), FakeResponse(416)):
            self.answer(A, answer)
            self.fails(self.upstream.blob(APP, BLOB), WrongAnswer)
        for answer in (part(3, 5), FakeResponse(206, DATA), FakeResponse(304)):
            self.answer(A, answer)
            self.fails(self.upstream.part(APP, BLOB, 2, 5), WrongAnswer)

    def test_errors(self) -> None:
        """A 404 is an unknown blob, a refusal is one."""
        for status, kind in ((404, BlobUnknown), (410, BlobUnknown), (401, Denied)):
            self.answer(A, FakeResponse(status))
            self.fails(self.upstream.blob(APP, BLOB), kind)

    def test_size(self) -> None:
        """HEAD tells a size, if it is a number that a blob can have."""
        for length in ("10", "9" * 18):
            self.answer(A, FakeResponse(headers={"Content-Length": length}))
            size = self.start(self.upstream.blob_size(APP, BLOB))
            self.assertEqual(int(length), self.successResultOf(size))
            self.assertEqual("HEAD", self.asked[-1][1].method)
        for odd in ("-1", "x", "9" * 5000, "", "0"):
            self.answer(
                A,
                lambda sent, odd=odd: (
                    FakeResponse(headers={"Content-Length": odd})
                    if sent.method == "HEAD"
                    else FakeResponse(body=DATA)
                ),
            )
            size = self.start(self.upstream.blob_size(APP, BLOB))
            self.assertEqual(len(DATA), self.successResultOf(size))

    def test_size_of_the_unannounced(self) -> None:
        """Where no whole answer has a length, that to a range names it; if there is none, nobody knows."""

        def answer(sent: Sent) -> FakeResponse:
            if sent.headers.get("Range") == "bytes=0-0":
                return part(0, 1)
            return FakeResponse(body=b"" if sent.method == "HEAD" else DATA, sized=False)

        self.answer(A, answer)
        size = self.start(self.upstream.blob_size(APP, BLOB))
        self.assertEqual(len(DATA), self.successResultOf(size))
        self.answer(A, lambda sent: FakeResponse(body=DATA, sized=False))
        self.assertIsNone(self.successResultOf(self.start(self.upstream.blob_size(APP, BLOB))))
