"""What the tests of the stores have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.usage import Usage
from tests.support.iterating import collect

NOW = 1_700_000_000.0
HOST = "example.com"
T = TypeVar("T")


class StoreTestCase(SynchronousTestCase):
    """A memory driver, a clock, and the uses of what is in it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.driver = MemoryDriver(self.clock)
        self.usage = Usage(self.driver, self.clock)

    def result(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* gives without waiting."""
        result: T = self.successResultOf(Deferred.fromCoroutine(work))
        return result

    def listed(self, items: AsyncIterator[T]) -> list[T]:
        """Return all of *items*."""
        return self.result(collect(items))

    def fails(self, work: Coroutine[Any, Any, object], error: type[Exception]) -> str:
        """Return the message of the error that *work* fails with."""
        return str(self.failureResultOf(Deferred.fromCoroutine(work), error).value)

    def used(self, key: str) -> float | None:
        """Return the time of an object's last use, as the medium has it."""
        info = self.successResultOf(self.driver.stat(key))
        return None if info is None else info.used
