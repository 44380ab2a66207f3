"""One circuit breaker, and the pause that a server has asked for."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred

from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.questions import Kind

Area = Kind | str
"""What fails as one: a kind of question, or the origin of another server."""
Key = tuple[Area] | tuple[Area, str] | tuple[Area, str, str]


@define(eq=False)
class Circuit:
    """A circuit breaker and a pause.

    Closed, requests pass. Open, they do not, for a while. Then a probe decides (half-open): if it
    succeeds the circuit closes, else it stays open for longer: it has been *opened* so often in a row.
    *sources* are the repositories, or the subjects, that have failed since the last success, *probes*
    the requests that decide, by theirs.
    """

    key: Key
    failures: int = 0
    sources: set[str] = field(factory=set)
    opened: int = 0
    open_until: float | None = None
    reason: str = ""
    paused_until: float = 0.0
    paused_by: dict[str, float] = field(factory=dict)
    probes: dict[object, str] = field(factory=dict)
    waiting: list[Deferred[None]] = field(factory=list)

    @property
    def is_open(self) -> bool:
        """Whether requests are kept back because of failures."""
        return self.open_until is not None

    def add_source(self, source: str) -> None:
        """Note the source of a failure; two are as good as many."""
        if len(self.sources) < 2:
            self.sources.add(source)

    def has_evidence(self, *, conclusive: bool) -> bool:
        """Whether the failures are the circuit's, and not those of one thing in it."""
        return conclusive or len(self.key) == 3 or len(self.sources) > 1

    def close(self) -> None:
        """Close the circuit: requests pass again."""
        self.failures, self.opened, self.open_until = 0, 0, None
        self.sources.clear()
        self.probes.clear()
        self.wake(None)

    def wake(self, error: RegistryError | None) -> None:
        """Wake all that wait for a probe, or fail them as it failed."""
        waiting, self.waiting = self.waiting, []
        for waiter in waiting:
            if error is None:
                waiter.callback(None)
            else:
                waiter.errback(error.again())

    def wait(self) -> Deferred[None]:
        """Return a Deferred of a probe's outcome; it can be cancelled."""
        waiter: Deferred[None] = Deferred(self._forget)
        self.waiting.append(waiter)
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)
