"""A body is one body for its reader, however many connections it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    GatewayTimeout,
    RegistryError,
    TooManyRequests,
)
from oci_registry.streams.body import SLOWEST
from oci_registry.upstream.interfaces import NoHostLeft
from oci_registry.upstream.resume import AMPLE, LONGEST_STANDSTILL, Relay
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.support import APP, A, B, HostsTestCase, blob_of

DATA = bytes(range(256)) * 4096
BLOB = Digest.of(DATA)
CUT = ResponseFailed([Failure(ConnectionLost())])


@implementer(IConsumer)
class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.producers = 0
        self.producer: IPushProducer | None = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.producers += 1

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.data += data


class Held(FakeResponse):
    """A response whose body comes as far as it was told and then stands still."""

    protocol: Any = None

    def deliverBody(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)
        protocol.dataReceived(self._body)


def short(sent: Sent, length: int) -> FakeResponse:
    """Return an honest answer whose body breaks after *length* bytes."""
    whole = cast(FakeResponse, blob_of(DATA)(sent))
    tags = {k.decode(): v[0].decode() for k, v in whole.headers.getAllRawHeaders()}
    return FakeResponse(whole.code, whole._body[:length], tags, error=CUT, length=whole.length)


class ResumeTestCase(HostsTestCase):
    """A blob of 1 MiB at two hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(A, blob_of(DATA))
        self.answer(B, blob_of(DATA))
        self.sink = Sink()

    def in_turn(self, host: str, *answers: Callable[[Sent], Answer]) -> None:
        """Let a host answer so, one after the other, and the last for good."""
        left = list(answers)

        def answer(sent: Sent) -> Answer:
            now = left.pop(0) if len(left) > 1 else left[0]
            return now(sent)

        self.answer(host, answer)

    def pump(self) -> Deferred[int]:
        """Begin to send the blob."""
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB)))
        self.assertEqual(len(DATA), self.body.size)
        sent: Deferred[int] = self.body.pump(self.sink)
        return sent

    def whole(self, sent: Deferred[int]) -> None:
        """The reader has had everything once, from one producer; nothing is left behind."""
        self.assertEqual(len(DATA), self.successResultOf(sent))
        self.assertTrue(self.sink.data == DATA)
        self.assertEqual((1, None), (self.sink.producers, self.sink.producer))
        self.over()

    def over(self) -> None:
        self.assertEqual([], self.clock.getDelayedCalls())
        for host in self.group.hosts:
            self.assertEqual(0, sum(host._slots._used.values()))

    def fails(self, sent: Deferred[int], kind: type[RegistryError]) -> str:
        error = self.failureResultOf(sent, kind).value
        self.assertIsNone(self.sink.producer)
        self.over()
        return str(error)

    def ranges(self, host: str = A) -> list[str | None]:
        return [sent.headers.get("Range") for h, sent in self.asked if h == host]


