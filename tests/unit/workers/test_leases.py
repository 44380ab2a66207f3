"""Answers that are lent to workers."""

from __future__ import annotations

from io import StringIO
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.logs import AccessLog
from oci_registry.web.ready.entries import Repeatable, Subject
from oci_registry.web.ready.table import ReadyAnswers
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
SUBJECT = ("docker.io", "a")
BYTES = st.binary(max_size=50)
TIMES = st.floats(0, 1e10)


def answers(clock: Clock, log: StringIO | None = None) -> tuple[ReadyAnswers, Responses]:
    """Return a table of answers, and what it counts."""
    responses = Responses()
    access_log = AccessLog(log, "text", clock)
    return ReadyAnswers(clock, access_log, responses), responses


class Content:
    """The source of an answer, which `valid` says is still the same; `counted`: how often it was used."""

    valid = True
    counted = 0

    def count(self) -> None:
        self.counted += 1

    def holds(self, subject: Subject) -> bool:
        return self.valid and subject == SUBJECT

    def serve(self, subject: Subject) -> Subject | None:
        self.counted += 1
        return subject if self.holds(subject) else None


class Leases(SynchronousTestCase):
    """A main process that lends, and a worker that borrows."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.content = Content()
        self.core, _ = answers(self.clock)
        self.number = self.core.sources.put("docker.io", self.content)
        self.lender = Lender(self.core, self.clock.seconds)
        self.log = StringIO()
        self.table, self.responses = answers(self.clock, self.log)
        self.borrower = Borrower(self.table, self.clock.seconds)
        self.keep()

    def keep(self, body: bytes = b"body", max_age: float = inf, confirmed: float = 0.0) -> None:
        """Put an answer into the main process's table."""
        end = b"" if max_age == inf else b"\r\n\r\n"
        answer = (b"HTTP/1.1 200 OK\r\nDate: ", b"\r\n\r\n", end, body, confirmed, max_age)
        self.core.borrow(TARGET, answer, Repeatable("manifest", self.number, SUBJECT), SHOWN)

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
        answer = (start, middle, end, body, confirmed, max_age)
        message = pack_lease(Loan(target, Repeatable("manifest").entry(answer, SHOWN), 5.0))
        assert message is not None
        lease = unpack_lease(unpack(message))
        self.assertEqual(answer, lease.answer)
        self.assertEqual((target, 5.0, "manifest"), (lease.target, lease.until, lease.route))
        self.assertEqual(("docker.io", "hit"), lease.shown[1:])

    def test_lent(self) -> None:
        """The worker sends the same as the main process, and both count it."""
        self.lend()
        expected = self.core.respond(REQUEST, "10.0.0.1")
        self.assertEqual(expected, self.ask())
        self.assertEqual({("manifest", "GET", "200"): 1}, self.responses.counted)
        self.assertEqual({TARGET: 1}, self.borrower.uses)
        self.content.counted = 0
        self.assertIn('10.0.0.1 "GET /v2/a/manifests/1" 200 4', self.log.getvalue())
        self.lender.used(TARGET, 3)
        self.lender.used(b"/never-lent", 3)
        self.assertEqual(3, self.content.counted)

    def test_lapses(self) -> None:
        """A second later the worker does not send it any more, until it is lent again."""
        self.lend()
        self.clock.advance(LEASE - 0.01)
        self.assertIsNotNone(self.ask())
        self.clock.advance(0.02)
        self.assertIsNone(self.ask())
        self.lend()
        self.assertIsNotNone(self.ask())

    def test_recalled(self) -> None:
        """What the main process has taken back is not sent, until it is lent again."""
        self.lend()
        self.borrower.give_back()
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
        self.content.valid = False
        self.assertIsNone(self.lender.lend(TARGET))
        self.content.valid = True
        self.keep(bytes(MAX_MESSAGE))
        loan = self.lender.lend(TARGET)
        assert loan is not None
        self.assertIsNone(pack_lease(loan))
