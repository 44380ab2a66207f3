"""Of several hosts the first that can answers, and a dead one costs once."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused

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
from oci_registry.upstream.group import FIRST_PAUSE, LONGEST_PAUSE, pause_after, verdict
from oci_registry.upstream.health import FAILURES, SHORTEST
from oci_registry.upstream.host import PING_TIMEOUT
from tests.support.fake_http import FakeResponse
from tests.unit.upstream.bodies import Held
from tests.unit.upstream.support import APP, A, B, HostsTestCase, manifest

LATEST = Tag("latest")
SERVER_ERROR = FakeResponse(500)


class GroupTestCase(HostsTestCase):
    """Questions about a tag."""

    def ask(self, *, patient: bool = False) -> Deferred[Any]:
        return self.start(self.upstream.manifest(APP, LATEST, patient=patient))

    def works(self) -> None:
        self.successResultOf(self.ask())

    def error(self, asked: Deferred[Any], kind: type[RegistryError]) -> RegistryError:
        error = self.failureResultOf(asked, kind).value
        assert isinstance(error, RegistryError)
        return error

    def first_falls_silent(self) -> None:
        """Let the first host cost one question its share of the time; the second answers it."""
        self.answer(A, lambda _: Deferred())
        self.answer(B, manifest())
        asked = self.ask()
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(asked)


class Order(GroupTestCase):
    """Who is asked."""

    def test_first(self) -> None:
        """As long as the first host answers, no other is asked."""
        self.answer(A, manifest())
        self.works()
        self.assertEqual((1, 0), (self.asked_of(A), self.asked_of(B)))

    def test_failures_move_on(self) -> None:
        """A host that refuses, fails, limits us or sends nonsense is followed by the next, at once."""
        self.answer(B, manifest())
        for trouble in (
            Refused(),
            SERVER_ERROR,
            FakeResponse(503),
            FakeResponse(504),
            FakeResponse(429, headers={"Retry-After": "1"}),
            FakeResponse(body=b"<html>"),
            FakeResponse(404),
            FakeResponse(403),
        ):
            self.connect()
            self.answer(A, trouble)
            self.works()

    def test_time_is_shared(self) -> None:
        """A silent host leaves the next one enough of the time; after that it costs nothing more."""
        self.answer(A, lambda _: Deferred())
        self.answer(B, manifest())
        asked = self.ask()
        self.clock.advance(self.settings.response_timeout / 2 - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.successResultOf(asked)
        for _ in range(3):
            self.works()
        self.assertEqual((1, 4), (self.asked_of(A), self.asked_of(B)))

    def test_all_silent(self) -> None:
        """All hosts together take no longer than one may; then nobody waits for them again."""
        self.answer(A, lambda _: Deferred())
        self.answer(B, lambda _: Deferred())
        asked = self.ask(patient=True)
        self.clock.pump([self.settings.response_timeout / 2] * 2)
        self.error(asked, GatewayTimeout)
        for _ in range(3):
            self.error(self.ask(), Unavailable)
        self.assertEqual(1, self.asked_of(B))

    def test_one_finds_out(self) -> None:
        """Where no host can be asked one that has nothing else waits for it, and nobody else."""
        self.test_all_silent()
        self.clock.advance(PING_TIMEOUT)
        self.clock.advance(2 * SHORTEST)
        before = self.asked_of(A)
        finding_out = self.ask(patient=True)
        self.assertEqual(before + 1, self.asked_of(A))
        self.assertNoResult(finding_out)
        self.error(self.ask(), Unavailable)
        finding_out.cancel()
        self.failureResultOf(finding_out)

    def test_back_again(self) -> None:
        """A host that was set aside is tried in the background, and asked first when it is back."""
        self.first_falls_silent()
        self.clock.advance(SHORTEST)
        ping: Deferred[FakeResponse] = Deferred()
        self.answer(A, ping)
        self.works()
        self.works()
        self.assertEqual(2, self.asked_of(A))
        self.assertTrue(
            self.asked[-2][1].url.endswith("/v2/") or self.asked[-3][1].url.endswith("/v2/")
        )
        self.answer(A, manifest())
        ping.callback(FakeResponse(401))
        before = self.asked_of(B)
        self.works()
        self.assertEqual(before, self.asked_of(B))

    def test_not_back(self) -> None:
        """One that is still away costs nobody any time."""
        self.first_falls_silent()
        self.clock.advance(SHORTEST)
        self.works()
        self.clock.advance(PING_TIMEOUT)
        self.assertGreater(self.group.hosts[0].health.wait, SHORTEST)
        self.works()
        self.assertEqual(2, self.asked_of(A))


class Verdicts(GroupTestCase):
    """What all hosts together have said."""

    def test_no_only_from_all(self) -> None:
        """A no is one only if nobody might know better."""
        no, denied, broken = ManifestUnknown("no"), Denied("no"), BadGateway("?")
        self.assertIs(no, verdict([denied, no]))
        self.assertIs(no, verdict([no, denied]))
        self.assertIs(denied, verdict([denied, denied]))
        self.assertIs(broken, verdict([no, broken]))
        self.assertIs(broken, verdict([broken, no]))

    def test_mirror_without_it(self) -> None:
        """What the first host does not have, and the second cannot say, is not missing."""
        self.answer(A, FakeResponse(404))
        self.answer(B, SERVER_ERROR)
        self.error(self.ask(), BadGateway)
        self.answer(B, FakeResponse(404))
        self.error(self.ask(), ManifestUnknown)


class Patience(GroupTestCase):
    """Whoever has nothing else waits a little."""

    def test_short_trouble(self) -> None:
        """An error of the moment is not seen by somebody patient."""
        answers = [SERVER_ERROR, SERVER_ERROR, SERVER_ERROR, manifest()]
        self.answer(A, lambda _: answers.pop(0))
        self.answer(B, lambda _: answers.pop(0))
        asked = self.ask(patient=True)
        self.assertNoResult(asked)
        self.clock.advance(FIRST_PAUSE)
        self.successResultOf(asked)

    def test_impatient(self) -> None:
        """Whoever has something else is told at once."""
        for host in (A, B):
            self.answer(host, SERVER_ERROR)
        self.error(self.ask(), BadGateway)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_not_for_ever(self) -> None:
        """Patience ends after some rounds."""
        for host in (A, B):
            self.answer(host, SERVER_ERROR)
        asked = self.ask(patient=True)
        self.clock.pump([FIRST_PAUSE] * 8)
        self.error(asked, BadGateway)
        self.assertEqual((3, 3), (self.asked_of(A), self.asked_of(B)))

    def test_no_use(self) -> None:
        """Nobody waits for a no to become a yes, nor for nonsense to become sense."""
        for trouble in (FakeResponse(404), FakeResponse(403), FakeResponse(body=b"<html>")):
            self.connect(remember_not_found=0.0, remember_denied=0.0)
            for host in (A, B):
                self.answer(host, trouble)
            self.error(self.ask(patient=True), RegistryError)
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_retry_after(self) -> None:
        """A host that asks for a few seconds gets them, and no request before they are over."""
        limited = FakeResponse(429, headers={"Retry-After": "3"})
        answers = [limited, manifest()]
        self.answer(A, lambda _: answers.pop(0))
        self.answer(B, FakeResponse(429, headers={"Retry-After": "300"}))
        asked = self.ask(patient=True)
        self.clock.advance(2.9)
        self.assertNoResult(asked)
        self.assertEqual(1, self.asked_of(A))
        self.clock.advance(0.2)
        self.successResultOf(asked)
        self.assertEqual((2, 1), (self.asked_of(A), self.asked_of(B)))

    def test_long_retry_after(self) -> None:
        """A host that asks for more is not waited for: the client is told until when."""
        for host in (A, B):
            self.answer(host, FakeResponse(429, headers={"Retry-After": "300"}))
        error = self.error(self.ask(patient=True), TooManyRequests)
        self.assertEqual("300", error.headers["Retry-After"])
        self.clock.advance(100)
        error = self.error(self.ask(patient=True), TooManyRequests)
        self.assertEqual(("201", 503), (error.headers["Retry-After"], error.status))
        self.assertEqual((1, 1), (self.asked_of(A), self.asked_of(B)))

    def test_pauses(self) -> None:
        """Pauses double, up to a bound, and chance makes them shorter by up to a half."""
        self.assertEqual(0, pause_after(0, lambda: 0.9))
        self.assertEqual(FIRST_PAUSE / 2, pause_after(1, lambda: 0.0))
        self.assertEqual([0.25, 0.5, 1, 2], [pause_after(n, lambda: 1.0) for n in range(1, 5)])
        self.assertEqual(LONGEST_PAUSE, pause_after(10**6, lambda: 1.0))


class Queue(GroupTestCase):
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
        self.assertEqual(0, self.group.hosts[0].health.wait)
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
        self.assertEqual((2, 0), (self.asked_of(A), self.group.hosts[0].health.wait))

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
        self.assertGreater(self.group.hosts[0].health.wait, 0)

    def test_too_late_to_find_out(self) -> None:
        """Who had its turn too late to ask does not keep others from finding out."""
        self.connect(max_connections=2, response_timeout=10.0)
        self.answer(A, FakeResponse(body=b"x"))
        digest = Digest.of(b"x")
        first = self.successResultOf(self.start(self.upstream.blob(APP, digest)))
        second = self.start(self.upstream.blob(APP, digest))
        self.group.hosts[0].health.failed(BadGateway("?"), slow=True)
        self.clock.advance(9.7)
        first.abandon()
        self.error(second, TooManyRequests)
        self.assertTrue(self.group.hosts[0].health.due)
        self.successResultOf(self.start(self.upstream.blob(APP, digest))).abandon()

    def test_breaker_by_failures(self) -> None:
        """Failures in a row open the breaker; then nothing is sent."""
        self.answer(A, SERVER_ERROR)
        for _ in range(FAILURES):
            self.error(self.ask(), BadGateway)
        self.error(self.ask(), Unavailable)
        self.assertEqual(FAILURES, self.asked_of(A))
        self.error(self.start(self.upstream.blob(APP, Digest.of(b"x"))), Unavailable)

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
        self.assertGreater(self.group.hosts[0].health.wait, SHORTEST)
        self.clock.advance(2 * SHORTEST)
        self.answer(A, FakeResponse(429, headers={"Retry-After": "600"}))
        self.error(self.ask(), RegistryError)
        self.assertEqual(600, self.group.hosts[0].health.wait)

    def test_cancelled_in_a_small_body(self) -> None:
        """Who leaves in the middle of an answer says nothing about the host, and nobody else is asked."""
        answer = Held(body=b"[", length=100)
        self.answer(A, answer)
        for _ in range(FAILURES):
            asked = self.start(self.upstream.tags(APP, None, None))
            asked.cancel()
            self.failureResultOf(asked, CancelledError)
        self.assertEqual((0, FAILURES), (self.group.hosts[0].health.wait, self.asked_of(A)))

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