class Broken(ResumeTestCase):
    """Connections that end too early."""

    def test_unbroken(self) -> None:
        """A body that does not break costs one request."""
        self.whole(self.pump())
        self.assertEqual((1, 0), (self.asked_of(A), self.asked_of(B)))
        self.assertEqual({A}, self.body.hosts)

    def test_goes_on(self) -> None:
        """A break costs a request for the rest, from the same host, with its validator."""
        self.in_turn(A, lambda s: short(s, AMPLE), blob_of(DATA))
        self.whole(self.pump())
        self.assertEqual([None, f"bytes={AMPLE}-"], self.ranges())
        self.assertEqual(f'"{BLOB}"', self.asked[-1][1].headers["If-Range"])
        self.assertEqual(
            1, self.counted("oci_registry_upstream_resumes_total", namespace="example.com")
        )

    def test_many_breaks(self) -> None:
        """As long as there is progress there is no end to patience, but there are pauses."""
        self.in_turn(A, *[lambda s: short(s, 1000)] * 20, blob_of(DATA))
        sent = self.pump()
        self.clock.pump([15.0] * 21)
        self.whole(sent)
        self.assertEqual(21, self.asked_of(A))

    def test_no_progress(self) -> None:
        """Without a single byte more there is an end, and the other host was asked as well."""
        self.in_turn(A, lambda s: short(s, AMPLE), lambda s: short(s, 0))
        self.answer(B, lambda s: short(s, 0))
        sent = self.pump()
        self.clock.pump([20.0] * 40)
        self.assertIn("connection broke", self.fails(sent, BadGateway))
        self.assertTrue(self.sink.data == DATA[:AMPLE])
        self.assertGreater(self.asked_of(B), 1)
        self.assertLessEqual(self.asked_of(A) + self.asked_of(B), 1 + self.settings.retries)

    def test_no_retries(self) -> None:
        """With retries set to 0 a break is the end."""
        self.connect(retries=0)
        self.answer(A, lambda s: short(s, AMPLE))
        self.fails(self.pump(), BadGateway)
        self.assertEqual(1, len(self.asked))

    def test_next_host(self) -> None:
        """If the host has nothing more to give, the next one goes on, without the other's validator."""
        self.in_turn(A, lambda s: short(s, AMPLE), lambda _: FakeResponse(500))
        self.whole(self.pump())
        self.assertEqual([f"bytes={AMPLE}-"], self.ranges(B))
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
        """A body that stands still is left for a new connection."""
        held = Held(body=DATA[:AMPLE], length=len(DATA))
        self.in_turn(A, lambda _: held, blob_of(DATA))
        sent = self.pump()
        self.clock.advance(self.settings.body_timeout - 0.1)
        self.assertNoResult(sent)
        self.clock.advance(0.1)
        self.whole(sent)
        self.assertTrue(held.transport.disconnecting or held.transport.disconnected)

    def test_trickling(self) -> None:
        """So is one that has become a trickle."""
        held = Held(body=DATA[: SLOWEST * 2], length=len(DATA))
        self.in_turn(A, lambda _: held, blob_of(DATA))
        sent = self.pump()
        for position in range(SLOWEST * 2, SLOWEST * 2 + 8):
            self.clock.advance(self.settings.body_timeout / 4)
            held.protocol.dataReceived(DATA[position : position + 1])
        self.clock.advance(1)
        self.whole(sent)

    def test_gone_meanwhile(self) -> None:
        """If no host has the blob any more, that is told at once."""
        self.in_turn(A, lambda s: short(s, AMPLE), lambda _: FakeResponse(404))
        self.answer(B, FakeResponse(404))
        self.fails(self.pump(), BlobUnknown)
        self.assertEqual((2, 1), (self.asked_of(A), self.asked_of(B)))

    def test_unknown_length(self) -> None:
        """A body without a length goes on too, and the end that the rest tells is believed."""

        def unsized(sent: Sent) -> Answer:
            return FakeResponse(body=DATA[:AMPLE], sized=False, error=CUT)

        self.in_turn(A, unsized, lambda s: short(s, AMPLE), blob_of(DATA))
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB)))
        self.assertIsNone(self.body.size)
        self.whole(self.body.pump(self.sink))


