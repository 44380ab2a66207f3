"""One host: how many ask it at once, when it is not asked, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
)
from oci_registry.spec.reference import Tag
from oci_registry.upstream.errors import CircuitOpen, TimedOut
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.bodies import Held
from tests.unit.upstream.support import (
    APP,
    LATEST,
    OTHER,
    A,
    RequestsTestCase,
    blob_of,
    manifest,
)

SERVER_ERROR = FakeResponse(500)
FAILURES = UpstreamLimits().breaker.failures


class Queue(RequestsTestCase):
    """So many requests at once."""

    names = (A,)

    def test_max_connections(self) -> None:
        """No host gets more requests at once than it may; one that waits too long gets an error."""
        self.connect(max_connections=2)
        held: list[Deferred[FakeResponse]] = [Deferred() for _ in range(3)]
        answers = list(held)
        self.answer(A, lambda _: answers.pop(0))
        asked = [self.start(self.upstream.manifest(APP, Tag(f"t{n}"))) for n in range(3)]
        self.assertEqual(2, self.asked_of(A))
        labels = {"namespace": "example.com", "host": A}
        self.assertEqual(1, self.counted("oci_registry_upstream_waiting_requests", **labels))
        held[0].callback(manifest())
        self.assertEqual(3, self.asked_of(A))
        held[1].callback(manifest())
        held[2].callback(manifest())
        for one in asked:
            self.successResultOf(one)

    def test_limited_while_waiting(self) -> None:
        """A request that has waited for a connection is not sent when its kind is limited meanwhile."""
        self.connect(max_connections=2)
        held: list[Deferred[FakeResponse]] = [Deferred() for _ in range(2)]
        answers = list(held)
        self.answer(A, lambda _: answers.pop(0))
        repositories = (APP, OTHER, "library/third")
        asked = [self.start(self.upstream.manifest_digest(r, LATEST)) for r in repositories]
        limited = FakeResponse(429, headers={"Retry-After": "30"})
        self.group.hosts[0].breakers.record_limit(
            Kind.DIGEST, ApiRequest(Kind.DIGEST, OTHER, "x"), 30
        )
        held[0].callback(limited)
        self.error(asked[0], TooManyRequests)
        self.error(asked[2], TooManyRequests)
        self.assertEqual(2, self.asked_of(A))
        held[1].callback(FakeResponse(404))
        self.error(asked[1], ManifestUnknown)

    def test_waiting_too_long(self) -> None:
        """Waiting for a turn is no fault of the host."""
        self.connect(max_connections=2, response_timeout=5.0)
        data = b"x" * 100
        digest = Digest.of(data)
        self.answer(A, FakeResponse(body=data))
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.clock.advance(5.0)
        self.error(second, TooManyRequests)
        self.assertEqual(0, self.wait(ApiRequest(Kind.BLOB, APP, str(digest))))
        first.abandon()
        self.successResultOf(self.start(self.upstream.blob(APP, digest))).abandon()

    def test_late_after_the_queue(self) -> None:
        """A host is not late when most of the time for the answer went by while waiting for a turn."""
        self.connect(max_connections=2, response_timeout=10.0)
        self.answer(A, FakeResponse(body=b"x"))
        digest = Digest.of(b"x")
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.clock.advance(6.0)
        self.answer(A, lambda _: Deferred())
        first.abandon()
        self.clock.advance(4.0)
        self.error(second, TooManyRequests)
        self.assertEqual(
            (2, 0), (self.asked_of(A), self.wait(ApiRequest(Kind.BLOB, APP, str(digest))))
        )

    def test_late_in_spite_of_it(self) -> None:
        """But it is one if there was enough of it left."""
        self.connect(max_connections=2, response_timeout=10.0)
        self.answer(A, FakeResponse(body=b"x"))
        digest = Digest.of(b"x")
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.clock.advance(4.0)
        self.answer(A, lambda _: Deferred())
        first.abandon()
        self.clock.advance(6.0)
        self.error(second, GatewayTimeout)
        self.assertGreater(self.wait(ApiRequest(Kind.BLOB, APP, str(digest))), 0)


class Failures(RequestsTestCase):
    """What counts as a failure of the host, and for which requests."""

    names = (A,)

    def cdn(self, answer: Answer | Callable[[Sent], Answer], *kinds: str) -> None:
        """Redirect requests of such kinds to another server, which answers so."""

        def ask(sent: Sent) -> Answer:
            if sent.url.startswith("https://cdn.example/"):
                return answer(sent) if callable(answer) else answer
            if any(kind in sent.url for kind in kinds):
                return FakeResponse(307, headers={"Location": "https://cdn.example/b"})
            return blob_of(b"y")(sent) if "/blobs/" in sent.url else manifest()

        self.answer(A, ask)

    def test_silent_target(self) -> None:
        """Where a host sends us that is silent costs a timeout, and no manifest or other blob."""
        blob = Digest.of(b"x")
        self.cdn(lambda _: Deferred(), f"/blobs/{blob}")
        asked = self.start(self.upstream.blob(APP, blob))
        self.clock.advance(self.settings.response_timeout)
        message = self.error(asked, GatewayTimeout).message
        self.assertIn("cdn.example", message)
        self.works()
        other = self.upstream.blob(APP, Digest.of(b"y"))
        self.successResultOf(self.start(other)).abandon()

    def test_limited_target(self) -> None:
        """What a target answers says nothing about the registry: 429, 503, 500 or a refusal."""
        for status in (429, 503, 500, 403):
            self.connect()
            self.cdn(FakeResponse(status, headers={"Retry-After": "120"}), f"/{APP}/blobs/")
            for _ in range(2):
                asked = self.start(self.upstream.blob(APP, Digest.of(b"x")))
                self.clock.pump([1.0] * 20)
                self.error(asked, RegistryError)
            self.works()
            other = self.upstream.blob(OTHER, Digest.of(b"y"))
            self.successResultOf(self.start(other)).abandon()

    def test_lists_and_sizes(self) -> None:
        """Lists, referrers and sizes that fail leave manifests and blobs alone."""
        failing = ("/tags/list", "/referrers/")

        def answer(sent: Sent) -> Answer:
            if sent.method == "HEAD" or any(path in sent.url for path in failing):
                return FakeResponse(500)
            return blob_of(b"y")(sent) if "/blobs/" in sent.url else manifest()

        self.answer(A, answer)
        blob = Digest.of(b"y")
        for repository in (APP, OTHER, "library/third"):
            for _ in range(FAILURES):
                for request in (
                    self.upstream.tags(repository, None, None),
                    self.upstream.referrers(repository, blob),
                    self.upstream.manifest_digest(repository, LATEST),
                    self.upstream.blob_size(repository, blob),
                ):
                    self.start(request).addErrback(lambda failure: failure.trap(RegistryError))
                    self.clock.pump([1.0] * 10)
        self.works()
        self.successResultOf(self.start(self.upstream.blob(APP, blob))).abandon()

    def test_failures_in_a_row(self) -> None:
        """Failures in a row open the breaker of a request; then nothing is sent by the impatient."""
        self.answer(A, SERVER_ERROR)
        for _ in range(FAILURES):
            self.error(self.ask(), BadGateway)
        self.error(self.ask(), CircuitOpen)
        self.assertEqual(FAILURES, self.asked_of(A))
        self.answer(A, manifest())
        self.successResultOf(self.start(self.upstream.manifest(APP, Tag("other"))))

    def test_blobs_fail_while_manifests_work(self) -> None:
        """Blobs that fail open the circuit of blobs, however many manifests work between."""

        def answer(sent: Sent) -> Answer:
            return FakeResponse(500) if "/blobs/" in sent.url else manifest()

        self.answer(A, answer)
        for number in range(FAILURES):
            repository = (APP, OTHER)[number % 2]
            part = self.upstream.part(repository, Digest.of(b"%d" % number), 0, 1)
            self.error(self.start(part), BadGateway)
            self.works()
        self.error(self.start(self.upstream.part("a", Digest.of(b"x"), 0, 1)), CircuitOpen)
        self.works()

    def test_hanging_repository(self) -> None:
        """A repository that never answers keeps no request about another from its answer."""
        self.answer(A, lambda s: Deferred() if "/team/dead/" in s.url else manifest())
        for second in range(74):
            tag = Tag(f"t{second}")
            dead = self.start(self.upstream.manifest("team/dead", tag))
            dead.addErrback(lambda failure: failure.trap(RegistryError))
            self.successResultOf(self.start(self.upstream.manifest(APP, tag)))
            self.clock.advance(1.0)
        self.clock.advance(60.0)

    def test_too_late_to_probe(self) -> None:
        """A request that had its turn too late to be sent leaves the probe to others."""
        self.connect(max_connections=2, response_timeout=10.0)
        self.answer(A, FakeResponse(body=b"x"))
        digest = Digest.of(b"x")
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        request = ApiRequest(Kind.BLOB, APP, str(digest))
        self.group.hosts[0].breakers.record_failure(Kind.BLOB, request, TimedOut("?"))
        second = self.start(self.upstream.blob(APP, digest))
        self.clock.advance(9.7)
        first.abandon()
        self.error(second, TooManyRequests)
        self.successResultOf(self.start(self.upstream.blob(APP, digest))).abandon()

    def test_questions_that_are_refused(self) -> None:
        """A host that refuses a request, or answers with nonsense, is not taken for broken."""
        for answer in (FakeResponse(400), FakeResponse(405), FakeResponse(body=b"<html>")):
            self.answer(A, answer)
            for n in range(FAILURES + 1):
                self.error(self.start(self.upstream.tags(APP, n + 1, None)), BadGateway)
        self.answer(A, manifest())
        self.works()

    def test_cancelled_in_a_small_body(self) -> None:
        """A caller that cancels in the middle of an answer counts as no failure, and no other host is asked."""
        answer = Held(body=b"[", length=100)
        self.answer(A, answer)
        for _ in range(FAILURES):
            asked = self.start(self.upstream.tags(APP, None, None))
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        request = ApiRequest(Kind.TAGS, APP, "None None")
        self.assertEqual((0, FAILURES), (self.wait(request), self.asked_of(A)))


class Remembered(RequestsTestCase):
    """What need not be asked again."""

    names = (A,)

    def test_negative_answers(self) -> None:
        """A negative answer is not asked for again; HEAD and GET of a tag are two requests."""
        self.answer(A, FakeResponse(404))
        for _ in range(2):
            self.error(self.start(self.upstream.manifest_digest(APP, LATEST)), ManifestUnknown)
        self.assertEqual(1, self.asked_of(A))
        for _ in range(2):
            self.error(self.ask(), ManifestUnknown)
        self.assertEqual(2, self.asked_of(A))
        self.error(self.start(self.upstream.blob(APP, Digest.of(b"x"))), BlobUnknown)
        self.clock.advance(self.settings.remember_not_found)
        self.answer(A, manifest())
        self.works()

    def test_locked_blob(self) -> None:
        """One blob that is locked away does not lock the repository."""
        self.answer(A, FakeResponse(403))
        self.error(self.start(self.upstream.blob(APP, Digest.of(b"x"))), Denied)
        self.answer(A, manifest())
        self.works()

    def test_denied(self) -> None:
        """What is refused is not asked for again for a while, and refuses nothing else."""
        self.answer(A, FakeResponse(403))
        for _ in range(2):
            self.error(self.ask(), Denied)
        self.assertEqual(1, self.asked_of(A))
        self.answer(A, manifest())
        self.successResultOf(self.start(self.upstream.manifest(APP, Tag("other"))))

    def test_size_without_head(self) -> None:
        """Where HEAD of a blob fails, or tells nothing, the head of a GET tells its size."""
        blob = Digest.of(b"y")
        for head in (403, 404, 405, 500, 200):
            self.connect()

            def answer(sent: Sent, head: int = head) -> Answer:
                return FakeResponse(head) if sent.method == "HEAD" else blob_of(b"y")(sent)

            self.answer(A, answer)
            self.assertEqual(
                1, self.successResultOf(self.start(self.upstream.blob_size(APP, blob)))
            )
            self.assertEqual(0, self.group.hosts[0]._limiter.used)

    def test_size_of_a_silent_head(self) -> None:
        """A HEAD that is not answered leaves time for the GET; one that is limited is not followed."""
        blob = Digest.of(b"y")
        self.answer(A, lambda s: Deferred() if s.method == "HEAD" else blob_of(b"y")(s))
        asked = self.start(self.upstream.blob_size(APP, blob))
        self.clock.advance(self.settings.response_timeout / 2)
        self.assertEqual(1, self.successResultOf(asked))
        self.connect()
        self.answer(A, FakeResponse(429, headers={"Retry-After": "60"}))
        before = self.asked_of(A)
        self.error(self.start(self.upstream.blob_size(APP, blob)), TooManyRequests)
        self.assertEqual(before + 1, self.asked_of(A))

    def test_low_budget(self) -> None:
        """While little is left of the budget, the max age of tags is longer."""
        self.connect(manifest_invalidation_time=1000.0)
        self.assertEqual(1000, self.upstream.max_age)
        raw = manifest()
        for name, value in (("RateLimit-Limit", "100;w=60"), ("RateLimit-Remaining", "1;w=60")):
            raw.headers.setRawHeaders(name.encode(), [value.encode()])
        self.answer(A, raw)
        self.works()
        self.assertEqual(4000, self.upstream.max_age)
        self.clock.advance(60)
        self.assertEqual(1000, self.upstream.max_age)
