"""What every storage driver must do for a scrub: a test case without a driver."""

from __future__ import annotations

from contextlib import suppress

from zope.interface.verify import verifyObject

from oci_registry.storage.interfaces import IInspectedObject, StoreError
from tests.contract.base import BAD_KEYS, KEY, OTHER, DriverTestCase
from tests.support.daemon import running
from tests.support.iterating import collect

ASIDE = f"quarantine/{KEY}"


class InspectingContract(DriverTestCase):
    """Listings in order, and objects that are inspected and withdrawn."""

    async def keys_from(self, prefix: str, after: str) -> list[str]:
        """Return the keys of a listing in order."""
        return [info.key for info in await collect(self.driver.list_from(prefix, after))]

    @running
    async def test_listing_in_order(self) -> None:
        """A listing in order has all keys below a prefix, sorted, from the next one after any text on."""
        keys = ["a/0/z", "a/b-c", "a/b/c", "a/b/d/e", "a/b0", "a/c", "a/d/e/f"]
        for key in (*reversed(keys), "ab/c", "b/c"):
            await self.stored(key, b"1")
        for after in ("", *keys, "a/b", "a/b/", "a/b/d/a", "a/zzz", "a/0"):
            expected = [key for key in keys if key > after]
            self.assertEqual(await self.keys_from("a", after), expected, after)
        self.assertEqual(await self.keys_from("none", ""), [])

    @running
    async def test_inspecting(self) -> None:
        """An object is inspected in pieces, one that another program has put there too."""
        await self.stored(KEY, b"0123456789")
        self.plant(OTHER, b"other")
        found = await self.driver.inspect(KEY)
        verifyObject(IInspectedObject, found)
        self.assertEqual((found.info.key, found.info.size, found.info.sealed), (KEY, 10, True))
        self.assertEqual(await found.read(0, 4), b"0123")
        self.assertEqual(await found.read(4, 100), b"456789")
        self.assertEqual(await found.read(10, 4), b"")
        found.close()
        found.close()
        other = await self.driver.inspect(OTHER)
        self.assertEqual((await other.read(0, 9), other.info.sealed), (b"other", False))
        other.close()
        self.assertIsNone(await self.driver.inspect(ASIDE))
        for key in BAD_KEYS:
            await self.fails(lambda key=key: self.driver.inspect(key), ValueError)  # type: ignore[misc]

    @running
    async def test_withdrawing(self) -> None:
        """A withdrawn object is at another key or nowhere, and what is open of it is not kept open."""
        for target in (ASIDE, None):
            await self.stored(KEY, b"wrong")
            reader = await self.driver.open(KEY, 1)
            kept = reader.keep() if hasattr(reader, "keep") else None
            found = await self.driver.inspect(KEY)
            self.assertTrue(await found.withdraw(target))
            self.assertFalse(await found.withdraw(target))
            found.close()
            self.assertIsNone(await self.driver.stat(KEY))
            self.assertIsNone(await self.driver.open(KEY))
            self.assertIsNone(None if kept is None else kept.part(KEY, len(b"wrong"), 0, 1))
            reader.close()
            self.assertEqual(await collect(self.driver.list("blobs")), [])
        self.assertEqual(await self.content(ASIDE), b"wrong")
        self.assertFalse((await self.driver.stat(ASIDE)).sealed)

    @running
    async def test_withdrawing_again(self) -> None:
        """What is moved to a key replaces what was moved there before."""
        for data in (b"first", b"second"):
            await self.stored(KEY, data)
            found = await self.driver.inspect(KEY)
            self.assertTrue(await found.withdraw(ASIDE))
            found.close()
        self.assertEqual(await self.content(ASIDE), b"second")

    @running
    async def test_replaced_meanwhile(self) -> None:
        """An object that was replaced or removed since it was inspected is not withdrawn."""
        await self.stored(KEY, b"wrong")
        found = await self.driver.inspect(KEY)
        await self.driver.put(KEY, b"right")
        self.assertFalse(await found.withdraw(ASIDE))
        self.assertFalse(await found.withdraw(None))
        self.assertEqual(await self.content(KEY), b"right")
        await self.driver.delete(KEY)
        self.assertFalse(await found.withdraw(None))
        found.close()
        self.assertIsNone(await self.driver.stat(ASIDE))

    @running
    async def test_removed_while_it_is_read(self) -> None:
        """An object that is removed while it is inspected can be read further, or says that it cannot."""
        await self.stored(KEY, b"0123456789")
        found = await self.driver.inspect(KEY)
        await self.driver.delete(KEY)
        with suppress(StoreError):
            self.assertEqual(await found.read(0, 4), b"0123")
        found.close()
