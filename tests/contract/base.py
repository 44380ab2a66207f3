"""What the tests of storage drivers have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from errno import ENOSPC
from stat import S_ISREG
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from oci_registry.storage.interfaces import (
    IDriver,
)

KEY = "blobs/sha256/ab/cdef"
OTHER = "blobs/sha256/ab/0123"
NOW = 1_700_000_000.0
BAD_KEYS = ("", "/", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a//b", "./a", "a/", "a\0b")


@contextmanager
def no_space() -> Iterator[None]:
    """Let the system refuse every write to a file, for as long as the context lasts."""
    write = os.write

    def refuse(descriptor: int, data: memoryview) -> int:
        # The reactor writes too, to wake itself.
        if S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        return write(descriptor, data)

    with patch.object(os, "write", refuse):
        yield


class DriverTestCase(TestCase):
    """A test of any driver. A binding defines `make`, `plant` and `full`."""

    timeout = 120
    clock: Clock
    driver: Any

    def make(self, clock: Clock) -> IDriver:
        """Return a new driver on an empty medium."""
        raise AssertionError("a binding makes its driver")

    def plant(self, key: str, data: bytes) -> None:
        """Put an object there as somebody else would."""
        raise AssertionError("a binding knows how")

    def full(self) -> AbstractContextManager[None]:
        """Make the medium refuse every byte, for as long as the context lasts."""
        raise AssertionError("a binding knows how")

    def setUp(self) -> Deferred[None]:
        """Start the driver."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.driver = self.make(self.clock)
        started: Deferred[None] = self.driver.start()
        return started

    async def stored(self, key: str, data: bytes) -> None:
        """Store an object through a writer."""
        writer: Any = await self.driver.create(key)
        writer.append(data)
        await writer.commit()
        writer.close()

    async def content(self, key: str) -> bytes | None:
        """Return an object's bytes as a reader gets them."""
        stored: Any = await self.driver.open(key)
        if stored is None:
            return None
        try:
            data: bytes = await stored.read(0, stored.info.size + 1)
            return data
        finally:
            stored.close()

    async def fails(self, call: Callable[[], Deferred[object]], error: type[Exception]) -> str:
        """Make *call*, which fails with *error*, at once or later; return what it says."""
        try:
            await call()
        except error as caught:
            return str(caught)
        raise self.failureException(f"{error.__name__} was not raised")
