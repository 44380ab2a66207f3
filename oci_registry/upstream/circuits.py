"""Circuit breakers and pauses of one host: by kind of question, repository and subject.

What fails is kept apart from what works. A failure counts against its own question first; against the
repository only if two of its subjects fail, against the whole kind only if two repositories do, or if
no connection could be made at all. So do the pauses that a server asks for (``Retry-After``). The
target of a redirect, and a token server, is an area of its own beside the kinds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cachetools import LRUCache
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError, TooManyRequests
from oci_registry.upstream.circuit import Area, Circuit, Key
from oci_registry.upstream.failures import (
    ANSWERS,
    CircuitOpen,
    Limited,
    LocalFailure,
    TargetFailed,
    TimedOut,
    Unreachable,
    WrongAnswer,
)
from oci_registry.upstream.guard import TooManyLookups
from oci_registry.upstream.questions import Kind, Question

T = TypeVar("T")

FAILURES = 5
"""Failures in a row that open a circuit. One is enough if it has cost a timeout."""
SHORTEST = 5.0
"""Seconds that a circuit is open at first; twice as long each time that a probe fails."""
LONGEST = 60.0
"""The most seconds that it is."""
LONGEST_PAUSE = 3600.0
"""The most seconds that a server can ask for (``Retry-After``)."""
PROBES = 3
"""Probes of an open circuit at once, each from another repository, or of another subject."""
REMEMBERED = 256
"""Circuits of one host that are kept."""
_AFTER_PROBE = 1.0
"""Seconds after which a circuit may be closed while a probe is under way."""

Random = Callable[[], float]
"""Returns a number from 0 up to 1, for jitter."""


class Admission:
    """An admitted request; its holder records the outcome, or releases it without one."""

    def __init__(self, circuits: Circuits, area: Area, question: Question) -> None:
        self._circuits = circuits
        self._area = area
        self._question = question
        self.probed: list[Circuit] = []

    async def watch(self, work: Awaitable[T]) -> T:
        """Wait for the request's outcome and record it; raises what *work* raises.

        A `TargetFailed` is a success here, and its own error is raised.
        """
        try:
            value = await work
        except TargetFailed as failed:
            self.record_success()
            raise failed.error from None
        except RegistryError as error:
            self.record(error)
            raise
        finally:
            self.release()
        self.record_success()
        return value

    def record(self, error: RegistryError) -> None:
        """Record what an error says about the host."""
        if isinstance(error, Limited):
            self._circuits.record_limit(self._area, self._question, error.seconds)
        elif isinstance(error, (*ANSWERS, WrongAnswer)):
            self.record_success()
        elif not isinstance(error, LocalFailure | CircuitOpen | TooManyRequests | TooManyLookups):
            self._circuits.record_failure(self._area, self._question, error, self)

    def record_success(self) -> None:
        """There was an answer of any kind."""
        self._circuits.record_success(self._area, self._question)

    def release(self) -> None:
        """The request is over. Idempotent."""
        for circuit in self.probed:
            if circuit.probes.pop(self, None) is not None:
                circuit.wake(None)
        self.probed = []

    def is_probe_of(self, circuit: Circuit) -> bool:
        """Whether this request decides about a circuit."""
        return self in circuit.probes


class _Table(LRUCache[Key, Circuit]):
    """The circuits of one host that were used last; the waiters of an evicted one are woken."""

    def popitem(self) -> tuple[Key, Circuit]:
        """Evict the least recently used circuit, wake its waiters and return it."""
        key, circuit = super().popitem()
        circuit.wake(None)
        return key, circuit


class Circuits:
    """All circuits of one host, and of where it leads.

    *alternatives*: there are other hosts to ask. Then every failure counts against all that it may
    concern: others answer meanwhile, and what they do not have is asked here all the same.
    *remembered* circuits are kept; the one unused longest makes room.
    """

    _log = Logger()

    def __init__(
        self,
        host: str,
        clock: IReactorTime,
        random: Random,
        metrics: HostMetrics,
        *,
        alternatives: bool = False,
        remembered: int = REMEMBERED,
    ) -> None:
        self._host = host
        self._alternatives = alternatives
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._circuits = _Table(remembered)
        # The jitter here is a share of the time, and not added to it.
        self._backoff = backoffPolicy(SHORTEST, LONGEST, 2.0, jitter=lambda: 0.0)
        metrics.available(True)

    def __len__(self) -> int:
        return len(self._circuits)

    # What may be asked now

    def wait(self, area: Area, question: Question) -> float:
        """Return the seconds until a question may be put; 0 if it may be now."""
        waits = [0.0]
        for circuit in self._path(area, question):
            waits.append(self._left(circuit.paused_until, LONGEST_PAUSE))
            if circuit.open_until is not None:
                left = self._left(circuit.open_until, LONGEST)
                waits.append(left or (_AFTER_PROBE if circuit.probes else 0.0))
        return max(waits)

    def pause(self, area: Area, question: Question) -> float:
        """Return the seconds that are left of a pause which the server has asked for."""
        return max((pause for pause, _ in self._pauses(area, question)), default=0.0)

    def is_open(self, area: Area, question: Question) -> bool:
        """Whether a circuit on the way of a question is open, or half-open."""
        return any(circuit.is_open for circuit in self._path(area, question))

    async def admit(
        self, area: Area, question: Question, within: float, *, wait: bool
    ) -> Admission:
        """Admit a question, if no circuit on its path is open or it may probe those that are.

        Without *wait* there is a probe only when it is time for one, and one at once. With it, the
        caller having no alternative, there is one as soon as somebody needs it; the others wait for
        its outcome, *within* seconds, and fail as it does. Raises `CircuitOpen`, `Limited`,
        `TimedOut`, or a probe's error.
        """
        deadline = self._clock.seconds() + within
        while True:
            self._check_pauses(area, question)
            found = [circuit for circuit in self._path(area, question) if circuit.is_open]
            taken = next((c for c in found if not self._may_probe(c, question, wait=wait)), None)
            if taken is None:
                admission = Admission(self, area, question)
                for circuit in found:
                    circuit.probes[admission] = _source(circuit.key, question)
                admission.probed = found
                return admission
            if not wait:
                raise self._refusal(taken)
            await self._outcome(taken, deadline)

    def _may_probe(self, circuit: Circuit, question: Question, *, wait: bool) -> bool:
        if wait:
            source = _source(circuit.key, question)
            return len(circuit.probes) < PROBES and source not in circuit.probes.values()
        assert circuit.open_until is not None
        return not circuit.probes and not self._left(circuit.open_until, LONGEST)

    async def _outcome(self, circuit: Circuit, deadline: float) -> None:
        left = max(deadline - self._clock.seconds(), 0.0)
        try:
            await circuit.wait().addTimeout(left, self._clock)
        except DeferredTimeout:
            raise TimedOut(
                f"upstream {self._host} did not answer in time; it failed before: {circuit.reason}"
            ) from None

    def _check_pauses(self, area: Area, question: Question) -> None:
        for pause, circuit in self._pauses(area, question):
            where = "" if isinstance(circuit.key[0], Kind) else f": {circuit.key[0]}"
            raise Limited(f"upstream {self._host} rate limits requests{where}", pause)

    def _pauses(self, area: Area, question: Question) -> list[tuple[float, Circuit]]:
        lefts = ((self._left(c.paused_until, LONGEST_PAUSE), c) for c in self._path(area, question))
        return [(left, circuit) for left, circuit in lefts if left]

    def _refusal(self, circuit: Circuit) -> CircuitOpen:
        assert circuit.open_until is not None
        seconds = int(self._left(circuit.open_until, LONGEST)) + 1
        return CircuitOpen(
            f"upstream {self._host}: the circuit breaker is open for {seconds} s: {circuit.reason}",
            headers={"Retry-After": str(seconds)},
        )

    # What has happened

    def record_success(self, area: Area, question: Question) -> None:
        """A question was answered."""
        now = self._clock.seconds()
        for circuit in self._path(area, question):
            self._close(circuit)
            if circuit.paused_until <= now:
                # A source that is still limited is limited alone.
                circuit.paused_by.clear()
                if len(circuit.key) > 1:
                    self._circuits.pop(circuit.key, None)

    def record_failure(
        self,
        area: Area,
        question: Question,
        error: RegistryError,
        admission: Admission | None = None,
    ) -> None:
        """A question could not be put, or the answer was a failure.

        One that began before a circuit opened does not keep it open for longer.
        """
        slow = isinstance(error, TimedOut)
        conclusive = isinstance(error, Unreachable)
        # A host that cannot be reached has said nothing about a repository.
        for key in _keys(area, question)[: 1 if conclusive else 3]:
            circuit = self._circuit(key)
            if circuit.is_open:
                self._reopen(circuit, error, admission)
                continue
            circuit.failures += 1
            circuit.add_source(_source(key, question))
            enough = slow or circuit.failures >= FAILURES
            if enough and circuit.has_evidence(conclusive=conclusive or self._alternatives):
                self._open(circuit, error)

    def _reopen(self, circuit: Circuit, error: RegistryError, admission: Admission | None) -> None:
        """Keep a circuit open for longer, if the request that failed was a probe of it."""
        if admission is not None and circuit.probes.pop(admission, None) is not None:
            self._open(circuit, error)
            circuit.wake(error)

    def record_limit(self, area: Area, question: Question, seconds: float) -> None:
        """The server has rate limited such requests for *seconds*."""
        now = self._clock.seconds()
        until = now + min(seconds, LONGEST_PAUSE)
        for key in _keys(area, question):
            circuit = self._circuit(key)
            circuit.paused_by = {s: u for s, u in circuit.paused_by.items() if u > now}
            source = _source(key, question)
            if source in circuit.paused_by or len(circuit.paused_by) < 2:
                circuit.paused_by[source] = until
            if len(key) == 3 or len(circuit.paused_by) > 1:
                self._pause(circuit, until)

    def _pause(self, circuit: Circuit, until: float) -> None:
        """Ask nothing that belongs to a circuit until a moment; an earlier one changes nothing."""
        if until <= circuit.paused_until:
            return
        circuit.paused_until = until
        seconds = until - self._clock.seconds()
        self._log_change(circuit, "rate limited, paused for {seconds:.0f} s", seconds=seconds)
        if len(circuit.key) == 1 and isinstance(circuit.key[0], Kind):
            self._metrics.paused(until)

    def _open(self, circuit: Circuit, error: RegistryError) -> None:
        first = not circuit.is_open
        # Not all hosts, nor all daemons, at the same moment; never longer than LONGEST.
        seconds = self._backoff(circuit.opened) * (0.8 + 0.2 * self._random())
        circuit.opened += 1
        circuit.open_until = self._clock.seconds() + seconds
        circuit.reason = error.message
        if first:
            text = "circuit open for {seconds:.0f} s: {error}"
            self._log_change(circuit, text, seconds=seconds, error=error.message)
        self._show()

    def _close(self, circuit: Circuit) -> None:
        if circuit.is_open:
            self._log_change(circuit, "circuit closed: it answers again")
        circuit.close()
        self._show()

    def _log_change(self, circuit: Circuit, text: str, **fields: object) -> None:
        if len(circuit.key) > 2:
            # The failure of a single subject is reported with the request.
            return
        area = circuit.key[0]
        what = ", ".join((area.value if isinstance(area, Kind) else area, *circuit.key[1:]))
        level = LogLevel.warn if "error" in fields else LogLevel.info
        text = "upstream {host}, {what}: " + text
        self._log.emit(level, text, host=self._host, what=what, **fields)

    def _show(self) -> None:
        open_kinds = any(c is not None and c.is_open for c in map(self._circuits.get, _KINDS))
        self._metrics.available(not open_kinds)

    # The table

    def _path(self, area: Area, question: Question) -> list[Circuit]:
        found = (self._circuits.get(key) for key in _keys(area, question))
        return [circuit for circuit in found if circuit is not None]

    def _circuit(self, key: Key) -> Circuit:
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit(key)
        return circuit

    def _left(self, until: float, longest: float) -> float:
        """Return the seconds until a moment; 0 if it is farther off than any is set.

        Then the clock has been set back.
        """
        left = until - self._clock.seconds()
        return left if 0 < left <= longest else 0.0


_KINDS: tuple[Key, ...] = tuple((kind,) for kind in Kind)


def _keys(area: Area, question: Question) -> tuple[Key, ...]:
    """Return the keys of the circuits on a question's way, the widest first."""
    return (
        (area,),
        (area, question.repository),
        (area, question.repository, question.subject),
    )


def _source(key: Key, question: Question) -> str:
    """Return what identifies a question within a circuit, to count the sources of failures."""
    return question.repository if len(key) == 1 else question.subject
