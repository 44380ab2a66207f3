"""The largest images, and those that were pulled most."""

from __future__ import annotations

from twisted.internet.defer import ensureDeferred, gatherResults

from oci_registry.account.books import Books
from oci_registry.account.catalogue import manifest_entry
from oci_registry.account.queries import Query
from oci_registry.account.ranking import Measure, measured
from oci_registry.management.index import DaemonIndex
from oci_registry.management.pinned import Pinned
from oci_registry.management.problems import NotReady
from oci_registry.management.ranking import KEPT, FirstImages, Rank, Ranking
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import manifest_key
from tests.unit.account.support import HUB, OWN
from tests.unit.management.support import ManagementTestCase


class CountingIndex(DaemonIndex):
    """Counts questions."""

    asked = 0

    async def ask(self, query: Query[object]) -> object:  # type: ignore[override]
        self.asked += 1
        return await super().ask(query)


class Rankings(ManagementTestCase):
    """A store, all of whose images are compared."""

    def setUp(self) -> None:
        super().setUp()
        self.index = CountingIndex(self.account)
        self.ranking = Ranking(self.index, self.pinned, self.clock.seconds)

    async def pinned(self) -> Pinned:
        return Pinned(await self.management._pins.all(), self.rules.pinned)

    def first(self) -> FirstImages:
        return self.result(self.ranking.first())

    def names(self, rank: Rank) -> list[str]:
        return [image.name for image in self.first().images[rank]]

    def store(self, name: str, size: int, pulls: int = 0) -> Digest:
        """Store an image of about *size* bytes that was pulled so often."""
        digest = self.manifest(self.blob(name.encode().ljust(size)))
        self.name(name, digest)
        self.successResultOf(self.account.flush())
        for _ in range(pulls):
            self.clock.advance(100)
            self.account.used(manifest_key(HUB, digest), self.clock.seconds())
            self.successResultOf(self.account.flush())
        return digest

    def test_orders(self) -> None:
        """Each order has its own first images, described as in the list."""
        self.store("a:1", 100, pulls=3)
        self.store("b:1", 5000)
        self.store("c:1", 900, pulls=9)
        names = [f"docker.io/library/{name}:1" for name in "abc"]
        self.assertEqual([names[1], names[2], names[0]], self.names(Rank.SIZE))
        # An image that was only stored, and never pulled again, is not among them.
        self.assertEqual([names[2], names[0]], self.names(Rank.PULLS))
        first = self.first()
        self.assertEqual((9, True), (first.images[Rank.PULLS][0].pulls, first.whole))

    def test_few(self) -> None:
        """Of many images, whose numbers come in any order, the first twenty are known."""
        sizes = [1000 + (number * 37) % 101 * 10 for number in range(60)]
        for number, size in enumerate(sizes):
            self.store(f"x{number}:1", size)
        found = self.first().images[Rank.SIZE]
        self.assertEqual(KEPT, len(found))
        best = sorted(range(60), key=lambda number: -sizes[number])[:KEPT]
        self.assertEqual(
            {f"docker.io/library/x{number}:1" for number in best}, {image.name for image in found}
        )
        self.assertEqual(sorted(-image.size for image in found), [-i.size for i in found])

    def test_kept(self) -> None:
        """A caller that asks again within a minute gets the same answer at no cost; later another one."""
        self.store("a:1", 100)
        before = self.first()
        asked = self.index.asked
        self.store("b:1", 100)
        self.clock.advance(59)
        self.assertIs(before, self.first())
        self.assertEqual(asked, self.index.asked)
        self.clock.advance(2)
        self.assertEqual(2, len(self.names(Rank.SIZE)))

    def test_clock_back(self) -> None:
        """An answer of a time that has not come yet is not used."""
        before = self.first()
        self.clock.rightNow -= 1000
        self.assertIsNot(before, self.first())

    def test_large_store(self) -> None:
        """What took long to find holds for a hundred times as long."""
        ask = self.index.ask

        async def slow(query: Query[object]) -> object:
            self.clock.rightNow += 1
            return await ask(query)

        self.index.ask = slow  # type: ignore[method-assign]
        before = self.first()
        self.clock.advance(90)
        self.assertIs(before, self.first())

    def test_together(self) -> None:
        """Those that ask at the same time wait for the same answer."""
        self.store("a:1", 100)
        both = gatherResults([ensureDeferred(self.ranking.first()) for _ in range(2)])
        one, other = self.successResultOf(both)
        self.assertIs(one, other)

    def test_steps(self) -> None:
        """No question looks at more than a bounded number of manifests."""
        rows: list[int] = []
        for number in range(450):
            self.manifest(self.blob(b"%d" % number))
        self.successResultOf(self.account.flush())
        ask = self.index.ask

        async def watching(query: Query[object]) -> object:
            def watched(books: Books) -> object:
                steps = [0]
                books.sql.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 1000)
                try:
                    return query(books)
                finally:
                    books.sql.set_progress_handler(None, 0)
                    rows.append(steps[0])

            return await ask(watched)

        self.index.ask = watching  # type: ignore[method-assign]
        self.first()
        # Thousands of instructions of SQLite for 200 manifests.
        self.assertLess(max(rows), 60)

    def test_no_account(self) -> None:
        """Without an account it is not known."""
        ranking = Ranking(DaemonIndex(None), self.pinned, self.clock.seconds)
        self.failureResultOf(ensureDeferred(ranking.first()), NotReady)


class Measures(ManagementTestCase):
    """Numbers of images, for the orders of a list."""

    def ask(self, measure: Measure, *digests: Digest, host: str = HUB) -> list[float | None]:
        """Return the number of each manifest."""
        self.successResultOf(self.account.flush())
        entries = [
            self.successResultOf(self.account.ask(lambda b, d=one: manifest_entry(b, host, d)))
            for one in digests
        ]
        numbers = [entry.number for entry in entries]
        found = self.successResultOf(self.account.ask(measured([*numbers, 10**9], measure)))
        self.assertEqual(set(numbers), set(found))
        return [found[number] for number in numbers]

    def test_size(self) -> None:
        """Each blob counts once, below indexes of indexes too; what another registry has does not count."""
        shared, own = self.blob(b"shared" * 1000), self.blob(b"own" * 500)
        first, second = self.manifest(shared), self.manifest(shared, own)
        index = self.index_of(first, second)
        deep = self.index_of(index, first)
        elsewhere = self.index_of(first, host=OWN)
        top = self.index_of(elsewhere)
        sizes = {
            one: len(self.driver._objects[manifest_key(host, one)][0])
            for one, host in ((first, HUB), (second, HUB), (index, HUB), (deep, HUB), (top, HUB))
        }
        both = 6000 + 1500 + sizes[first] + sizes[second]
        self.assertEqual(
            [
                sizes[first] + 6000,
                sizes[second] + 7500,
                sizes[index] + both,
                sizes[deep] + sizes[index] + both,
                sizes[top],
            ],
            self.ask(Measure.SIZE, first, second, index, deep, top),
        )

    def test_times(self) -> None:
        """When it was stored, and when it was used last."""
        began = self.clock.seconds()
        digest = self.manifest(self.blob(b"a"))
        self.successResultOf(self.account.flush())
        self.clock.advance(100)
        self.account.used(manifest_key(HUB, digest), self.clock.seconds())
        self.assertEqual([began], self.ask(Measure.ADDED, digest))
        self.assertEqual([began + 100], self.ask(Measure.USED, digest))
