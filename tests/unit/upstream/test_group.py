"""Of several hosts the first that can answers, and a dead one costs once."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    InternalError,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
)
from oci_registry.spec.reference import Tag
from oci_registry.upstream.errors import CircuitOpen, WrongAnswer
from oci_registry.upstream.group import FIRST_PAUSE, LONGEST_PAUSE, ROUNDS, pause_after, verdict
from oci_registry.upstream.host import PROBE_TIMEOUT
from oci_registry.upstream.limits import UpstreamLimits
from tests.support.fake_http import FakeResponse, Sent
from tests.unit.upstream.support import A_TAG, APP, LATEST, OTHER, A, B, RequestsTestCase, manifest

SERVER_ERROR = FakeResponse(500)
FIRST = UpstreamLimits().breaker.first_pause


class Order(RequestsTestCase):
    """Which hosts are asked."""

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

    def test_pages(self) -> None:
        """Each page of a list has a time of its own, and one of tags three times that of an answer."""
        self.names = (A,)
        self.connect()
        held: list[Deferred[FakeResponse]] = []

        def hold(_: Sent) -> Deferred[FakeResponse]:
            held.append(Deferred())
            return held[-1]

        self.answer(A, hold)
        whole = self.settings.response_timeout
        asked = self.start(self.upstream.referrers(APP, Digest.of(b"x")))
        for number in range(4):
            self.clock.advance(whole - 0.1)
            self.assertNoResult(asked)
            more = {"Link": f'<?page={number}>; rel="next"'} if number < 3 else {}
            held.pop().callback(FakeResponse(body=b'{"manifests":[]}', headers=more))
            # Large pages are read in steps.
            self.clock.pump([0.0] * 3)
        self.successResultOf(asked)
        asked = self.start(self.upstream.tags(APP, None, None))
        self.clock.advance(3 * whole - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.error(asked, GatewayTimeout)

    def test_all_silent(self) -> None:
        """All hosts together take no longer than one may; then no impatient request waits for them again."""
        self.answer(A, lambda _: Deferred())
        self.answer(B, lambda _: Deferred())
        asked = self.ask(patient=True)
        self.clock.pump([self.settings.response_timeout / 2] * 2)
        self.error(asked, GatewayTimeout)
        for _ in range(3):
            self.error(self.ask(), CircuitOpen)
        self.assertEqual(1, self.asked_of(B))

    def test_probe_for_the_patient(self) -> None:
        """A request that has no other host waits for the current probe; the others do not."""
        self.test_all_silent()
        self.answer(A, manifest())
        self.answer(B, manifest())
        patient = self.ask(patient=True)
        self.assertNoResult(patient)
        self.error(self.ask(), CircuitOpen)
        self.clock.advance(PROBE_TIMEOUT)
        self.successResultOf(patient)

    def test_back_again(self) -> None:
        """A host with an open circuit is probed in the background, and first again when it answers."""
        self.first_falls_silent()
        self.clock.advance(FIRST)
        probe: Deferred[FakeResponse] = Deferred()
        self.answer(A, probe)
        self.works()
        self.works()
        self.assertEqual(2, self.asked_of(A))
        self.answer(A, manifest())
        probe.callback(manifest())
        before = self.asked_of(B)
        self.works()
        self.assertEqual(before, self.asked_of(B))

    def test_blobs_are_probes(self) -> None:
        """Whether blobs are back is shown by one of them, with the next host to fall back on."""
        blob = Digest.of(b"x")
        self.answer(A, lambda _: Deferred())
        self.answer(B, FakeResponse(body=b"x"))
        first = self.start(self.upstream.blob(APP, blob))
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(first).abandon()
        self.clock.advance(FIRST)
        finding_out = self.start(self.upstream.blob(APP, blob))
        self.assertNoResult(finding_out)
        self.successResultOf(self.start(self.upstream.blob(APP, blob))).abandon()
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(finding_out).abandon()
        self.assertTrue(all("/blobs/" in sent.url for host, sent in self.asked if host == A))
        self.assertEqual(2, self.asked_of(A))

    def test_not_back(self) -> None:
        """A host that still fails delays no request."""
        self.first_falls_silent()
        self.clock.advance(FIRST)
        self.works()
        self.clock.advance(PROBE_TIMEOUT)
        self.assertGreater(self.wait(A_TAG), FIRST)
        self.works()
        self.assertEqual(2, self.asked_of(A))

    def test_last_resort(self) -> None:
        """A host whose circuit is open is asked after the others, if those have nothing."""
        self.answer(A, ConnectTimeout())
        self.answer(B, manifest())
        self.works()
        self.answer(A, manifest())
        self.answer(B, FakeResponse(404))
        self.successResultOf(self.ask(patient=True))
        self.assertEqual([A, B, B, A], [host for host, _ in self.asked])


class Verdicts(RequestsTestCase):
    """What all hosts together have said."""

    def test_no_only_from_all(self) -> None:
        """An answer is negative only if no host could have a positive one."""
        no, denied, broken = ManifestUnknown("no"), Denied("no"), BadGateway("?")
        self.assertIs(no, verdict([denied, no]))
        self.assertIs(no, verdict([no, denied]))
        self.assertIs(denied, verdict([denied, denied]))
        self.assertIs(broken, verdict([no, broken]))
        self.assertIs(broken, verdict([broken, no]))
        not_asked, nonsense = CircuitOpen("x"), WrongAnswer("x")
        for errors in ([not_asked, nonsense], [nonsense, not_asked]):
            self.assertIs(not_asked, verdict(errors))
        self.assertIs(broken, verdict([not_asked, nonsense, broken]))

    def test_denied_by_another(self) -> None:
        """A failure is told with the denial of another host, which may be the cause."""
        for errors in (
            [Denied("a denies"), BadGateway("b failed")],
            [BadGateway("b failed"), Denied("a denies")],
        ):
            chosen = verdict(errors)
            self.assertIsInstance(chosen, BadGateway)
            self.assertEqual("b failed; a denies", chosen.message)
            self.assertEqual(chosen.message, str(chosen))
        self.assertEqual("b failed", next(e for e in errors if isinstance(e, BadGateway)).message)

    def test_mirror_without_it(self) -> None:
        """What the first host does not have, and the second cannot say, is not missing."""
        self.answer(A, FakeResponse(404))
        self.answer(B, SERVER_ERROR)
        self.error(self.ask(), BadGateway)
        self.answer(B, FakeResponse(404))
        self.error(self.ask(), ManifestUnknown)


class Patience(RequestsTestCase):
    """A request that has no other host waits a little."""

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
        """A request that has another host fails at once."""
        for host in (A, B):
            self.answer(host, SERVER_ERROR)
        self.error(self.ask(), BadGateway)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_single_host(self) -> None:
        """A single host that fails a few times and then works is not seen to have failed."""
        self.names = (A,)
        self.connect()
        for status in (500, 502, 503, 504):
            answers = [FakeResponse(status)] * 3 + [manifest()]
            self.answer(A, lambda _, left=answers: left.pop(0))
            asked = self.ask(patient=True)
            self.clock.pump([0.5] * 6)
            self.successResultOf(asked)

    def test_circuit_open(self) -> None:
        """With all circuits open somebody patient gets the real outcome, and not the reason of before."""
        self.names = (A,)
        self.connect()
        self.answer(A, ConnectTimeout())
        self.error(self.ask(), GatewayTimeout)
        self.error(self.ask(), CircuitOpen)
        self.answer(A, FakeResponse(404))
        self.error(self.ask(patient=True), ManifestUnknown)
        self.answer(A, manifest())
        self.successResultOf(self.start(self.upstream.manifest(OTHER, LATEST)))

    def test_waiting_together(self) -> None:
        """They wait for one probe, and then each gets its own answer."""
        self.names = (A,)
        self.connect()
        self.answer(A, ConnectTimeout())
        self.error(self.ask(), GatewayTimeout)
        held: Deferred[FakeResponse] = Deferred()
        self.answer(A, held)
        tags = [Tag(f"t{n}") for n in range(4)]
        asked = [self.start(self.upstream.manifest(APP, tag)) for tag in tags]
        self.assertEqual(2, self.asked_of(A))
        self.answer(A, manifest())
        held.callback(manifest())
        for one in asked:
            self.successResultOf(one)
        self.assertEqual(5, self.asked_of(A))

    def test_not_for_ever(self) -> None:
        """Patience ends after some rounds."""
        for host in (A, B):
            self.answer(host, SERVER_ERROR)
        asked = self.ask(patient=True)
        self.clock.pump([FIRST_PAUSE] * 20)
        self.error(asked, BadGateway)
        self.assertEqual((ROUNDS, ROUNDS), (self.asked_of(A), self.asked_of(B)))

    def test_defect(self) -> None:
        """A bug of ours is an error at once, with a traceback in the log, and no failure of the host."""
        self.answer(A, ZeroDivisionError("oops"))
        self.answer(B, manifest())
        for _ in range(10):
            self.error(self.ask(patient=True), InternalError)
        self.assertEqual(10, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual((10, 0, 0.0), (self.asked_of(A), self.asked_of(B), self.wait(A_TAG)))

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

    def test_retry_after_elsewhere(self) -> None:
        """The target of a redirect, or a token server, that asks for a few seconds gets them."""
        realm = f"https://{A}/token"
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
        target = "https://cdn.example/m"
        for asking, place in (
            (FakeResponse(401, headers=challenge), realm),
            (FakeResponse(307, headers={"Location": target}), target),
        ):
            self.connect()
            self.asked.clear()
            good = FakeResponse(body=b'{"token": "t"}') if place == realm else manifest()
            answers = [FakeResponse(429, headers={"Retry-After": "3"}), good]

            def answer(
                sent: Sent,
                asking: FakeResponse = asking,
                place: str = place,
                answers: list[FakeResponse] = answers,
            ) -> FakeResponse:
                if sent.url.startswith(place):
                    return answers.pop(0)
                return manifest() if "Authorization" in sent.headers else asking

            self.answer(A, answer)
            self.answer(B, FakeResponse(429, headers={"Retry-After": "300"}))
            asked = self.ask(patient=True)
            self.clock.advance(2.9)
            self.assertNoResult(asked)
            self.assertEqual(1, len(answers))
            self.clock.advance(0.2)
            self.successResultOf(asked)
            self.assertEqual((2, 1), (self.placed(place), self.asked_of(B)))

    def placed(self, place: str) -> int:
        """Return how often a server that is not a host was asked."""
        return sum(1 for _, sent in self.asked if sent.url.startswith(place))

    def test_long_retry_after(self) -> None:
        """A host that asks for more is not waited for: the client is told until when."""
        for host in (A, B):
            self.answer(host, FakeResponse(429, headers={"Retry-After": "300"}))
        error = self.error(self.ask(patient=True), TooManyRequests)
        self.assertEqual("300", error.headers["Retry-After"])
        self.clock.advance(100)
        error = self.error(self.ask(patient=True), TooManyRequests)
        self.assertEqual(("200", 503), (error.headers["Retry-After"], error.status))
        self.assertEqual((1, 1), (self.asked_of(A), self.asked_of(B)))

    def test_pauses(self) -> None:
        """Pauses double, up to a bound, and chance makes them shorter by up to a half."""
        self.assertEqual(0, pause_after(0, lambda: 0.9))
        self.assertEqual(FIRST_PAUSE / 2, pause_after(1, lambda: 0.0))
        self.assertEqual([0.25, 0.5, 1, 2], [pause_after(n, lambda: 1.0) for n in range(1, 5)])
        self.assertEqual(LONGEST_PAUSE, pause_after(10**6, lambda: 1.0))
