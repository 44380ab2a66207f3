"""Which tags of a repository are the newest, and what is kept for them."""

from __future__ import annotations

from oci_registry.account.books import RETAGGED, Books
from oci_registry.account.catalogue import is_among_newest
from oci_registry.account.images import count_queued, heads, move
from oci_registry.account.newest import NewestTags, keep_newest
from oci_registry.account.nouns import NEWEST, PROBATION
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import manifest_key, tag_key
from tests.unit.account.support import HUB, OWN, AccountTestCase


class NewestTestCase(AccountTestCase):
    """Images whose names are numbers."""

    def put(self, name: str, repository: str = "a/b", host: str = HUB) -> Digest:
        """Store an image with a tag."""
        image = self.image(Digest.of(name.encode()), host=host)
        self.tag(name, image, host, repository)
        self.clock.advance(1)
        return image

    def newest(self, count: int, host: str = HUB) -> list[str]:
        """Return the tags whose images are among the newest."""

        def query(books: Books) -> list[str]:
            rows = books.sql.execute(
                "SELECT t.tag, t.content, r.host FROM tags t JOIN repositories r ON r.id=t.repository"
                " JOIN hosts h ON h.id=r.host WHERE t.current AND h.name=? ORDER BY t.tag",
                (host,),
            ).fetchall()
            return [
                tag
                for tag, content, number in rows
                if is_among_newest(books, number, content, count)
            ]

        return self.ask(query)


class Order(NewestTestCase):
    """Which tags are the newest."""

    def test_first_seen(self) -> None:
        """The tags that were first seen last are the newest, in each repository."""
        for name in "312":
            self.put(name)
        self.put("4", "c/d")
        self.put("0", host=OWN)
        self.assertEqual([[], ["2", "4"], ["1", "2", "4"]], [self.newest(n) for n in (0, 1, 2)])
        self.assertEqual(["0"], self.newest(1, OWN))

    def test_confirmed(self) -> None:
        """To be confirmed makes no tag newer, also if the account has to be rebuilt."""
        first = self.put("1")
        self.put("2")
        self.tag("1", first, first=self.clock.seconds() - 2)
        self.assertEqual(["2"], self.newest(1))
        self.begin(self.mktemp())
        self.assertEqual(["2"], self.newest(1))

    def test_moved(self) -> None:
        """A tag that has moved is a new one."""
        self.put("1")
        self.put("2")
        self.tag("1", self.image(Digest.of(b"other")))
        self.assertEqual(["1"], self.newest(1))

    def test_same_moment(self) -> None:
        """Of tags that were seen at the same moment, the last one by name is the newest."""
        for name in "132":
            self.tag(name, self.image(Digest.of(name.encode())))
        self.assertEqual([["3"], ["2", "3"]], [self.newest(n) for n in (1, 2)])

    def test_removed(self) -> None:
        """A tag that was removed makes room for the next."""
        self.put("1")
        self.put("2")
        self.successResultOf(self.observed.delete(tag_key(HUB, "a/b", "2")))
        self.assertEqual(["1"], self.newest(1))

    def test_index(self) -> None:
        """What an image of one of the newest tags names belongs to it."""
        child = self.image(Digest.of(b"layer"))
        self.tag("1", self.image(child, index=True))

        def query(books: Books) -> bool:
            number = books.known_content(child)
            host = books.known_host(HUB)
            assert number is not None
            assert host is not None
            return is_among_newest(books, host, number, 1)

        self.assertTrue(self.ask(query))


