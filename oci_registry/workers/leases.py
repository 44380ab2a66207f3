"""Leases of ready answers: the core lends them to a worker, which sends them for a short time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import inf

from attrs import frozen

from oci_registry.streams.recent import RecentTable
from oci_registry.web.ready.answers import ReadyAnswer
from oci_registry.web.ready.entries import Entry, Repeatable, Shown, Subject
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.workers.messages import MAX_MESSAGE, Message, pack

LEASE = 1.0
"""Seconds for which a worker may send an answer. An answer may outlive its source for this long."""
MOST_LENT = 2000
"""The number of lent answers whose uses are counted; uses of further ones are not counted as hits."""
_ROOM = 8 * 1024
"""Bytes of a message besides the pieces of an answer."""


@frozen
class Loan:
    """An entry of the core's table that a worker may use until *until*, seconds since the epoch."""

    target: bytes
    entry: Entry
    until: float


def pack_lease(loan: Loan) -> bytes | None:
    """Return the message that lends an entry; None if it is too large for one."""
    target = loan.target
    answer, route, uri, namespace, outcome, _, _ = loan.entry
    *pieces, confirmed, max_age = answer
    if len(target) + sum(map(len, pieces)) > MAX_MESSAGE - _ROOM:
        return None
    return pack(
        "lease",
        b"".join(pieces),
        target=target.decode("latin-1"),
        until=loan.until,
        pieces=[len(piece) for piece in pieces],
        confirmed=confirmed,
        max_age=None if max_age == inf else max_age,
        route=route,
        shown=[uri, namespace, outcome],
    )


@frozen
class Lease:
    """An answer that a worker has been lent. *route*: as for `Repeatable`."""

    target: bytes
    until: float
    answer: ReadyAnswer
    shown: Shown
    route: str | None


def unpack_lease(message: Message) -> Lease:
    """Return the lease in a message."""
    fields, rest = message.fields, message.payload
    pieces = []
    for length in fields["pieces"]:
        pieces.append(rest[:length])
        rest = rest[length:]
    start, middle, end, body = pieces
    max_age = inf if fields["max_age"] is None else float(fields["max_age"])
    answer = (start, middle, end, body, float(fields["confirmed"]), max_age)
    target = str(fields["target"]).encode("latin-1")
    uri, namespace, outcome = fields["shown"]
    shown = (uri, namespace, outcome)
    return Lease(target, float(fields["until"]), answer, shown, fields["route"])


class Lender:
    """The core's side: lends answers, and counts their uses. *seconds*: returns the time.

    *heard* is called with the target of an answer, and the number of times that a worker has sent it.
    """

    def __init__(
        self,
        answers: ReadyAnswers,
        seconds: Callable[[], float],
        heard: Callable[[bytes, int], None] = lambda *_: None,
    ) -> None:
        self._answers = answers
        self._heard = heard
        self._seconds = seconds
        self._lent: RecentTable[bytes, Callable[[], None]] = RecentTable(
            MOST_LENT, MOST_LENT, lambda *_: 1
        )

    def lend(self, target: bytes) -> Loan | None:
        """Lend the answer for a target, None if there is none now."""
        lent = self._answers.lend(target)
        if lent is None:
            return None
        entry, count = lent
        self._lent.put(target, count)
        return Loan(target, entry, self._seconds() + LEASE)

    def used(self, target: bytes, times: int) -> None:
        """Count that a worker has sent an answer so many times."""
        self._heard(target, times)
        count = self._lent.get(target)
        if count is not None:
            for _ in range(times):
                count()


class Borrower:
    """The worker's side: keeps answers while they are lent; `uses` counts uses since the last report.

    It is the source of all lent answers, whose subjects are their targets and the ends of their leases.
    """

    def __init__(self, answers: ReadyAnswers, seconds: Callable[[], float]) -> None:
        self._answers = answers
        self._seconds = seconds
        self._number = answers.sources.put("lent", self)
        self.uses: Counter[bytes] = Counter()

    def borrow(self, lease: Lease) -> None:
        """Keep a lent answer and send it from now on."""
        subject = (lease.target, lease.until)
        repeatable = Repeatable(lease.route, self._number, subject)
        self._answers.borrow(lease.target, lease.answer, repeatable, lease.shown)

    def give_back(self) -> None:
        """Send none of the lent answers any more."""
        self._answers.clear()

    def count(self) -> None:
        """Count nothing: answers are lent by the core alone."""

    def holds(self, subject: Subject) -> bool:
        """Whether a lease is still valid."""
        until: float
        _, until = subject
        # A clock that has been set back must not make the lease longer.
        return until - LEASE <= self._seconds() < until

    def serve(self, subject: Subject) -> Subject | None:
        """Count one more use if the lease is still valid, else return None."""
        target, until = subject
        # The same as `holds`, inlined to save a call for each answer.
        if not until - LEASE <= self._seconds() < until:
            return None
        self.uses[target] += 1
        return subject
