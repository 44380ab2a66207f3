"""What every storage driver must do: a test case without a driver.

Bind it in a module of its own, and import this module, not the class: trial would run that too.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
)
from tests.contract import inspecting, marked, writing
from tests.contract.base import BAD_KEYS, KEY, NOW, OTHER
from tests.support.daemon import running
from tests.support.iterating import collect


class DriverContract(inspecting.InspectingContract, writing.WritingContract, marked.MarkedContract):
    """The contract of `IDriver`. A binding defines `make`, `plant` and `full`."""

    # -- what there is

    @running
    async def test_interfaces(self) -> None:
        """The driver, its writers and its objects are what they say they are."""
        verifyObject(IDriver, self.driver)
        writer = await self.driver.create(KEY)
        verifyObject(IObjectWriter, writer)
        await writer.commit()
        writer.close()
        stored = await self.driver.open(KEY)
        verifyObject(IStoredObject, stored)
        stored.close()

    @running
    async def test_usable(self) -> None:
        """A medium that works passes its check, and the check leaves nothing."""
        await self.driver.check()
        self.assertEqual(await collect(self.driver.list("blobs")), [])
        self.assertEqual(await collect(self.driver.list("transfers")), [])

    @running
    async def test_missing(self) -> None:
        """What is not there is None, cannot be removed, and touching or sealing it does nothing."""
        await self.driver.touch(KEY, NOW)
        await self.driver.seal(KEY)
        self.assertIsNone(await self.driver.stat(KEY))
        self.assertIsNone(await self.driver.open(KEY, 10))
        self.assertIsNone(await self.driver.get(KEY, 10))
        self.assertFalse(await self.driver.delete(KEY))
        self.assertEqual(await collect(self.driver.list("blobs")), [])

    @running
    async def test_below_an_object(self) -> None:
        """There is nothing below an object, and an object is nothing above others."""
        await self.stored("blobs/a", b"1")
        await self.stored("blobs/b/c", b"2")
        for key in ("blobs/a/b", "blobs/b"):
            self.assertIsNone(await self.driver.stat(key))
            self.assertIsNone(await self.driver.open(key))
            self.assertIsNone(await self.driver.get(key, 10))
            self.assertFalse(await self.driver.delete(key))

    # -- reading

    @running
    async def test_reading(self) -> None:
        """An object is read in any pieces, with as much of its head as was asked for, or none of it."""
        await self.stored(KEY, b"0123456789")
        for head, expected in ((0, b""), (4, b"0123"), (10, b"0123456789"), (99, b"0123456789")):
            stored = await self.driver.open(KEY, head)
            self.assertIn(stored.head, (expected, b""))
            if head and not stored.head:
                self.assertEqual(stored.read_now(0, 4), b"0123", "there was no need to wait")
            self.assertEqual(stored.info, ObjectInfo(KEY, 10, NOW, True))
            self.assertEqual(await stored.read(3, 4), b"3456")
            self.assertEqual(await stored.read(8, 4), b"89")
            self.assertEqual(await stored.read(10, 4), b"")
            self.assertEqual(await stored.read(1000, 4), b"")
            stored.close()
            stored.close()

    @running
    async def test_reading_from_the_middle(self) -> None:
        """The bytes that come with the opening may be any, and the hint where to stop is but a hint."""
        await self.stored(KEY, b"0123456789")
        for start, stop, expected in (
            (3, 7, b"3456"),
            (3, None, b"3456"),
            (8, None, b"89"),
            (8, 99, b"89"),
            (10, None, b""),
            (99, 100, b""),
        ):
            stored = await self.driver.open(KEY, 4, start, stop)
            self.assertIn(stored.head, (expected, b""))
            if expected and not stored.head:
                length = len(expected)
                self.assertEqual(
                    stored.read_now(start, length), expected, "there was no need to wait"
                )
            self.assertEqual(stored.info.size, 10)
            before = await stored.read(0, 4)
            self.assertTrue(before and b"0123".startswith(before))
            self.assertEqual(await stored.read(9, 4), b"9")
            stored.close()

    @running
    async def test_reading_at_once(self) -> None:
        """What is read without waiting is what is read with waiting, or None."""
        await self.stored(KEY, b"0123456789")
        stored = await self.driver.open(KEY)
        self.assertIn(stored.read_now(2, 5), (b"23456", None))
        self.assertIn(stored.read_now(8, 5), (b"89", None))
        self.assertIn(stored.read_now(10, 5), (b"", None))
        stored.close()
        self.assertIn(stored.read_now(2, 5), (b"23456", None))

    @running
    async def test_deleted(self) -> None:
        """A deleted object is gone at once; anyone who has it open reads it to the end."""
        await self.stored(KEY, b"0123456789")
        await self.stored(OTHER, b"other")
        stored = await self.driver.open(KEY)
        self.assertTrue(await self.driver.delete(KEY))
        self.assertFalse(await self.driver.delete(KEY))
        self.assertIsNone(await self.driver.stat(KEY))
        self.assertIsNone(await self.driver.open(KEY))
        self.assertEqual(await stored.read(0, 100), b"0123456789")
        stored.close()
        self.assertEqual(await self.content(OTHER), b"other")

    @running
    async def test_deleting_many(self) -> None:
        """Many are removed at once; what was not there, or is not asked for, does not matter."""
        keys = [f"blobs/{n}" for n in range(5)]
        for key in keys:
            await self.driver.put(key, b"x")
        removed = await self.driver.delete_many(keys[:3])
        self.assertEqual(list(removed), keys[:3])
        left = await collect(self.driver.list("blobs"))
        self.assertEqual(sorted(info.key for info in left), keys[3:])
        self.assertEqual(list(await self.driver.delete_many([])), [])
        await self.driver.delete_many(["blobs/none", keys[4]])
        self.assertIsNone(await self.driver.stat(keys[4]))

    @running
    async def test_sweeping(self) -> None:
        """A single process may begin the sweep; the objects and their times of use are unchanged."""
        await self.stored(KEY, b"data")
        await self.driver.touch(KEY, NOW + 5)
        self.assertTrue(await self.driver.begin_sweep(NOW - 100))
        self.assertEqual(
            await collect(self.driver.list("blobs")), [ObjectInfo(KEY, 4, NOW + 5, True)]
        )
        self.assertGreater(self.driver.sweep_interval, 0)
        self.assertGreaterEqual(self.driver.check_interval, 0)

    @running
    async def test_stopping(self) -> None:
        """A driver that is stopped has kept everything, and its stopping does not fail."""
        await self.stored(KEY, b"data")
        await self.driver.stop()
        self.assertEqual(await self.content(KEY), b"data")

    @running
    async def test_links(self) -> None:
        """A link is a URL, if there is any."""
        await self.stored(KEY, b"data")
        url = await self.driver.link(KEY)
        self.assertTrue(url is None or url.startswith("http"))

    @running
    async def test_persisting(self) -> None:
        """What was put, removed or never there is made durable, which changes nothing."""
        await self.driver.persist(KEY)
        await self.driver.put(KEY, b"data")
        await self.driver.persist(KEY)
        self.assertEqual(await self.content(KEY), b"data")
        await self.driver.delete(KEY)
        await self.driver.persist(KEY)
        self.assertIsNone(await self.driver.stat(KEY))

    # -- small objects

    @running
    async def test_small_objects(self) -> None:
        """A small object is put and got as a whole, and replaced as a whole."""
        await self.driver.put(KEY, b"one")
        self.assertEqual(await self.driver.get(KEY, 3), b"one")
        self.assertEqual(await self.driver.stat(KEY), ObjectInfo(KEY, 3, NOW, True))
        self.clock.advance(1)
        await self.driver.put(KEY, b"")
        self.assertEqual(await self.driver.get(KEY, 0), b"")
        self.assertEqual(await self.driver.stat(KEY), ObjectInfo(KEY, 0, NOW + 1, True))

    @running
    async def test_small_objects_only(self) -> None:
        """What is larger than the limit is not got."""
        await self.stored(KEY, b"12345")
        self.assertIsNone(await self.driver.get(KEY, 4))
        self.assertEqual(await self.driver.get(KEY, 5), b"12345")

    # -- what is known of objects

    @running
    async def test_touch(self) -> None:
        """Touching an object sets the time of its last use, and nothing else."""
        await self.stored(KEY, b"data")
        await self.driver.touch(KEY, NOW + 77)
        self.assertEqual(await self.driver.stat(KEY), ObjectInfo(KEY, 4, NOW + 77, True))
        await self.driver.touch(KEY, NOW - 77)
        self.assertEqual((await self.driver.stat(KEY)).used, NOW - 77)
        self.assertEqual(await self.content(KEY), b"data")

    @running
    async def test_seal(self) -> None:
        """What somebody else has put there is not sealed, until it is."""
        self.plant(KEY, b"planted")
        self.assertFalse((await self.driver.stat(KEY)).sealed)
        stored = await self.driver.open(KEY)
        self.assertFalse(stored.info.sealed)
        stored.close()
        await self.driver.touch(KEY, NOW)
        self.assertFalse((await self.driver.stat(KEY)).sealed)
        await self.driver.seal(KEY)
        await self.driver.seal(KEY)
        self.assertEqual(await self.driver.stat(KEY), ObjectInfo(KEY, 7, NOW, True))
        self.assertEqual([i.sealed for i in await collect(self.driver.list("blobs"))], [True])
        self.assertEqual(await self.content(KEY), b"planted")

    @running
    async def test_planted(self) -> None:
        """What somebody else has put there is read, replaced and removed like anything."""
        self.plant(KEY, b"planted")
        self.plant(OTHER, b"planted too")
        self.assertEqual(await self.content(KEY), b"planted")
        await self.stored(KEY, b"ours")
        self.assertEqual(await self.content(KEY), b"ours")
        self.assertTrue((await self.driver.stat(KEY)).sealed)
        self.assertTrue(await self.driver.delete(OTHER))

    @running
    async def test_list(self) -> None:
        """All objects below a prefix are listed, whatever they are called, and no others."""
        for key in ("blobs/x", "blobs/a/b/c/d", "blobsy/x", "other/blobs/x", "blobs/ä"):
            await self.stored(key, key.encode())
        self.plant("blobs/.hidden", b"!")
        listed = {info.key: info.size for info in await collect(self.driver.list("blobs"))}
        self.assertEqual(
            listed, {"blobs/x": 7, "blobs/a/b/c/d": 13, "blobs/ä": 8, "blobs/.hidden": 1}
        )
        below = await collect(self.driver.list("blobs/a/b"))
        self.assertEqual([info.key for info in below], ["blobs/a/b/c/d"])

    @running
    async def test_list_while_things_change(self) -> None:
        """A listing continues while objects come and go, and lists what was there all the time."""
        keys = {f"blobs/{n:03}/x" for n in range(15)}
        for key in keys:
            await self.stored(key, b"x")
        listed: set[str] = set()
        async for info in self.driver.list("blobs"):
            listed.add(info.key)
            await self.driver.delete(info.key)
            await self.driver.put(f"blobs/{len(listed):03}/y", b"y")
        self.assertLessEqual(keys, listed)

    # -- keys

    @running
    async def test_bad_keys(self) -> None:
        """No key leads out of the medium's root: that is a ValueError, whatever is asked."""
        for key in BAD_KEYS:
            for call in (
                lambda key=key: self.driver.stat(key),
                lambda key=key: self.driver.open(key),
                lambda key=key: self.driver.get(key, 10),
                lambda key=key: self.driver.put(key, b"x"),
                lambda key=key: self.driver.create(key),
                lambda key=key: self.driver.seal(key),
                lambda key=key: self.driver.touch(key, NOW),
                lambda key=key: self.driver.delete(key),
                lambda key=key: self.driver.delete_many([key]),
                lambda key=key: self.driver.link(key),
                lambda key=key: Deferred.fromCoroutine(collect(self.driver.list(key))),
            ):
                await self.fails(call, ValueError)
