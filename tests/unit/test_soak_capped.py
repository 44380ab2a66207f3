"""What a soak with a limit looks at, and its bounds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.soak.afterwards import Afterwards
from tests.soak.capped_figures import MUST, CappedFigures
from tests.soak.damage import Damage, is_right, spoil, stored_blobs
from tests.soak.images import EDGE, MOVES, MOVING, Image, Images
from tests.soak.log import errors_in
from tests.soak.watching import NAMESPACE, DiskUse, Kept

CAP = 1000


class Bounds(SynchronousTestCase):
    """What makes a run a failure."""

    def setUp(self) -> None:
        self.good = CappedFigures(
            CAP,
            Counter(dict.fromkeys(MUST, 1)),
            most=CAP,
            kept_looks=1,
            afterwards=Afterwards(answered=3, whole=3),
        )

    def only(self, word: str, **shown: Any) -> None:
        (sentence,) = evolve(self.good, **shown).broken()
        self.assertIn(word, sentence)

    def test_good(self) -> None:
        """Nothing is wrong with a run that kept the limit and lost nothing."""
        self.assertEqual([], self.good.broken())
        self.assertTrue(self.good.lines())
        self.assertEqual([], self.good.details())

    def test_limit(self) -> None:
        """One byte more than the limit is too much, and a store that is half empty shows nothing."""
        self.only("1 more than the limit", most=CAP + 1)
        self.only("only 600 of 1000", most=600)

    def test_content(self) -> None:
        """A run in which anything is lost, damaged, incomplete or answered wrongly is a failure."""
        for name, word in (
            ("gone", "1 files were gone"),
            ("left", "not found by a scrub"),
            ("corrupt", "corrupt in the end"),
            ("wrong", "answers to the operator"),
            ("errors", "errors in the daemon's log"),
        ):
            self.only(word, **{name: ["x"]})
        self.only("held tags", seen=Counter({"wrong digests of held tags": 1}))
        self.only("not whole", afterwards=Afterwards(answered=1, incomplete=["x"]))
        self.only("no tag was answered", afterwards=Afterwards())
        self.only("pinned or held was ever looked at", kept_looks=0)

    def test_done(self) -> None:
        """Each thing must have been done at least once."""
        for name in MUST:
            self.only(name, counts=Counter(dict.fromkeys(set(MUST) - {name}, 1)))

    def test_log(self) -> None:
        """Errors in the log count, but for those that the damage explains."""
        lines = [
            "t info error x",
            "t warn y",
            "t error blob z is corrupt: w",
            "t error q",
            "error r",
        ]
        self.assertEqual(["t error q"], errors_in("\n".join(lines)))


class StoreTestCase(SynchronousTestCase):
    """The files of an image in a store."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.blob = Digest.of(b"some content")
        self.file = self.put(blob_key(self.blob), b"some content")
        self.damage = Damage(self.root, Random(1), Counter())
        self.image = Image("library/x", "1", b"{}", Digest.of(b"{}"), (self.blob,))

    def put(self, key: str, data: bytes) -> Path:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
        return path


class Damages(StoreTestCase):
    """Stored blobs that get wrong."""

    def test_spoil(self) -> None:
        """One byte, or the end, is wrong then; times and permissions are as before."""
        before = self.file.stat()
        spoil(self.file, 3, truncate=False)
        self.assertEqual(b"some content", self.file.read_bytes().replace(b"\x9a", b"e"))
        self.assertFalse(is_right(self.root, self.blob))
        spoil(self.file, 3, truncate=True)
        self.assertEqual(b"som", self.file.read_bytes())
        after = self.file.stat()
        self.assertEqual((before.st_mode, before.st_mtime_ns), (after.st_mode, after.st_mtime_ns))

    def test_excused(self) -> None:
        """Wrong bytes are excused until the end of the scrub that begins after the damage."""
        self.assertEqual([self.blob], stored_blobs(self.root))
        self.assertFalse(self.damage.excuses(self.blob, 9.0))
        self.assertEqual(self.blob, self.damage.harm(10.0))
        self.assertIsNone(self.damage.harm(11.0))
        healed = Deferred.fromCoroutine(self.damage.healed(self.blob))
        self.damage.scrubbed(9.0, 12.0)
        self.assertNoResult(healed)
        self.file.unlink()
        self.damage.scrubbed(11.0, 13.0)
        self.successResultOf(healed)
        excused = [self.damage.excuses(self.blob, began) for began in (12.9, 13.1)]
        self.assertEqual([True, False], excused)
        self.assertEqual([], self.damage.left)
        self.damage.look()
        self.assertEqual({self.blob}, self.damage.ever)
        self.put(blob_key(self.blob), b"some content")
        self.damage.look()
        self.assertEqual(set(), self.damage.ever)

    def test_not_found(self) -> None:
        """A scrub that leaves the damage where it is has failed."""
        self.damage.harm(10.0)
        self.damage.scrubbed(11.0, 13.0)
        self.assertEqual([str(self.blob)], self.damage.left)


class Watched(StoreTestCase):
    """What must stay, and how much there is."""

    def test_kept(self) -> None:
        """What was seen of a pinned image, once its tag was stored, must stay, but for what is damaged."""
        kept = Kept(self.root, self.damage)
        kept.add("x", self.image)
        manifest = self.put(manifest_key(NAMESPACE, self.image.digest), b"{}")
        kept.look()
        manifest.unlink()
        kept.look()
        self.put(manifest_key(NAMESPACE, self.image.digest), b"{}")
        self.put(tag_key(NAMESPACE, "library/x", "1"), b"{}")
        kept.look()
        kept.look()
        self.damage.harm(1.0)
        self.file.unlink()
        kept.look()
        self.assertEqual([], kept.gone)
        self.damage.scrubbed(2.0, 3.0)
        kept.look()
        self.put(blob_key(self.blob), b"some content")
        kept.look()
        self.file.unlink()
        kept.look()
        self.assertEqual([f"x: {blob_key(self.blob)}"], kept.gone)

    def test_disk_use(self) -> None:
        """What was there at two looks counts, in blocks, and apart from it what is being written."""
        use = DiskUse(self.root)
        use.look()
        self.assertEqual((0, 0), (use.most, use.most_written))
        self.put("transfers/x", bytes(5000))
        use.look()
        self.assertEqual((4096, 8192), (use.most, use.most_written))


class Moving(SynchronousTestCase):
    """Tags that mean another image after some time."""

    def test_edge(self) -> None:
        """Some repositories have such a tag, which moves at the same time for everyone."""
        images = Images(1, MOVING + 10)
        first, again, second = (
            images.edge("library/app-1", when) for when in (0.0, MOVES - 1, MOVES)
        )
        assert first is not None
        assert second is not None
        self.assertEqual((first, EDGE), (again, first.tag))
        self.assertNotEqual(first.digest, second.digest)
        self.assertEqual("library/app-1", second.repository)
        found = images.by_digest(second.digest)
        assert found is not None
        self.assertEqual(second.blobs, found.blobs)
        self.assertIsNone(images.edge("library/app-199", 0.0))