class Queue(NewestTestCase):
    """The queue of what is kept for the newest tags."""

    def keep(self, image: Digest) -> None:
        """Put an image into the queue, as an eviction does."""
        self.ask(keep_newest(NewestTags({HUB: 1})))
        found = self.ask(heads(0.0, lambda _: False))
        (one,) = [one for one in found.manifests.values() if one.digest == image]
        assert one.newest is not None
        self.ask(move([], [(one.number, one.newest)], [], found.tag_changes))
        self.assertEqual(1, self.queued())

    def queued(self) -> int:
        """Return how many images are in the queue."""
        return self.ask(count_queued(newest=True)) - self.ask(count_queued(newest=False))

    def test_new_tag(self) -> None:
        """With a new tag of the repository, an image is judged again; with one of another, it is not."""
        self.keep(self.put("1"))
        self.put("1", "c/d")
        self.put("1", host=OWN)
        self.assertEqual(1, self.queued())
        self.put("2")
        self.assertEqual(0, self.queued())
        self.assertEqual([(None,)] * 3, self.rows("manifests", "kept_for"))

    def test_moved_tag(self) -> None:
        """An image is judged again when its tag moves, or is removed."""
        image = self.put("1")
        self.keep(image)
        self.tag("1", Digest.of(b"elsewhere"))
        self.assertEqual(0, self.queued())
        self.tag("1", image)
        self.keep(image)
        self.successResultOf(self.observed.delete(tag_key(HUB, "a/b", "1")))
        self.assertEqual(0, self.queued())

    def test_meanwhile(self) -> None:
        """An image is not put into the queue if its repository got a new tag while an eviction went on."""
        self.put("1")
        self.put("x", "c/d")
        self.ask(keep_newest(NewestTags({HUB: 1})))
        found = self.ask(heads(0.0, lambda _: False))
        newest = [(n, one.newest) for n, one in found.manifests.items() if one.newest is not None]
        self.put("2")
        # To look at it does not make a difference.
        self.ask(heads(0.0, lambda _: False))
        self.ask(move([], newest, [], found.tag_changes))
        self.assertEqual((2, 1), (len(newest), self.queued()))

    def test_left_meanwhile(self) -> None:
        """An image that has left the queue during an eviction is not returned to it by a further turn."""
        self.keep(self.put("1"))
        (number,) = self.ask(heads(0.0, lambda _: False, newest=True)).newest
        self.put("2")
        self.ask(move([(number, NEWEST, 0)], [], []))
        self.assertEqual((0, [(PROBATION,)] * 2), (self.queued(), self.rows("manifests", "queue")))

    def test_many_meanwhile(self) -> None:
        """The repositories whose tags have changed are bounded: beyond that it may have been any."""

        def check(books: Books) -> None:
            start = books.tag_changes
            for repository in range(101, 101 + RETAGGED):
                books._judge_again(repository)
            now = books.tag_changes
            self.assertEqual(
                (True, False), (books.is_retagged(101, start), books.is_retagged(7, start))
            )
            books._judge_again(50_000)
            self.assertTrue(books.is_retagged(7, start))
            self.assertEqual(
                (False, True), (books.is_retagged(7, now), books.is_retagged(50_000, now))
            )
            self.assertLessEqual(len(books._retagged), RETAGGED)

        self.ask(check)

    def test_other_tag_removed(self) -> None:
        """What is in the queue stays there when an older tag is removed, as by an eviction."""
        self.put("1")
        self.keep(self.put("2"))
        self.successResultOf(self.observed.delete(tag_key(HUB, "a/b", "1")))
        self.assertEqual(1, self.queued())

    def test_confirmed(self) -> None:
        """It is not when its tag is confirmed."""
        image = self.put("1")
        self.keep(image)
        self.tag("1", image)
        self.assertEqual(1, self.queued())

    def test_removed(self) -> None:
        """An image that has gone is not in the queue."""
        image = self.put("1")
        self.keep(image)
        self.successResultOf(self.observed.delete(manifest_key(HUB, image)))
        self.assertEqual(0, self.queued())

    def test_other_number(self) -> None:
        """If another number of tags is kept, images of the registry are judged anew, also after a restart."""
        self.keep(self.put("1"))
        for newest in (NewestTags({HUB: 1}), NewestTags({OWN: 3}, 1)):
            self.ask(keep_newest(newest))
            self.assertEqual(1, self.queued())
        self.crash()
        self.ask(keep_newest(NewestTags({HUB: 1})))
        self.assertEqual(1, self.queued())
        self.ask(keep_newest(NewestTags({HUB: 2})))
        self.assertEqual([(PROBATION,)], self.rows("manifests", "queue"))

    def test_bounded(self) -> None:
        """No question looks at all tags, or at all images: it costs as much in a large store."""
        self.keep(self.put("1"))
        self.put("1", "c/d")
        found = self.plans(heads(0.0, lambda _: False, newest=True))
        self.assertIn("INDEX tags_newest (repository=? AND (first,tag)>(?,?))", found)
        self.assertNotIn("TEMP B-TREE", found)
        # The registries, the least recently used blobs up to a limit, and what a query has found.
        self.assertNotRegex(found, r"SCAN (?!hosts|json_each|\(subquery|blobs USING)")
        found = self.plans(lambda books: books._judge_again(7))
        self.assertEqual("SEARCH manifests USING INDEX manifests_kept_for (kept_for=?)", found)
        found = self.plans(keep_newest(NewestTags({HUB: 3})))
        self.assertIn("SEARCH manifests USING INDEX manifests_queue (queue=?)", found)
        self.assertNotRegex(found, "SCAN (?!hosts)")
