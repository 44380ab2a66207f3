"""What every storage driver must do when folders are listed."""

from __future__ import annotations

from random import Random

from tests.contract import base
from tests.support.daemon import running

NAMES = (
    *("a", "a-b", "a.b", "a/b", "a/b/c", "a/0", "a0", "a-b/c", "a-b.c", "aa", "b", "b/c-d", "b/c"),
    *("!a", "!a/b", "a!b", "x/y/z", "x/y", "x-1", "x-1/y", "x_1", "x1"),
)


class MarkedContract(base.DriverTestCase):
    """The contract of `IDriver.marked`."""

    async def pages(self, limit: int, prefix: str = "top") -> list[str]:
        """Return all folders, page by page."""
        found: list[str] = []
        more = True
        while more:
            last = found[-1] if found else ""
            page, more = await self.driver.marked(prefix, "_tags", last, limit)
            self.assertTrue(1 <= len(page) <= limit or not more)
            found += page
        return found

    @running
    async def test_marked_folders(self) -> None:
        """All that have something in the folder are found, sorted by their names, in pages of any size."""
        names = list(NAMES)
        Random(1).shuffle(names)
        for name in names:
            await self.driver.put(f"top/{name}/_tags/1", b"")
        await self.driver.put("top/a/_tags/2", b"")
        for key in (
            "top/_tags/1",
            "top/n/_other/1",
            "top/n/x",
            "top/_m/sha256/ab/c",
            "topp/q/_tags/1",
        ):
            await self.driver.put(key, b"")
        for limit in (1, 2, 3, 7, 100):
            self.assertEqual(sorted(NAMES), await self.pages(limit))
        self.assertEqual(["0", "b", "b/c"], await self.pages(9, "top/a"))

    @running
    async def test_marked_after(self) -> None:
        """What comes after need not be there; nothing is found where there is nothing."""
        self.assertEqual(([], False), await self.driver.marked("top", "_tags", "", 5))
        for name in NAMES:
            await self.driver.put(f"top/{name}/_tags/1", b"")
        for last in (*NAMES, "a-", "a/", "a/b/", "a-b/b", "x/z", "zz", "A", "a-b.c/d", "~"):
            page, more = await self.driver.marked("top", "_tags", last, 3)
            expected = [name for name in sorted(NAMES) if name > last]
            self.assertEqual((expected[:3], len(expected) > 3), (list(page), more), last)
        await self.driver.delete("top/a/_tags/1")
        page, _ = await self.driver.marked("top", "_tags", "", 100)
        self.assertNotIn("a", page)

    @running
    async def test_many_marks(self) -> None:
        """A folder with many objects is one folder."""
        for number in range(30):
            await self.driver.put(f"top/a/_tags/{number}", b"")
            await self.driver.put(f"top/a/_more/{number}", b"")
        await self.driver.put("top/b/_tags/1", b"")
        self.assertEqual(["a", "b"], await self.pages(1))
