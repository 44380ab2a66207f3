"""A body is one body for its reader, however many connections it takes."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    RegistryError,
    TooManyRequests,
)
from oci_registry.streams.body import SLOWEST
from oci_registry.upstream.group import FIRST_PAUSE
from oci_registry.upstream.resume import GOOD_PROGRESS, LONGEST_STALL, MAX_USELESS
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.bodies import BLOB, CUT, DATA, Held, ResumeTestCase, short
from tests.unit.upstream.support import APP, A, B, blob_of


class Broken(ResumeTestCase):
    """Connections that end too early."""

    def test_unbroken(self) -> None:
        """A body that does not break costs one request."""
        self.whole(self.pump())
        self.assertEqual((1, 0), (self.asked_of(A), self.asked_of(B)))
        self.assertEqual({A}, self.body.hosts)

    def test_continues(self) -> None:
        """A break costs a request for the rest, from the same host, with its validator."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), blob_of(DATA))
        self.whole(self.pump())
        self.assertEqual([None, f"bytes={GOOD_PROGRESS}-"], self.ranges())
        self.assertEqual(f'"{BLOB}"', self.asked[-1][1].headers["If-Range"])
        self.assertEqual(
            1, self.counted("oci_registry_upstream_resumes_total", namespace="example.com")
        )

    def test_many_breaks(self) -> None:
        """As long as there is progress there is no end to patience, but there are pauses."""
        self.in_turn(A, *[lambda s: short(s, SLOWEST // 4)] * 20, blob_of(DATA))
        self.answer(B, FakeResponse(500))
        sent = self.pump()
        self.clock.pump([15.0] * 21)
        self.whole(sent)
        self.assertEqual(21, self.asked_of(A))

    def test_trickling_connections(self) -> None:
        """Connections that bring next to nothing each are no progress, however many there are."""
        self.answer(A, lambda s: short(s, 1))
        self.answer(B, FakeResponse(500))
        sent = self.pump()
        self.clock.pump([15.0] * 20)
        self.assertIn("connection broke", self.fails(sent, BadGateway))
        attempts = 1 + self.settings.retries
        self.assertEqual((attempts, DATA[:attempts]), (self.asked_of(A), self.sink.data))

    def test_one_retry(self) -> None:
        """A single attempt to continue is one, even with what has broken after some bytes."""
        self.connect(retries=1)
        self.in_turn(A, lambda s: short(s, 1), blob_of(DATA))
        sent = self.pump()
        self.clock.advance(1)
        self.whole(sent)

    def test_no_progress(self) -> None:
        """Without a single byte more there is an end, and the other host was asked as well."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda s: short(s, 0))
        self.answer(B, lambda s: short(s, 0))
        sent = self.pump()
        self.clock.pump([20.0] * 40)
        self.assertIn("connection broke", self.fails(sent, BadGateway))
        self.assertTrue(self.sink.data == DATA[:GOOD_PROGRESS])
        self.assertGreater(self.asked_of(B), 1)
        self.assertLessEqual(self.asked_of(A) + self.asked_of(B), 1 + self.settings.retries)

    def test_no_retries(self) -> None:
        """With retries set to 0 a break is the end."""
        self.connect(retries=0)
        self.answer(A, lambda s: short(s, GOOD_PROGRESS))
        self.fails(self.pump(), BadGateway)
        self.assertEqual(1, len(self.asked))

    def test_next_host(self) -> None:
        """If the host has nothing more to give, the next one continues, without the other's validator."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda _: FakeResponse(500))
        self.whole(self.pump())
        self.assertEqual([f"bytes={GOOD_PROGRESS}-"], self.ranges(B))
        self.assertNotIn("If-Range", self.asked[-1][1].headers)
        self.assertEqual({A, B}, self.body.hosts)

    def test_no_byte_at_all(self) -> None:
        """A host that sends headers and no body is asked after the others."""
        self.answer(A, lambda s: short(s, 0))
        sent = self.pump()
        self.clock.advance(1)
        self.whole(sent)
        self.assertEqual((1, 1), (self.asked_of(A), self.asked_of(B)))
        self.assertEqual({B}, self.body.hosts)

    def test_stalled(self) -> None:
        """A body that stalls is left for a new connection."""
        held = Held(body=DATA[:GOOD_PROGRESS], length=len(DATA))
        self.in_turn(A, lambda _: held, blob_of(DATA))
        sent = self.pump()
        self.clock.advance(self.settings.body_timeout - 0.1)
        self.assertNoResult(sent)
        self.clock.advance(0.1)
        self.whole(sent)
        self.assertTrue(held.transport.disconnecting or held.transport.disconnected)

    def test_trickling(self) -> None:
        """A body that has become a trickle is left for a new connection."""
        held = Held(body=DATA[: SLOWEST * 2], length=len(DATA))
        self.in_turn(A, lambda _: held, blob_of(DATA))
        sent = self.pump()
        for position in range(SLOWEST * 2, SLOWEST * 2 + 8):
            self.clock.advance(self.settings.body_timeout / 4)
            held.protocol.dataReceived(DATA[position : position + 1])
        self.clock.advance(1)
        self.whole(sent)

    def test_gone_meanwhile(self) -> None:
        """A no in the middle is an attempt like any other: it may pass, as while a host is replaced."""
        gone = FakeResponse(404)
        self.in_turn(
            A, lambda s: short(s, GOOD_PROGRESS), lambda _: gone, lambda _: gone, blob_of(DATA)
        )
        self.answer(B, gone)
        sent = self.pump()
        self.clock.pump([15.0] * 3)
        self.whole(sent)

    def test_gone_for_good(self) -> None:
        """If no host has the blob any more, that is told after so many attempts."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda _: FakeResponse(404))
        self.answer(B, FakeResponse(404))
        sent = self.pump()
        self.clock.pump([15.0] * 20)
        self.fails(sent, BlobUnknown)
        self.assertEqual(1 + self.settings.retries, self.asked_of(A))

    def test_unknown_length(self) -> None:
        """A body without a length continues too, and the end that the rest announces is trusted."""

        def unsized(sent: Sent) -> Answer:
            return FakeResponse(body=DATA[:GOOD_PROGRESS], sized=False, error=CUT)

        self.in_turn(A, unsized, lambda s: short(s, GOOD_PROGRESS), blob_of(DATA))
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB)))
        self.assertIsNone(self.body.size)
        self.whole(self.body.pump(self.sink))


class OddAnswers(ResumeTestCase):
    """What hosts send instead of the rest."""

    def resumed(self, *odd: Callable[[Sent], Answer], b: Answer | None = None) -> Deferred[int]:
        """Break A's body, then let it answer so."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), *odd)
        self.answer(B, b or FakeResponse(404))
        sent = self.pump()
        self.clock.pump([15.0] * 30)
        return sent

    def ranged(self, told: str, body: bytes) -> Callable[[Sent], Answer]:
        """Answer a range so, and any other request with the whole."""

        def answer(sent: Sent) -> Answer:
            if "Range" not in sent.headers:
                return FakeResponse(body=DATA)
            return FakeResponse(206, body, {"Content-Range": told} if told else {})

        return answer

    def test_whole_instead(self) -> None:
        """A host that sends all of it again is listened to until what is new begins."""
        self.whole(self.resumed(lambda _: FakeResponse(body=DATA)))
        self.assertEqual(0, self.asked_of(B))

    def test_wrong_range(self) -> None:
        """A range that is not the one asked for is not used; the host is then asked for the whole."""
        rest = DATA[GOOD_PROGRESS:]
        end = len(DATA) - 1
        for told, body in (
            ("", rest),
            ("nonsense", rest),
            (f"bytes {GOOD_PROGRESS + 1}-{end}/{len(DATA)}", rest[1:]),
            (f"bytes {GOOD_PROGRESS - 1}-{end}/{len(DATA)}", b"x" + rest),
            (f"bytes {GOOD_PROGRESS}-{end}/{len(DATA)}", rest[:-1]),
            (f"bytes {GOOD_PROGRESS}-{end}/{len(DATA) - 1}", rest),
            (f"bytes {GOOD_PROGRESS}-{GOOD_PROGRESS - 1}/{len(DATA)}", b""),
        ):
            self.setUp()
            self.whole(self.resumed(self.ranged(told, body)))
            self.assertIsNone(self.ranges()[-1])

    def test_another_size(self) -> None:
        """Of a blob of another length no byte is taken, neither of the rest nor of the whole."""

        def longer(sent: Sent) -> Answer:
            return blob_of(DATA + b"x")(sent)

        sent = self.resumed(longer, b=FakeResponse(400))
        self.assertIn("announces 1048577 bytes", self.fails(sent, BadGateway))
        self.assertTrue(self.sink.data == DATA[:GOOD_PROGRESS])

    def test_one_odd_answer(self) -> None:
        """One answer of no use costs one attempt: the host is asked for the rest again."""
        self.whole(self.resumed(lambda _: FakeResponse(416), blob_of(DATA)))
        self.assertEqual(
            [None, f"bytes={GOOD_PROGRESS}-", f"bytes={GOOD_PROGRESS}-"], self.ranges()
        )

    def test_whole_once(self) -> None:
        """A host that was asked for the whole is asked for a range again when that breaks."""
        odd = FakeResponse(416)
        self.whole(
            self.resumed(
                lambda _: odd, lambda _: odd, lambda s: short(s, 2 * GOOD_PROGRESS), blob_of(DATA)
            )
        )
        rest = f"bytes={GOOD_PROGRESS}-"
        self.assertEqual([None, rest, rest, None, f"bytes={2 * GOOD_PROGRESS}-"], self.ranges())

    def test_nothing_of_use(self) -> None:
        """If no host has a usable answer, it ends soon, with the reason."""
        odd = [FakeResponse(416), FakeResponse(416), FakeResponse(400)]
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), *[lambda _, a=a: a for a in odd])
        self.answer(B, lambda s: FakeResponse(416 if "Range" in s.headers else 400))
        sent = self.pump()
        self.clock.advance(FIRST_PAUSE)
        self.clock.advance(2 * FIRST_PAUSE)
        self.assertIn("answered 400", self.fails(sent, BadGateway))
        self.assertEqual(
            (1 + MAX_USELESS + 1, MAX_USELESS + 1), (self.asked_of(A), self.asked_of(B))
        )

    def test_useful_again(self) -> None:
        """As long as one host has trouble that may pass, the odd one is asked as well."""
        odd = FakeResponse(416)
        rests = [*[lambda _: odd] * 3, blob_of(DATA)]
        self.whole(self.resumed(*rests, b=FakeResponse(500)))
        rest = f"bytes={GOOD_PROGRESS}-"
        self.assertEqual([None, rest, rest, None, rest], self.ranges())

    def test_part_of_the_rest(self) -> None:
        """Less than was asked for is taken, and the rest asked for again."""

        def a_part(sent: Sent) -> Answer:
            start = int(sent.headers["Range"][6:-1])
            stop = min(start + GOOD_PROGRESS, len(DATA))
            told = f"bytes {start}-{stop - 1}/{len(DATA)}"
            return FakeResponse(206, DATA[start:stop], {"Content-Range": told})

        self.whole(self.resumed(a_part))
        self.assertEqual(4, self.asked_of(A))

    def test_not_satisfiable(self) -> None:
        """A 416 is no end: the whole is asked for, where a range is refused again."""

        def refuses(sent: Sent) -> Answer:
            return FakeResponse(416) if "Range" in sent.headers else FakeResponse(body=DATA)

        self.whole(self.resumed(refuses))

    def test_weak_validator(self) -> None:
        """A weak validator is none (RFC 9110 section 13.1.5)."""
        weak = FakeResponse(
            body=DATA[:GOOD_PROGRESS], length=len(DATA), error=CUT, headers={"ETag": 'W/"x"'}
        )
        self.in_turn(A, lambda _: weak, blob_of(DATA))
        self.whole(self.pump())
        self.assertNotIn("If-Range", self.asked[-1][1].headers)


class Limited(ResumeTestCase):
    """Hosts that must not be asked for a while."""

    def test_waits_for_its_time(self) -> None:
        """In the middle of a body a host that limits us is waited for."""
        limited = FakeResponse(429, headers={"Retry-After": "60"})
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda _: limited, blob_of(DATA))
        self.answer(B, FakeResponse(429, headers={"Retry-After": "90"}))
        sent = self.pump()
        self.clock.pump([1.0] * 59)
        self.assertNoResult(sent)
        self.assertEqual((2, 1), (self.asked_of(A), self.asked_of(B)))
        self.clock.pump([1.0] * 3)
        self.whole(sent)
        self.assertEqual((3, 1), (self.asked_of(A), self.asked_of(B)))

    def test_not_for_an_hour(self) -> None:
        """But not for longer than clients do."""
        limited = FakeResponse(429, headers={"Retry-After": "3600"})
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda _: limited)
        self.answer(B, limited)
        sent = self.pump()
        self.clock.advance(1)
        self.fails(sent, TooManyRequests)

    def test_everything_down(self) -> None:
        """Open circuits of all hosts end it after some minutes."""
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), lambda _: Deferred())
        self.answer(B, lambda _: Deferred())
        sent = self.pump()
        waited = 0.0
        while not sent.called and waited < 2 * LONGEST_STALL:
            self.clock.advance(1.0)
            waited += 1.0
        self.failureResultOf(sent, RegistryError)
        self.assertLess(waited, LONGEST_STALL + 90)
