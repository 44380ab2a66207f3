"""A body that breaks keeps its permit, and no permit is lost, whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused

from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.group import FIRST_PAUSE
from oci_registry.upstream.resume import GOOD_PROGRESS
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.bodies import BLOB, CUT, DATA, Held, ResumeTestCase, Sink, short
from tests.unit.upstream.support import APP, A, B, blob_of


class Turns(ResumeTestCase):
    """Hosts that get one request for a blob at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.connect(max_connections=2)

    def held(self) -> Held:
        """Return an answer whose body waits after its beginning."""
        return Held(body=DATA[:GOOD_PROGRESS], length=len(DATA))

    def begin(self) -> Deferred[Any]:
        return self.start(self.upstream.blob(APP, BLOB))

    def test_keeps_its_slot(self) -> None:
        """Over breaks, failures and pauses a body keeps its permit, and releases it when it is over."""
        held = self.held()
        self.in_turn(A, lambda _: held, lambda _: FakeResponse(500), blob_of(DATA))
        self.answer(B, FakeResponse(500))
        sent = self.pump()
        other = self.begin()
        held.protocol.connectionLost(CUT.reasons[0])
        self.assertNoResult(other)
        self.assertNoResult(sent)
        self.clock.advance(FIRST_PAUSE)
        self.assertEqual(len(DATA), self.successResultOf(sent))
        self.successResultOf(other).abandon()
        self.over()

    def test_first_at_another_host(self) -> None:
        """Where another host continues, the rest goes before blobs that wait there already."""
        held, at_b = self.held(), self.held()
        self.in_turn(A, lambda _: held, lambda _: FakeResponse(500))
        self.in_turn(B, lambda _: at_b, blob_of(DATA))
        sent = self.pump()
        excluded = frozenset({A})
        busy = self.successResultOf(self.start(self.upstream.blob(APP, BLOB, excluded=excluded)))
        waiting = self.start(self.upstream.blob(APP, BLOB, excluded=excluded))
        held.protocol.connectionLost(CUT.reasons[0])
        self.assertNoResult(sent)
        busy.abandon()
        self.assertEqual(len(DATA), self.successResultOf(sent))
        self.assertEqual({A, B}, self.body.hosts)
        self.successResultOf(waiting).abandon()
        self.over()

    def test_stopped_in_a_break(self) -> None:
        """A reader that stops during a break releases the permit."""
        for after in (0.0, 1.0):
            self.connect(max_connections=2)
            self.in_turn(A, lambda s: short(s, 1000), lambda _: Deferred())
            self.answer(B, lambda _: Deferred())
            sent = self.pump()
            self.clock.advance(after)
            sent.cancel()
            self.failureResultOf(sent)
            self.over()


ANSWERS: dict[str, Callable[[Sent], Answer]] = {
    "good": blob_of(DATA),
    "short": lambda sent: short(sent, 1000),
    "long": lambda sent: short(sent, GOOD_PROGRESS),
    "empty": lambda sent: short(sent, 0),
    "unsized": lambda sent: FakeResponse(body=DATA, sized=False, error=CUT),
    "whole": lambda sent: FakeResponse(body=DATA),
    "stall": lambda sent: Held(body=DATA[:1000], length=len(DATA)),
    "silent": lambda sent: Deferred(),
    "refused": lambda sent: Refused(),
    "error": lambda sent: FakeResponse(500),
    "missing": lambda sent: FakeResponse(404),
    "odd": lambda sent: FakeResponse(416),
    "odd part": lambda sent: FakeResponse(206, b"x", {"Content-Range": "bytes 5-4/3"}),
    "limit": lambda sent: FakeResponse(429, headers={"Retry-After": "20"}),
}


class Anything(ResumeTestCase):
    """Hosts that do anything."""

    @given(
        st.lists(st.sampled_from(sorted(ANSWERS)), max_size=12),
        st.lists(st.sampled_from(["begin", "cancel", "pass"]), min_size=1, max_size=12),
        st.sampled_from([1.0, 15.0, 60.0]),
    )
    def test_no_slot_is_lost(self, script: list[str], steps: list[str], seconds: float) -> None:
        """Whatever hosts answer, and whichever readers leave, all get right bytes and all permits are free."""
        self.setUp()
        self.connect(max_connections=3, remember_not_found=0.0)
        answers = [ANSWERS[name] for name in script]

        def answer(sent: Sent) -> Answer:
            make = answers.pop(0) if answers else blob_of(DATA)
            return make(sent)

        self.answer(A, answer)
        self.answer(B, answer)
        sinks: list[Sink] = []
        running: list[Deferred[None]] = []

        async def read(sink: Sink) -> None:
            try:
                body = await self.upstream.blob(APP, BLOB)
                await body.pump(sink)
            except (RegistryError, CancelledError):
                return
            self.assertEqual(len(DATA), len(sink.data))

        for step in steps:
            if step == "begin":
                sinks.append(Sink())
                running.append(Deferred.fromCoroutine(read(sinks[-1])))
            elif step == "cancel" and running:
                running[-1].cancel()
            else:
                self.clock.advance(seconds)
        self.clock.pump([10.0] * 80)
        for one in running:
            self.successResultOf(one)
        self.assertTrue(all(DATA.startswith(sink.data) for sink in sinks))
        for host in self.group.hosts:
            self.assertEqual(0, host._limiter.used)
