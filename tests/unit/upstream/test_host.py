"""One host: how many ask it at once, when it is left alone, and what is remembered of it."""

from __future__ import annotations

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
    Unavailable,
)
from oci_registry.spec.reference import Tag
from oci_registry.upstream.health import FAILURES, SHORTEST
from oci_registry.upstream.slots import Turn
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.bodies import Held
from tests.unit.upstream.support import APP, LATEST, A, QuestionsTestCase, manifest

SERVER_ERROR = FakeResponse(500)


class Queue(QuestionsTestCase):
    """So many requests at once."""

    names = (A,)

    def test_max_connections(self) -> None:
        """No host gets more requests at once than it may; who waits in vain is told so."""
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
        """Who has waited for a turn does not ask a host that has meanwhile asked for peace."""
        self.connect(max_connections=2)
        held: list[Deferred[FakeResponse]] = [Deferred() for _ in range(2)]
        answers = list(held)
        self.answer(A, lambda _: answers.pop(0))
        asked = [self.start(self.upstream.manifest_digest(APP, Tag(f"t{n}"))) for n in range(3)]
        held[0].callback(FakeResponse(429, headers={"Retry-After": "30"}))
        self.error(asked[0], TooManyRequests)
        self.error(asked[2], TooManyRequests)
        self.assertEqual(2, self.asked_of(A))
        held[1].callback(FakeResponse(404))
        self.error(asked[1], ManifestUnknown)

    def test_waiting_in_vain(self) -> None:
        """Waiting for a turn is no fault of the host."""
        self.connect(max_connections=2, response_timeout=5.0)
        data = b"x" * 100
        digest = Digest.of(data)
        self.answer(A, FakeResponse(body=data))
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.clock.advance(5.0)
        self.error(second, TooManyRequests)
        self.assertEqual(0, self.group.hosts[0].health.wait(Turn.BLOB))
        first.abandon()
        self.successResultOf(self.start(self.upstream.blob(APP, digest))).abandon()

    def test_late_after_the_queue(self) -> None:
        """Nor is it one to be late when most of the time for the answer went by there."""
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
        self.assertEqual((2, 0), (self.asked_of(A), self.group.hosts[0].health.wait(Turn.BLOB)))

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
        self.assertGreater(self.group.hosts[0].health.wait(Turn.BLOB), 0)


