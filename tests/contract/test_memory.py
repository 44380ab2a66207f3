"""The memory driver keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.task import Clock

from oci_registry.storage.drivers.memory import MemoryDriver
from tests.contract import driver, pins


class Memory(driver.DriverContract):
    """The contract on memory."""

    def make(self, clock: Clock) -> MemoryDriver:
        """Return an empty one."""
        return MemoryDriver(clock)

    def plant(self, key: str, data: bytes) -> None:
        """Put an object into the dictionary, unsealed."""
        self.driver.place(key, data, sealed=False)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Break it for a while."""
        self.driver.broken = "No space left"
        yield
        self.driver.broken = None


class PinsInMemory(pins.PinsContract):
    """Pins in memory."""

    make = Memory.make