class OddAnswers(ResumeTestCase):
    """What hosts send instead of the rest."""

    def resumed(self, *odd: Callable[[Sent], Answer], b: Answer | None = None) -> Deferred[int]:
        """Break A's body, then let it answer so."""
        self.in_turn(A, lambda s: short(s, AMPLE), *odd)
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
        rest = DATA[AMPLE:]
        end = len(DATA) - 1
        for told, body in (
            ("", rest),
            ("nonsense", rest),
            (f"bytes {AMPLE + 1}-{end}/{len(DATA)}", rest[1:]),
            (f"bytes {AMPLE - 1}-{end}/{len(DATA)}", b"x" + rest),
            (f"bytes {AMPLE}-{end}/{len(DATA)}", rest[:-1]),
            (f"bytes {AMPLE}-{end}/{len(DATA) - 1}", rest),
        ):
            self.setUp()
            self.whole(self.resumed(self.ranged(told, body)))
            self.assertIsNone(self.ranges()[-1])

    def test_another_size(self) -> None:
        """Of a blob of another length no byte is taken, however often the host is asked again."""
        told = f"bytes {AMPLE}-{len(DATA)}/{len(DATA) + 1}"
        sent = self.resumed(self.ranged(told, DATA[AMPLE:] + b"x"), b=FakeResponse(500))
        self.failureResultOf(sent, RegistryError)
        self.assertTrue(self.sink.data == DATA[:AMPLE])
        self.assertEqual(1 + self.settings.retries, self.asked_of(A))

    def test_part_of_the_rest(self) -> None:
        """Less than was asked for is taken, and the rest asked for again."""

        def a_part(sent: Sent) -> Answer:
            start = int(sent.headers["Range"][6:-1])
            stop = min(start + AMPLE, len(DATA))
            told = f"bytes {start}-{stop - 1}/{len(DATA)}"
            return FakeResponse(206, DATA[start:stop], {"Content-Range": told})

        self.whole(self.resumed(a_part))
        self.assertEqual(4, self.asked_of(A))

    def test_not_satisfiable(self) -> None:
        """A 416 is no end: the whole is asked for."""

        def refuses(sent: Sent) -> Answer:
            return FakeResponse(416) if "Range" in sent.headers else FakeResponse(body=DATA)

        self.whole(self.resumed(refuses))

    def test_weak_validator(self) -> None:
        """A weak validator is none (RFC 9110 section 13.1.5)."""
        weak = FakeResponse(
            body=DATA[:AMPLE], length=len(DATA), error=CUT, headers={"ETag": 'W/"x"'}
        )
        self.in_turn(A, lambda _: weak, blob_of(DATA))
        self.whole(self.pump())
        self.assertNotIn("If-Range", self.asked[-1][1].headers)


class Limited(ResumeTestCase):
    """Hosts that must not be asked for a while."""

    def test_waits_for_its_time(self) -> None:
        """In the middle of a body a host that limits us is waited for."""
        limited = FakeResponse(429, headers={"Retry-After": "60"})
        self.in_turn(A, lambda s: short(s, AMPLE), lambda _: limited, blob_of(DATA))
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
        self.in_turn(A, lambda s: short(s, AMPLE), lambda _: limited)
        self.answer(B, limited)
        sent = self.pump()
        self.clock.advance(1)
        self.fails(sent, TooManyRequests)

    def test_everything_down(self) -> None:
        """Hosts that are all set aside end it after some minutes."""
        self.in_turn(A, lambda s: short(s, AMPLE), lambda _: Deferred())
        self.answer(B, lambda _: Deferred())
        sent = self.pump()
        waited = 0.0
        while not sent.called and waited < 2 * LONGEST_STANDSTILL:
            self.clock.advance(1.0)
            waited += 1.0
        self.failureResultOf(sent, RegistryError)
        self.assertLess(waited, LONGEST_STANDSTILL + 90)


class Control(ResumeTestCase):
    """The reader's side."""

    def held(self) -> Held:
        held = Held(body=DATA[:AMPLE], length=len(DATA))
        self.in_turn(A, lambda _: held, blob_of(DATA))
        return held

    def test_interfaces(self) -> None:
        """The relay is a consumer to the host, and a producer to the reader."""
        relay = Relay(self.sink, 0, None)
        self.assertTrue(verifyObject(IConsumer, relay))
        self.assertTrue(verifyObject(IPushProducer, relay))

    def test_pauses_outlive_connections(self) -> None:
        """A reader that has enough has enough of the next connection too."""
        held = self.held()
        sent = self.pump()
        assert self.sink.producer is not None
        self.sink.producer.pauseProducing()
        self.assertEqual("paused", held.transport.producerState)
        again = Held(
            206, DATA[AMPLE:], {"Content-Range": f"bytes {AMPLE}-{len(DATA) - 1}/{len(DATA)}"}
        )
        self.answer(A, again)
        held.protocol.connectionLost(CUT.reasons[0])
        self.assertEqual("paused", again.transport.producerState)
        self.sink.producer.resumeProducing()
        self.assertEqual("producing", again.transport.producerState)
        sent.cancel()
        self.fails(sent, BadGateway)

    def test_stopped_while_sending(self) -> None:
        """A reader that wants no more ends the connection, and no other is made."""
        held = self.held()
        sent = self.pump()
        assert self.sink.producer is not None
        self.sink.producer.stopProducing()
        self.fails(sent, BadGateway)
        self.assertTrue(held.transport.disconnecting or held.transport.disconnected)
        self.assertEqual(1, len(self.asked))

    def test_stopped_while_waiting(self) -> None:
        """So it does between two connections, whether one waits for it or for an answer."""
        answers: list[Callable[[Sent], Answer]] = [
            lambda _: FakeResponse(500),
            lambda _: Deferred(),
        ]
        for answer in answers:
            self.setUp()
            self.in_turn(A, lambda s: short(s, 1000), answer)
            self.answer(B, answer)
            sent = self.pump()
            self.clock.advance(0.3)
            assert self.sink.producer is not None
            self.sink.producer.stopProducing()
            self.failureResultOf(sent, BadGateway)
            self.assertIsNone(self.sink.producer)
            self.over()

    def test_cancelled(self) -> None:
        """Cancelling does the same."""
        self.held()
        sent = self.pump()
        sent.cancel()
        self.fails(sent, BadGateway)

    def test_abandoned(self) -> None:
        """A body that is not wanted gives its place to the next request; it is known whose it was."""
        self.held()
        body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB)))
        self.assertEqual({A}, body.hosts)
        body.abandon()
        self.over()


