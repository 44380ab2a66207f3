"""One host of an upstream, and what stands between it and those who ask: breaker and queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import (
    BlobUnknown,
    Denied,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.upstream.client import RegistryClient
from oci_registry.upstream.failures import TimedOut, WrongAnswer
from oci_registry.upstream.health import HostHealth, Probe, Random
from oci_registry.upstream.slots import Slot, Slots, Turn

T = TypeVar("T")

NO = (BlobUnknown, ManifestUnknown, NameUnknown, Denied)
"""Answers to a question, and no failures."""
SHORTEST = 1.0
"""Seconds in which a host must not be expected to answer, after the rest went by in the queue."""
PING_TIMEOUT = 10.0
"""Seconds in which a host that was set aside has to show that it is back."""


class Host:
    """A host: asked through here only, so that its breaker and its queue hold for everybody."""

    def __init__(
        self,
        name: str,
        client: RegistryClient,
        max_connections: int,
        clock: IReactorTime,
        random: Random,
        metrics: HostMetrics,
    ) -> None:
        self.name = name
        self.client = client
        self.metrics = metrics
        self.health = HostHealth(name, clock, random, metrics)
        self._slots = Slots(max_connections, metrics.waiting)
        self._clock = clock
        self._pinging: Deferred[None] | None = None

    async def ask(
        self,
        turn: Turn,
        repository: str,
        ask: Callable[[float], Awaitable[T]],
        within: float,
        held: Slot | None = None,
    ) -> tuple[T, Slot]:
        """Wait for a turn, ask, and return the answer with the slot, which must be released.

        *ask* gets the seconds that are left of *within*. *held*: a slot of this host that the caller
        has and needs for nothing else; if it fails, it is still the caller's. Raises a `RegistryError`,
        without having asked, when the host is left alone or too many are waiting for it.
        """
        refusal = self.health.refusal(turn)
        if refusal is not None:
            raise refusal
        began = self._clock.seconds()
        slot = held or await self._slot(turn, repository, within)
        try:
            waited = self._clock.seconds() - began
            left = within - waited
            if left < min(waited, SHORTEST):
                raise self._busy()
            # Much may have happened to the host while others had their turn.
            probe = self.health.admit(turn)
            work = ask(max(left, 0.1))
            answer = await self._judged(turn, work, probe, hurried=left < waited)
        except BaseException:
            if slot is not held:
                slot.release()
            raise
        return answer, slot

    async def _slot(self, turn: Turn, repository: str, within: float) -> Slot:
        try:
            return await self._slots.take(turn, repository).addTimeout(within, self._clock)
        except DeferredTimeout:
            raise self._busy() from None

    def _busy(self) -> TooManyRequests:
        return TooManyRequests.retry_after(f"all connections to upstream {self.name} are in use", 5)

    async def _judged(
        self, turn: Turn, work: Awaitable[T], probe: Probe | None, *, hurried: bool = False
    ) -> T:
        """Do something, and take from its outcome what it says about the host.

        *hurried*: most of the time for it went by in the queue, so being late says nothing.
        """
        try:
            answer = await work
        except RegistryError as error:
            if hurried and isinstance(error, TimedOut):
                raise self._busy() from error
            self._judge(turn, error, probe)
            raise
        finally:
            self.health.undecided(probe)
        self.health.worked(turn)
        return answer

    def _judge(self, turn: Turn, error: RegistryError, probe: Probe | None) -> None:
        """Take from an error what it says about the host."""
        if isinstance(error, (*NO, WrongAnswer)):
            self.health.worked(turn)
        elif isinstance(error, TooManyRequests | Unavailable):
            self.health.held(float(error.headers.get("Retry-After", "1")), probe)
        else:
            self.health.failed(turn, error, slow=isinstance(error, TimedOut), probe=probe)

    def ping(self) -> None:
        """Find out in the background whether a host that was set aside is back."""
        turn = Turn.MANIFEST
        if self._pinging is None and self.health.refusal(turn) is None:
            probe = self.health.admit(turn)
            work = self._judged(turn, self.client.ping(PING_TIMEOUT), probe)
            pinged = Deferred.fromCoroutine(work)
            self._pinging = pinged
            pinged.addBoth(self._pinged)

    def _pinged(self, _result: object) -> None:
        self._pinging = None

    async def close(self) -> None:
        """Ask no more, and close idle connections; what is under way goes on."""
        self.metrics.retire()
        if self._pinging is not None:
            self._pinging.cancel()
        await self.client.close()
