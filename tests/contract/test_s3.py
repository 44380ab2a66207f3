"""The S3 driver keeps the contract, with threads and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from oci_registry.storage.drivers.s3.driver import CHECKED, S3Driver
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.threads import Lanes, Workers
from tests.contract import base, driver, pins
from tests.support import s3
from tests.support.daemon import reactor, until
from tests.support.descriptors import open_descriptors
from tests.support.streams import run_at_once


class _Reactor:
    """A clock that can be called from threads."""

    def __init__(self, clock: Clock, call: Callable[..., object]) -> None:
        self.seconds = clock.seconds
        self.callLater = clock.callLater
        self.callFromThread = call


class Bucket(driver.DriverContract):
    """The contract on a bucket."""

    prefix = ""

    def make(self, clock: Clock) -> S3Driver:
        """Return one on a new bucket, whose work is done at once."""
        self.settings = s3.new_bucket(str(Path(self.mktemp())), prefix=self.prefix)
        run: Any = run_at_once
        return S3Driver(
            self.settings, Lanes(run, run, run, run), _Reactor(clock, lambda call: call())
        )

    def plant(self, key: str, data: bytes) -> None:
        """Put an object there as any client would; that it was now is what a journal says."""
        path = f"{self.prefix}/{key}" if self.prefix else key
        self.driver.bucket.connection.writing.put_object(
            Bucket=self.settings.bucket, Key=path, Body=data
        )
        self.driver.touch(key, self.clock.seconds())

    @contextmanager
    def full(self) -> Iterator[None]:
        """Let the server refuse to write, and the system to spool."""
        # A check that went well counts for a while.
        self.clock.advance(CHECKED)
        with (
            base.no_space(),
            s3.refusing(self.driver.bucket.connection, 403, "QuotaExceeded"),
        ):
            yield
        self.clock.advance(-CHECKED)

    def tearDown(self) -> None:
        """Nothing half-written is left, whatever the test did."""
        uploads = self.driver.bucket.connection.writing.list_multipart_uploads(
            Bucket=self.settings.bucket
        )
        self.assertEqual(uploads.get("Uploads", []), [])
        self.assertEqual(list(Path(self.settings.spool).iterdir()), [])


class BelowAPrefixInThreads(Bucket):
    """The contract on a part of a bucket, with the thread pools of the daemon."""

    prefix = "some/where"

    def make(self, clock: Clock) -> S3Driver:
        """Return one on a new bucket, with pools of its own."""
        self.settings = s3.new_bucket(str(Path(self.mktemp())), prefix=self.prefix)
        pools = [
            Workers(reactor, name, 4) for name in ("lookup", "ingest", "commit", "housekeeping")
        ]
        for pool in pools:
            pool.start()
            self.addCleanup(pool.stop)
        return S3Driver(self.settings, Lanes(*pools), _Reactor(clock, reactor.callFromThread))

    def test_nobody_waits_for_a_new_object(self) -> Deferred[None]:
        """The spooled file of an object that nobody waits for any longer is closed."""

        async def leave() -> None:
            before = open_descriptors()
            for _ in range(20):
                begun = self.driver.create("blobs/x").addErrback(lambda _: None)
                begun.cancel()
            # By the same threads, which have begun with the others then.
            writer = await self.driver.create("blobs/y")
            await writer.cancel()
            writer.close()
            await until(lambda: open_descriptors() <= before + 2)

        return Deferred.fromCoroutine(leave())

    def test_directions(self) -> Deferred[None]:
        """Reading and writing are checked apart: a server that refuses writes can be read."""

        async def check() -> None:
            await self.driver.check()
            with s3.refusing(self.driver.bucket.connection, 403, "QuotaExceeded"):
                await self.driver.check_reading()
                try:
                    await self.driver.check_writing()
                except StoreError as error:
                    self.assertIn("No space left", str(error))
                else:
                    self.fail("a server that refuses writes can be written to")
            await self.driver.check_writing()

        return Deferred.fromCoroutine(check())


class PinsInABucket(pins.PinsContract):
    """Pins in a bucket."""

    prefix = ""
    make = Bucket.make