class Parts(ResumeTestCase):
    """Only some bytes of a blob."""

    def test_part(self) -> None:
        """A part is asked for as one, resumed as one, and ends where it should."""
        start, stop = 1000, 1000 + 2 * AMPLE
        self.in_turn(A, lambda s: short(s, AMPLE), blob_of(DATA))
        body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, start, stop)))
        self.assertEqual(len(DATA), body.size)
        self.assertEqual(2 * AMPLE, self.successResultOf(body.pump(self.sink)))
        self.assertTrue(self.sink.data == DATA[start:stop])
        self.assertEqual(
            [f"bytes={start}-{stop - 1}", f"bytes={start + AMPLE}-{stop - 1}"], self.ranges()
        )
        self.over()

    def test_whole_is_refused(self) -> None:
        """A host that would send everything is not asked to, at first or later."""
        self.answer(A, FakeResponse(body=DATA))
        self.failureResultOf(self.start(self.upstream.part(APP, BLOB, 10, 20)), BadGateway)
        self.over()
        self.in_turn(A, lambda s: short(s, 5), lambda _: FakeResponse(body=DATA))
        body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, 10, 20)))
        sent = body.pump(self.sink)
        self.clock.pump([15.0] * 3)
        self.assertEqual(10, self.successResultOf(sent))
        self.assertEqual({A, B}, body.hosts)


class Distrusted(ResumeTestCase):
    """Hosts that have sent wrong bytes."""

    def test_asked_last(self) -> None:
        """Who has sent wrong bytes for a digest is asked last for it, and first for others."""
        self.upstream.distrust(BLOB, frozenset({A}))
        self.whole(self.pump())
        self.assertEqual((0, 1), (self.asked_of(A), self.asked_of(B)))
        self.answer(B, FakeResponse(404))
        self.sink = Sink()
        self.whole(self.pump())
        self.clock.advance(3600)
        self.sink = Sink()
        before = self.asked_of(B)
        self.whole(self.pump())
        self.assertEqual(before, self.asked_of(B))

    def test_avoided(self) -> None:
        """Hosts to avoid are not asked at all; without others there is nobody left."""
        body = self.successResultOf(
            self.start(self.upstream.blob(APP, BLOB, avoiding=frozenset({A})))
        )
        body.abandon()
        self.assertEqual((0, 1), (self.asked_of(A), self.asked_of(B)))
        everybody = frozenset({A, B})
        self.failureResultOf(
            self.start(self.upstream.blob(APP, BLOB, avoiding=everybody)), NoHostLeft
        )

    def test_silent_breaker(self) -> None:
        """A silent first host is a timeout for the download, too, and then none."""
        self.answer(A, lambda _: Deferred())
        asked = self.start(self.upstream.blob(APP, BLOB))
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(asked).abandon()
        self.successResultOf(self.start(self.upstream.blob(APP, BLOB))).abandon()
        self.answer(B, lambda _: Deferred())
        asked = self.start(self.upstream.blob(APP, BLOB))
        self.clock.advance(self.settings.response_timeout)
        self.failureResultOf(asked, GatewayTimeout)
