"""Each request to an upstream, in the log."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import RequestTransmissionFailed

from oci_registry.upstream.request_log import RequestLog, purpose
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.support.fake_http import FakeResponse
from tests.support.reports import Lines

URL = "https://a.example/v2/library/app/manifests/latest"


class Requests(SynchronousTestCase):
    """Lines of requests."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.lines = Lines(self)
        self.log = RequestLog(self.clock)

    def begin(self, url: str = URL) -> tuple[Deferred[Any], Deferred[Any]]:
        """Begin a request; return the answer that is to come, and what is made of it."""
        answer: Deferred[Any] = Deferred()
        watched = self.log.watch("GET", url, "revalidation of tag latest", answer)
        return answer, Deferred.fromCoroutine(watched)

    def test_status(self) -> None:
        """A request is logged with method, URL, status, duration and reason, at level debug."""
        answer, done = self.begin()
        self.assertEqual([], self.lines.of(LogLevel.debug))
        self.clock.advance(0.25)
        response = FakeResponse(200)
        answer.callback(response)
        self.assertIs(response, self.successResultOf(done))
        self.assertEqual(
            [f"GET {URL}: 200 after 0.250 s (revalidation of tag latest)"],
            self.lines.of(LogLevel.debug),
        )

    def test_no_secrets(self) -> None:
        """Neither the query, which may be a signature, nor a user is logged; nor too long a path."""
        answer, _ = self.begin("https://user:pass@cdn.example/blob?X-Amz-Signature=secret")
        answer.callback(FakeResponse(200))
        (line,) = self.lines.of(LogLevel.debug)
        self.assertIn("GET https://cdn.example/blob: 200", line)
        for secret in ("secret", "pass", "user"):
            self.assertNotIn(secret, line)
        self.lines.clear()
        answer, _ = self.begin(f"https://cdn.example/{'x' * 5000}")
        answer.callback(FakeResponse(200))
        self.assertLess(len(self.lines.of(LogLevel.debug)[0]), 500)

    def test_failures(self) -> None:
        """A request without an answer is logged with what went wrong."""
        for error, word in (
            (RequestTransmissionFailed([Failure(Refused())]), "ConnectionRefusedError"),
            (CancelledError(), "CancelledError"),
        ):
            self.lines.clear()
            answer, done = self.begin("no URL at all")
            answer.errback(error)
            self.failureResultOf(done, type(error))
            (line,) = self.lines.of(LogLevel.debug)
            self.assertIn(f"failed ({word})", line)


class Purposes(SynchronousTestCase):
    """Why a request is sent."""

    def test_kinds(self) -> None:
        """Each kind of request has a reason."""
        for kind, expected in (
            (Kind.MANIFEST, "manifest x"),
            (Kind.DIGEST, "revalidation of tag x"),
            (Kind.TAGS, "tag list"),
            (Kind.REFERRERS, "referrers of x"),
            (Kind.SIZE, "size of a blob"),
            (Kind.BLOB, "blob for clients"),
        ):
            self.assertEqual(expected, purpose(ApiRequest(kind, "a/b", "x"), {}, ""))

    def test_blobs(self) -> None:
        """Ranges say whether a download is resumed, and retries what happened before."""
        request = ApiRequest(Kind.BLOB, "a/b", "x")
        self.assertEqual(
            "blob for clients, resumed from byte 100; after: it broke",
            purpose(request, {"Range": "bytes=100-"}, "after: it broke"),
        )
        self.assertEqual(
            "bytes 5 to 9 of a blob, ahead of its download",
            purpose(request, {"Range": "bytes=5-9"}, ""),
        )
