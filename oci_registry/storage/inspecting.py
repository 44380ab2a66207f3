"""Deadlines around the objects that housekeeping inspects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from oci_registry.storage.direction import Direction
from oci_registry.storage.interfaces import IInspectedObject, ObjectInfo

T = TypeVar("T")


@implementer(IInspectedObject)
class GuardedInspected:
    """An inspected object whose reads have deadlines. They wait for other housekeeping, so none counts."""

    def __init__(
        self,
        inspected: IInspectedObject,
        reads: Direction,
        keep_house: Callable[..., Any],
        seconds: float,
    ) -> None:
        self.info: ObjectInfo = inspected.info
        self.close: Callable[[], None] = inspected.close
        self._inspected = inspected
        self._reads = reads
        self._keep_house = keep_house
        self._seconds = seconds

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        reading = partial(self._inspected.read, offset, length)
        return unless_refused(self._reads, self._seconds, reading)

    def withdraw(self, target: str | None) -> Deferred[bool]:
        withdrawing: Deferred[bool] = self._keep_house(lambda: self._inspected.withdraw(target))
        return withdrawing


def unless_refused(
    reads: Direction, seconds: float, begin: Callable[[], Deferred[T]]
) -> Deferred[T]:
    """Make a call that the circuit breaker prevents while it is open, but does not count."""
    refusal = reads.refusal
    return fail(refusal) if refusal is not None else reads.ask_always(seconds, begin)