class Breaker(QuestionsTestCase):
    """What counts as a failure of the host."""

    names = (A,)

    def test_blobs_come_from_elsewhere(self) -> None:
        """Where a host sends us that is dead costs one timeout, and no manifest."""
        path = f"/v2/{APP}/blobs/"

        def answer(sent: Sent) -> Answer:
            if sent.url.startswith("https://cdn.example/"):
                return Deferred()
            if path in sent.url:
                return FakeResponse(307, headers={"Location": "https://cdn.example/b"})
            return manifest()

        self.answer(A, answer)
        blob = Digest.of(b"x")
        asked = self.start(self.upstream.blob(APP, blob))
        self.clock.advance(self.settings.response_timeout)
        self.error(asked, GatewayTimeout)
        before = len(self.asked)
        for question in (self.upstream.blob, self.upstream.blob_size):
            self.error(self.start(question(APP, blob)), Unavailable)
        self.assertEqual(before, len(self.asked))
        self.works()
        self.error(self.start(self.upstream.blob(APP, blob)), Unavailable)

    def test_too_late_to_find_out(self) -> None:
        """Who had its turn too late to ask does not keep others from finding out."""
        self.connect(max_connections=2, response_timeout=10.0)
        self.answer(A, FakeResponse(body=b"x"))
        digest = Digest.of(b"x")
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.group.hosts[0].health.failed(Turn.MANIFEST, BadGateway("?"), slow=True)
        self.clock.advance(9.7)
        first.abandon()
        self.error(second, TooManyRequests)
        self.assertTrue(self.group.hosts[0].health.due(Turn.MANIFEST))
        self.successResultOf(self.start(self.upstream.blob(APP, digest))).abandon()

    def test_breaker_by_failures(self) -> None:
        """Failures in a row open the breaker; then nothing is sent."""
        self.answer(A, SERVER_ERROR)
        for _ in range(FAILURES):
            self.error(self.ask(), BadGateway)
        self.error(self.ask(), Unavailable)
        self.assertEqual(FAILURES, self.asked_of(A))
        self.error(self.start(self.upstream.blob(APP, Digest.of(b"x"))), Unavailable)

    def test_questions_that_are_refused(self) -> None:
        """A host that does not like a question, or answers with nonsense, is not taken for broken."""
        for answer in (FakeResponse(400), FakeResponse(405), FakeResponse(body=b"<html>")):
            self.answer(A, answer)
            for n in range(FAILURES + 1):
                self.error(self.start(self.upstream.tags(APP, n + 1, None)), BadGateway)
        self.answer(A, manifest())
        self.works()

    def test_ping_that_is_refused(self) -> None:
        """A host that answers a ping with an error is not back, and one that asks for peace has it."""
        self.answer(A, lambda _: Deferred())
        asked = self.ask()
        self.clock.advance(self.settings.response_timeout)
        self.error(asked, GatewayTimeout)
        self.clock.advance(SHORTEST)
        self.answer(A, FakeResponse(503))
        self.error(self.ask(), Unavailable)
        self.assertGreater(self.group.hosts[0].health.wait(Turn.MANIFEST), SHORTEST)
        self.clock.advance(2 * SHORTEST)
        self.answer(A, FakeResponse(429, headers={"Retry-After": "600"}))
        self.error(self.ask(), RegistryError)
        self.assertEqual(600, self.group.hosts[0].health.wait(Turn.MANIFEST))

    def test_cancelled_in_a_small_body(self) -> None:
        """Who leaves in the middle of an answer says nothing about the host, and nobody else is asked."""
        answer = Held(body=b"[", length=100)
        self.answer(A, answer)
        for _ in range(FAILURES):
            asked = self.start(self.upstream.tags(APP, None, None))
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.assertEqual(
            (0, FAILURES), (self.group.hosts[0].health.wait(Turn.MANIFEST), self.asked_of(A))
        )


class Remembered(QuestionsTestCase):
    """What need not be asked again."""

    names = (A,)

    def test_noes_are_remembered(self) -> None:
        """A no is not asked for again; HEAD and GET of a tag are one question."""
        self.answer(A, FakeResponse(404))
        self.error(self.ask(), ManifestUnknown)
        self.error(self.ask(), ManifestUnknown)
        self.error(self.start(self.upstream.manifest_digest(APP, LATEST)), ManifestUnknown)
        self.assertEqual(1, self.asked_of(A))
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

    def test_denied_is_remembered(self) -> None:
        """Whoever may not read a repository does not try for each of its blobs."""
        self.answer(A, FakeResponse(403))
        self.error(self.ask(), Denied)
        self.error(self.start(self.upstream.blob(APP, Digest.of(b"x"))), Denied)
        self.assertEqual(1, self.asked_of(A))

    def test_low_budget(self) -> None:
        """While little is left of the budget, tags are believed for longer."""
        self.connect(manifest_invalidation_time=1000.0)
        self.assertEqual(1000, self.upstream.manifest_invalidation_time)
        raw = manifest()
        for name, value in (("RateLimit-Limit", "100;w=60"), ("RateLimit-Remaining", "1;w=60")):
            raw.headers.setRawHeaders(name.encode(), [value.encode()])
        self.answer(A, raw)
        self.works()
        self.assertEqual(4000, self.upstream.manifest_invalidation_time)
        self.clock.advance(60)
        self.assertEqual(1000, self.upstream.manifest_invalidation_time)
