"""What the reader of a resuming body can do: pause it, stop it, want a part, quarantine a host."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from zope.interface.verify import verifyObject

from oci_registry.spec.errors import (
    BadGateway,
    GatewayTimeout,
    RegistryError,
)
from oci_registry.upstream.interfaces import NoHostLeft
from oci_registry.upstream.relay import Relay
from oci_registry.upstream.resume import GOOD_PROGRESS, MAX_USELESS
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.bodies import BLOB, CUT, DATA, Held, ResumeTestCase, Sink, short
from tests.unit.upstream.support import APP, A, B, blob_of


class Control(ResumeTestCase):
    """The reader's side."""

    def held(self) -> Held:
        held = Held(body=DATA[:GOOD_PROGRESS], length=len(DATA))
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
            206,
            DATA[GOOD_PROGRESS:],
            {"Content-Range": f"bytes {GOOD_PROGRESS}-{len(DATA) - 1}/{len(DATA)}"},
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
        """A reader that wants no more between two connections ends the waiting for the next, or its answer."""
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
        start, stop = 1000, 1000 + 2 * GOOD_PROGRESS
        self.in_turn(A, lambda s: short(s, GOOD_PROGRESS), blob_of(DATA))
        body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, start, stop)))
        self.assertEqual(len(DATA), body.size)
        self.assertEqual(2 * GOOD_PROGRESS, self.successResultOf(body.pump(self.sink)))
        self.assertTrue(self.sink.data == DATA[start:stop])
        self.assertEqual(
            [f"bytes={start}-{stop - 1}", f"bytes={start + GOOD_PROGRESS}-{stop - 1}"],
            self.ranges(),
        )
        self.over()

    def test_more_than_the_part(self) -> None:
        """A host that would send more than was asked for is hung up on where the part ends."""
        for more in (0, 1000):
            sink = Sink()
            told = {"Content-Range": f"bytes 10-{len(DATA) - 1}/{len(DATA)}"}
            held = Held(206, DATA[10 : 20 + more], told, length=len(DATA) - 10)
            self.answer(A, held)
            body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, 10, 20)))
            self.assertEqual(10, self.successResultOf(body.pump(sink)))
            self.assertTrue(held.transport.disconnecting or held.transport.disconnected)
            self.assertEqual(DATA[10:20], sink.data)
            self.over()

    def test_the_part_alone(self) -> None:
        """One that sends what was asked for keeps its connection."""
        held = Held(206, DATA[10:20], {"Content-Range": f"bytes 10-19/{len(DATA)}"})
        self.answer(A, held)
        body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, 10, 20)))
        sent = body.pump(self.sink)
        self.assertNoResult(sent)
        held.protocol.connectionLost(Failure(ResponseDone()))
        self.assertEqual(10, self.successResultOf(sent))
        self.assertFalse(held.transport.disconnecting or held.transport.disconnected)

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

    def test_whole_for_good(self) -> None:
        """Where every host sends the whole from now on, that is the end of it."""
        self.answer(B, FakeResponse(body=DATA))
        self.in_turn(A, lambda s: short(s, 5), lambda _: FakeResponse(body=DATA))
        body = self.successResultOf(self.start(self.upstream.part(APP, BLOB, 10, 20)))
        sent = body.pump(self.sink)
        self.clock.pump([1.0] * 3)
        self.assertIn("does not support ranges", self.fails(sent, BadGateway))
        self.assertEqual(["bytes=15-19"] * (MAX_USELESS + 1), self.ranges()[1:])


class Quarantined(ResumeTestCase):
    """Hosts that have sent wrong bytes."""

    def test_asked_last(self) -> None:
        """A host that has sent wrong bytes for a digest is asked last for it, and first for others."""
        self.upstream.quarantine(BLOB, frozenset({A}))
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
            self.start(self.upstream.blob(APP, BLOB, excluded=frozenset({A})))
        )
        body.abandon()
        self.assertEqual((0, 1), (self.asked_of(A), self.asked_of(B)))
        everybody = frozenset({A, B})
        self.failureResultOf(
            self.start(self.upstream.blob(APP, BLOB, excluded=everybody)), NoHostLeft
        )

    def test_avoided_later_too(self) -> None:
        """Hosts to avoid are not asked to continue with a body that breaks."""
        self.answer(
            B, lambda s: short(s, GOOD_PROGRESS) if "Range" not in s.headers else FakeResponse(500)
        )
        body = self.successResultOf(
            self.start(self.upstream.blob(APP, BLOB, excluded=frozenset({A})))
        )
        sent = body.pump(self.sink)
        self.clock.pump([20.0] * 40)
        self.failureResultOf(sent, RegistryError)
        self.assertEqual(0, self.asked_of(A))

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
