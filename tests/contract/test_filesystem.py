"""The filesystem driver keeps the contract, with threads and without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.internet.task import Clock

from oci_registry.spec.image import parse_image
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.streams.threads import Lanes, Workers
from tests.contract import base, driver, pins
from tests.support.daemon import reactor, running
from tests.support.streams import run_at_once


class Filesystem(driver.DriverContract):
    """The contract on a directory."""

    def make(self, clock: Clock) -> FilesystemDriver:
        """Return one on a new directory, whose work is done at once."""
        self.root = Path(self.mktemp())
        return FilesystemDriver(str(self.root), Lanes(*[run_at_once] * 4), clock)

    def plant(self, key: str, data: bytes) -> None:
        """Write a file as any program would, last changed when the clock says."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (self.clock.seconds(), self.clock.seconds()))

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let the system refuse to write."""
        with base.no_space():
            yield

    def tearDown(self) -> None:
        """Nothing half-written is left, whatever the test did."""
        left = list((self.root / "transfers").iterdir())
        self.assertEqual(left, [])


class PinsInADirectory(pins.PinsContract):
    """Pins in a directory."""

    make = Filesystem.make

    @running
    async def test_durable(self) -> None:
        """Before a pin is there or gone, its folders have been flushed up to the root."""
        flushed: list[str] = []

        def sync(descriptor: int) -> None:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            flushed.append(os.path.relpath(path, self.root.resolve()))

        self.patch(os, "fsync", sync)
        image = parse_image("quay.io/a/b:1")
        tags = "pins/quay.io/a/b/_tags"
        await self.pins.add(image)
        self.assertEqual(
            [f"{tags}/1", tags, "pins/quay.io/a/b", "pins/quay.io/a", "pins/quay.io", "pins", "."],
            flushed,
        )
        flushed.clear()
        await self.pins.remove(image)
        self.assertEqual(["pins", "."], flushed)


class FilesystemInThreads(Filesystem):
    """The contract on a directory, with the thread pools of the daemon."""

    def make(self, clock: Clock) -> FilesystemDriver:
        """Return one on a new directory, with pools of its own."""
        self.root = Path(self.mktemp())
        pools = [
            Workers(reactor, name, 4) for name in ("lookup", "ingest", "commit", "housekeeping")
        ]
        for pool in pools:
            pool.start()
            self.addCleanup(pool.stop)
        return FilesystemDriver(str(self.root), Lanes(*pools), clock)
