"""What every storage driver must do when objects are written."""

from __future__ import annotations

from twisted.internet.defer import execute

from oci_registry.storage.interfaces import (
    ObjectInfo,
    StoreError,
)
from tests.contract import base
from tests.contract.base import KEY, NOW, OTHER
from tests.support.daemon import running
from tests.support.iterating import collect


class WritingContract(base.DriverTestCase):
    """The contract of `IObjectWriter`."""

    @running
    async def test_atomic(self) -> None:
        """Nobody sees an object before it is committed, and then it is whole and sealed."""
        writer = await self.driver.create(KEY)
        writer.append(b"hello ")
        for _ in range(2):
            self.assertIsNone(await self.driver.stat(KEY))
            self.assertIsNone(await self.content(KEY))
            self.assertIsNone(await self.driver.get(KEY, 100))
            self.assertEqual(await collect(self.driver.list("blobs")), [])
            writer.append(b"world, ")
        self.clock.advance(50)
        await writer.commit()
        info = await self.driver.stat(KEY)
        self.assertEqual(info, ObjectInfo(KEY, 20, NOW + 50, True))
        self.assertEqual(await self.content(KEY), b"hello world, world, ")
        self.assertEqual(await collect(self.driver.list("blobs")), [info])
        writer.close()

    @running
    async def test_empty_object(self) -> None:
        """An object may be empty."""
        await self.stored(KEY, b"")
        self.assertEqual(await self.content(KEY), b"")
        self.assertEqual((await self.driver.stat(KEY)).size, 0)

    @running
    async def test_growing(self) -> None:
        """What is appended can be read at once, while it grows, after the commit, until it is closed."""
        writer = await self.driver.create(KEY)
        writer.append(b"0123")
        self.assertEqual(await writer.read(0, 100), b"0123")
        writer.append(b"4567")
        self.assertEqual(await writer.read(2, 4), b"2345")
        self.assertEqual(await writer.read(8, 4), b"")
        await writer.commit()
        self.assertEqual(await writer.read(0, 100), b"01234567")
        self.assertIn(writer.read_now(2, 4), (b"2345", None))
        await self.driver.delete(KEY)
        self.assertEqual(await writer.read(4, 4), b"4567")
        writer.close()
        writer.close()

    @running
    async def test_cancel(self) -> None:
        """A cancelled object leaves nothing; cancelling it again, or closing it, has no effect."""
        writer = await self.driver.create(KEY)
        writer.append(b"data")
        await writer.cancel()
        self.assertEqual(await writer.read(0, 4), b"data")
        await writer.cancel()
        writer.close()
        await writer.cancel()
        self.assertIsNone(await self.driver.stat(KEY))
        await self.stored(KEY, b"next")
        self.assertEqual(await self.content(KEY), b"next")

    @running
    async def test_cancel_after_commit(self) -> None:
        """Cancelling what is committed does nothing."""
        writer = await self.driver.create(KEY)
        writer.append(b"data")
        await writer.commit()
        await writer.cancel()
        writer.close()
        self.assertEqual(await self.content(KEY), b"data")

    @running
    async def test_commit_after_cancel(self) -> None:
        """What is cancelled cannot be committed any more: that fails, and nothing is visible."""
        writer = await self.driver.create(KEY)
        writer.append(b"data")
        await writer.cancel()
        await self.fails(writer.commit, StoreError)
        self.assertIsNone(await self.driver.stat(KEY))
        writer.close()

    @running
    async def test_commit_twice(self) -> None:
        """A second commit does nothing."""
        writer = await self.driver.create(KEY)
        writer.append(b"data")
        await writer.commit()
        await writer.commit()
        writer.close()
        self.assertEqual(await self.content(KEY), b"data")

    @running
    async def test_full(self) -> None:
        """A medium that is full says so to each who writes, and what was there stays as it is."""
        await self.stored(KEY, b"the old one")
        await self.driver.put(OTHER, b"small")
        writer = await self.driver.create(KEY)
        writer.append(b"the new ")
        with self.full():
            for write in (
                lambda: execute(writer.append, b"one"),
                lambda: self.driver.put(OTHER, b"smaller"),
                self.driver.check,
            ):
                self.assertIn("No space left", await self.fails(write, StoreError))
        await writer.cancel()
        writer.close()
        self.assertEqual(await self.content(KEY), b"the old one")
        self.assertEqual(await self.driver.get(OTHER, 10), b"small")
        await self.driver.check()

    @running
    async def test_commit_after_failure(self) -> None:
        """What lacks a piece cannot be committed, even when the medium is well again."""
        writer = await self.driver.create(KEY)
        writer.append(b"first ")
        with self.full():
            await self.fails(lambda: execute(writer.append, b"second "), StoreError)
        writer.append(b"third")
        for _ in range(2):
            await self.fails(writer.commit, StoreError)
            self.assertIsNone(await self.driver.stat(KEY))
        await writer.cancel()
        writer.close()

    @running
    async def test_replaced(self) -> None:
        """A commit replaces what was there; anyone who has the old object open reads it to the end."""
        await self.stored(KEY, b"the old one")
        old = await self.driver.open(KEY)
        await self.stored(KEY, b"the new one, longer")
        self.assertEqual(await self.content(KEY), b"the new one, longer")
        self.assertEqual(await old.read(4, 100), b"old one")
        self.assertEqual(old.info.size, 11)
        old.close()

    @running
    async def test_two_writers(self) -> None:
        """Two may write one key at once: neither sees the other, and the last commit holds."""
        first, second = await self.driver.create(KEY), await self.driver.create(KEY)
        first.append(b"first")
        second.append(b"the second")
        first.append(b"!")
        self.assertEqual(await first.read(0, 100), b"first!")
        self.assertEqual(await second.read(0, 100), b"the second")
        await first.commit()
        self.assertEqual(await self.content(KEY), b"first!")
        await second.commit()
        self.assertEqual(await self.content(KEY), b"the second")
        third, fourth = await self.driver.create(KEY), await self.driver.create(KEY)
        await third.cancel()
        fourth.append(b"4")
        await fourth.commit()
        self.assertEqual(await self.content(KEY), b"4")
        for writer in (first, second, third, fourth):
            writer.close()
