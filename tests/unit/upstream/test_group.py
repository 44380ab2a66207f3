"""Of several hosts the first that can answers, and a dead one costs once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.upstream.group import FIRST_PAUSE, LONGEST_PAUSE, pause_after, verdict
from oci_registry.upstream.health import SHORTEST
from oci_registry.upstream.host import PING_TIMEOUT
from oci_registry.upstream.slots import Turn
from tests.support.fake_http import FakeResponse
from tests.unit.upstream.support import APP, A, B, QuestionsTestCase, manifest

SERVER_ERROR = FakeResponse(500)


class Order(QuestionsTestCase):
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

    def test_no_ping_for_blobs(self) -> None:
        """Whether blobs are back is found out by one of them, with the next host to fall back on."""
        blob = Digest.of(b"x")
        self.answer(A, lambda _: Deferred())
        self.answer(B, FakeResponse(body=b"x"))
        first = self.start(self.upstream.blob(APP, blob))
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(first).abandon()
        self.clock.advance(SHORTEST)
        finding_out = self.start(self.upstream.blob(APP, blob))
        self.assertNoResult(finding_out)
        self.successResultOf(self.start(self.upstream.blob(APP, blob))).abandon()
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(finding_out).abandon()
        self.assertTrue(all("/blobs/" in sent.url for host, sent in self.asked if host == A))
        self.assertEqual(2, self.asked_of(A))

    def test_not_back(self) -> None:
        """One that is still away costs nobody any time."""
        self.first_falls_silent()
        self.clock.advance(SHORTEST)
        self.works()
        self.clock.advance(PING_TIMEOUT)
        self.assertGreater(self.group.hosts[0].health.wait(Turn.MANIFEST), SHORTEST)
        self.works()
        self.assertEqual(2, self.asked_of(A))


class Verdicts(QuestionsTestCase):
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


class Patience(QuestionsTestCase):
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
