"""Answers that are lent to workers."""

from __future__ import annotations

from io import StringIO
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.logs import AccessLog
from oci_registry.web.ready.answers import ReadyAnswer
from oci_registry.web.ready.table import Entry, ReadyAnswers, Repeatable
from oci_registry.workers.leases import (
    LEASE,
    Borrower,
    Lender,
    Loan,
    pack_lease,
    unpack_lease,
)
from oci_registry.workers.messages import MAX_MESSAGE, unpack
from oci_registry.workers.reports import Responses

TARGET = b"/v2/a/manifests/1"
REQUEST = b"GET %b HTTP/1.1\r\nHost: m\r\n\r\n" % TARGET
SHOWN = ("/v2/a/manifests/1", "docker.io", "hit")
BYTES = st.binary(max_size=50)
TIMES = st.floats(0, 1e10)


def answers(clock: Clock, log: StringIO | None = None) -> tuple[ReadyAnswers, Responses]:
    """Return a table of answers, and what it counts."""
    responses = Responses()
    access_log = AccessLog(log, "text", clock)
    return ReadyAnswers(clock, access_log, responses), responses


class Leases(SynchronousTestCase):
    """A main process that lends, and a worker that borrows."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.holds, self.counted = True, 0
        self.core, _ = answers(self.clock)
        self.lender = Lender(self.core, self.clock.seconds)
        self.log = StringIO()
        self.table, self.responses = answers(self.clock, self.log)
        self.borrower = Borrower(self.table, self.clock.seconds)
        self.keep()

    def count(self) -> None:
        self.counted += 1

    def keep(self, body: bytes = b"body", max_age: float = inf, confirmed: float = 0.0) -> None:
        """Put an answer into the main process's table."""
        end = b"" if max_age == inf else b"\r\n\r\n"
        answer = ReadyAnswer(
            b"HTTP/1.1 200 OK\r\nDate: ", b"\r\n\r\n", end, body, confirmed, max_age
        )
        repeatable = Repeatable(
            "manifest",
            confirmed=confirmed,
            max_age=max_age,
            holds=lambda: self.holds,
            count=self.count,
        )
        self.core.borrow(TARGET, Entry.of(answer, repeatable, SHOWN))

    def lend(self) -> None:
        """Have the worker borrow it."""
        loan = self.lender.lend(TARGET)
        assert loan is not None
        message = pack_lease(loan)
        assert message is not None
        self.borrower.borrow(unpack_lease(unpack(message)))

    def ask(self) -> bytes | None:
        """Ask the worker for it."""
        return self.table.respond(REQUEST, "10.0.0.1")

    @given(BYTES, BYTES, BYTES, BYTES, TIMES, TIMES | st.just(inf), st.binary(max_size=20))
    def test_round_trip(
        self,
        start: bytes,
        middle: bytes,
        end: bytes,
        body: bytes,
        confirmed: float,
        max_age: float,
        target: bytes,
    ) -> None:
        """All pieces arrive as they were lent."""
        answer = ReadyAnswer(start, middle, end, body, confirmed, max_age)
        message = pack_lease(Loan(target, Entry.of(answer, Repeatable("manifest"), SHOWN), 5.0))
        assert message is not None
        lease = unpack_lease(unpack(message))
        for name in ("start", "middle", "end", "body", "confirmed", "max_age"):
            self.assertEqual(getattr(answer, name), getattr(lease.answer, name))
        self.assertEqual((target, 5.0, "manifest"), (lease.target, lease.until, lease.route))
        self.assertEqual(("docker.io", "hit"), lease.shown[1:])

    def test_lent(self) -> None:
        """The worker sends the same as the main process, and both count it."""
        self.lend()
        expected = self.core.respond(REQUEST, "10.0.0.1")
        self.assertEqual(expected, self.ask())
        self.assertEqual({("manifest", "GET", "200"): 1}, self.responses.counted)
        self.assertEqual({TARGET: 1}, self.borrower.uses)
        self.assertIn('10.0.0.1 "GET /v2/a/manifests/1" 200 4', self.log.getvalue())
        self.lender.used(TARGET, 3)
        self.lender.used(b"/never-lent", 3)
        self.assertEqual(3, self.counted)

    def test_lapses(self) -> None:
        """A second later the worker does not send it any more, until it is lent again."""
        self.lend()
        self.clock.advance(LEASE - 0.01)
        self.assertIsNotNone(self.ask())
        self.clock.advance(0.02)
        self.assertIsNone(self.ask())
        self.lend()
        self.assertIsNotNone(self.ask())

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not make the time longer."""
        self.lend()
        self.assertIsNotNone(self.ask())
        self.clock.advance(-0.5)
        self.assertIsNone(self.ask())

    def test_age(self) -> None:
        """A tag whose max age ends earlier is sent no longer than that."""
        self.keep(max_age=10.0, confirmed=self.clock.seconds() - 9.5)
        self.lend()
        self.assertIsNotNone(self.ask())
        self.clock.advance(0.6)
        self.assertIsNone(self.ask())
        self.assertIsNone(self.lender.lend(TARGET))

    def test_not_lent(self) -> None:
        """What does not hold any more, is not there or is too large is not lent."""
        self.assertIsNone(self.lender.lend(b"/other"))
        self.holds = False
        self.assertIsNone(self.lender.lend(TARGET))
        self.holds = True
        self.keep(bytes(MAX_MESSAGE))
        loan = self.lender.lend(TARGET)
        assert loan is not None
        self.assertIsNone(pack_lease(loan))
