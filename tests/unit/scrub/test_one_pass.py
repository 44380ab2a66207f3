"""One pass over a store in memory."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import CancelledError

from oci_registry.scrub.nouns import Kind, Outcome
from oci_registry.scrub.one_pass import PassLimits
from oci_registry.scrub.pace import LEAST
from oci_registry.scrub.quarantine import QuarantineLimits
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import QUARANTINE, blob_key, referrers_key
from oci_registry.storage.open_blob import CorruptBlob, Withdrawn
from oci_registry.storage.referrers import KeptReferrers
from oci_registry.storage.tags import TagRecord
from tests.unit.scrub.support import REPOSITORY, ScrubTestCase
from tests.unit.storage.support import HOST


class Finding(ScrubTestCase):
    """What a pass finds, and what it does about it."""

    def test_right(self) -> None:
        """Right content is counted, and stays."""
        self.blob(b"right")
        self.blob(b"")
        self.manifest()
        progress = self.scrub()
        counts = progress.counts
        self.assertEqual((4, 2, 0), (counts.objects, counts.blobs, counts.found))
        self.assertEqual(self.clock.seconds(), progress.ended)
        self.assertEqual(progress, self.saved[-1])
        self.assertEqual(
            [Kind.BLOB, Kind.BLOB, Kind.MANIFEST, Kind.TAG],
            [kind for kind, _ in self.noted.objects],
        )
        self.assertEqual([], self.mender.asked)

    def test_wrong(self) -> None:
        """Wrong, short and long blobs are moved to the quarantine, and fetched again."""
        for stored in (b"wrong", b"righ", b"rightt", b""):
            digest = self.blob(b"right", stored)
            self.totals.objects, self.totals.size = 1, len(stored)
            key = blob_key(digest)
            self.mender.content[key] = b"right"
            counts = self.scrub().counts
            self.assertEqual((1, 1, 1), (counts.found, counts.quarantined, counts.restored))
            self.assertEqual(stored, self.at(f"{QUARANTINE}/{key}"))
            self.assertEqual(b"right", self.at(key))
            self.assertEqual((0, 0), (self.totals.objects, self.totals.size))
        fault = self.noted.faults[0]
        self.assertEqual(Outcome.QUARANTINED, fault.outcome)
        self.assertEqual(("example.com/library/app:1",), fault.images)
        self.assertIn(f"it has 5 bytes and the digest {Digest.of(b'wrong')}", fault.reason)

    def test_removed(self) -> None:
        """Without a quarantine, and if there is no room in it, wrong blobs are removed."""
        for quarantine in (None, QuarantineLimits(objects=0), QuarantineLimits(size=4)):
            digest = self.blob(b"right", b"wrong")
            counts = self.scrub(quarantine=quarantine).counts
            self.assertEqual(
                (1, 0, 1, 0), (counts.found, counts.quarantined, counts.removed, counts.restored)
            )
            self.assertIsNone(self.at(blob_key(digest)))
            self.assertEqual([], self.listed(self.driver.list(QUARANTINE)))

    def test_readers(self) -> None:
        """A reader that has had a part fails; one that has had nothing gets the blob from elsewhere."""
        digest = self.blob(b"right", b"wrong")
        begun = self.result(self.blobs.open(digest))
        waiting = self.result(self.blobs.open(digest))
        assert begun is not None and waiting is not None
        source, other = begun.source(0, 5), waiting.source(0, 5)
        source.read(2)
        self.scrub()
        self.assertRaises(CorruptBlob, source.read, 2)
        self.assertRaises(Withdrawn, other.read, 2)
        self.assertIsNone(self.result(self.blobs.open(digest)))
        self.assertIsNone(self.result(self.blobs.size(digest)))
        source.close()
        other.close()
        self.blob(b"right")
        again = self.result(self.blobs.open(digest))
        assert again is not None
        self.assertEqual(b"right", again.source(0, 5).read(5))

    def test_foreign_file(self) -> None:
        """A blob that another program has written counts when it is ten minutes old."""
        digest = self.blob(b"right", b"righ", sealed=False)
        self.assertEqual(0, self.scrub().counts.found)
        self.clock.advance(601)
        self.assertEqual(1, self.scrub().counts.found)
        self.assertIsNone(self.at(blob_key(digest)))

    def test_malformed(self) -> None:
        """A manifest without what belongs to it is malformed; the message names nothing of Python."""
        self.spoil(self.manifest_key(self.manifest()), b"{}\n{}")
        self.scrub()
        self.assertEqual("it is malformed", self.noted.faults[0].reason)

    def test_records(self) -> None:
        """Wrong records are stored again from memory, and otherwise they go."""
        for in_memory in (True, False):
            manifest = self.manifest()
            record = self.result(self.tags.get(HOST, REPOSITORY, "1"))
            self.manifests.remember(HOST, manifest)
            keys = (self.manifest_key(manifest), self.tag_key)
            right = [self.at(key) for key in keys]
            if not in_memory:
                self.restart()
            for key in keys:
                self.spoil(key)
            counts = self.scrub().counts
            expected = (2, 2, 2) if in_memory else (2, 2, 0)
            self.assertEqual(expected, (counts.found, counts.quarantined, counts.restored))
            found = [self.at(key) for key in keys]
            self.assertEqual(right if in_memory else [None, None], found)
            self.assertIsNotNone(record)

    def test_large_records(self) -> None:
        """A record that is larger than any can be is wrong, and is not read."""
        self.manifest()
        self.spoil(self.tag_key, b"x" * 5000)
        self.assertEqual(1, self.scrub().counts.found)

    def test_referrers(self) -> None:
        """A list of referrers that cannot be parsed goes, and is stored when it comes again."""
        digest = Digest.of(b"subject")
        kept = KeptReferrers(b'{"manifests":[]}', self.clock.seconds())
        self.result(self.referrers.put(HOST, REPOSITORY, digest, kept))
        self.assertEqual(0, self.scrub().counts.found)
        key = referrers_key(HOST, REPOSITORY, digest)
        for wrong in (b"", b"{}\n{}", b'{"checked":1}\n{"manifests":', b'{"checked":1}\n[]'):
            self.spoil(key, wrong)
            self.assertEqual(1, self.scrub().counts.found, wrong)
            self.assertIsNone(self.at(key))
            self.assertFalse(self.referrers.is_kept(HOST, REPOSITORY, digest, kept))

    def test_dangling(self) -> None:
        """A tag whose manifest is missing is counted, unless memory has the manifest."""
        manifest = self.manifest()
        self.manifests.remember(HOST, manifest)
        key = self.manifest_key(manifest)
        self.successResultOf(self.driver.delete(key))
        self.assertEqual((0, 0), (self.scrub().counts.dangling, len(self.noted.faults)))
        self.assertIsNotNone(self.at(key))
        self.restart()
        self.successResultOf(self.driver.delete(key))
        self.assertEqual((1, 0), (self.scrub().counts.dangling, len(self.noted.faults)))

    def test_others(self) -> None:
        """Files that are nothing of ours are neither read nor counted."""
        for key in ("blobs/sha256/ab/nothing", "blobs/README", "repositories/x", "quarantine/x"):
            self.spoil(key)
        self.assertEqual(0, self.scrub().counts.objects)

    def test_fetched_at_most(self) -> None:
        """Only so many objects are fetched again in one pass."""
        digests = [self.blob(b"%d" % number, b"wrong") for number in range(5)]
        self.mender.content = {blob_key(digest): b"right" for digest in digests}
        counts = self.scrub(limits=PassLimits(fetched=2)).counts
        self.assertEqual((5, 2), (counts.found, counts.restored))


class Trouble(ScrubTestCase):
    """Stores that fail, and objects that change meanwhile."""

    def test_broken_store(self) -> None:
        """A pass over a store that fails stops with its error; nothing is lost."""
        self.blob(b"right")
        self.driver.broken = "broken"
        self.failureResultOf(self.begin(self.make()), StoreError)

    def test_not_moved(self) -> None:
        """What cannot be moved away is not served, and that is reported."""
        digest = self.blob(b"right", b"wrong")

        def refuse(*_: object) -> bool:
            raise StoreError("read-only")

        self.patch(self.driver, "withdraw", refuse)
        counts = self.scrub().counts
        self.assertEqual(
            (1, 0, 0, 0), (counts.found, counts.quarantined, counts.removed, counts.restored)
        )
        (fault,) = self.noted.faults
        self.assertEqual((Outcome.LEFT, "read-only"), (fault.outcome, fault.problem))
        self.assertIsNone(self.result(self.blobs.open(digest)))
        self.assertIsNone(self.result(self.blobs.size(digest)))
        self.assertTrue(self.blobs.is_withdrawn(digest))
        # A download has stored it.
        self.blob(b"right")
        self.blobs.committed(digest, 5)
        self.assertEqual(5, self.result(self.blobs.size(digest)))

    def test_replaced(self) -> None:
        """An object that is replaced while it is read is not reported."""
        digest = self.blob(b"right", b"wrong")
        admit = self.driver.list

        def replace(prefix: str) -> object:
            if prefix == QUARANTINE:
                self.blob(b"right")
            return admit(prefix)

        self.patch(self.driver, "list", replace)
        counts = self.scrub().counts
        self.assertEqual((1, 0), (counts.objects, counts.found))
        self.assertEqual(5, self.result(self.blobs.size(digest)))

    def test_changed(self) -> None:
        """A corrupt object whose times have changed meanwhile is checked again, and moved."""
        digest = self.blob(b"right", b"wrong")
        withdraw, changed = self.driver.withdraw, [True]

        def refuse_once(*args: Any) -> bool:
            return False if changed and changed.pop() else withdraw(*args)

        self.patch(self.driver, "withdraw", refuse_once)
        counts = self.scrub().counts
        self.assertEqual((1, 1, 1), (counts.objects, counts.found, counts.quarantined))
        self.assertIsNone(self.at(blob_key(digest)))

    def test_written_meanwhile(self) -> None:
        """Records that another process writes as soon as corrupt ones are moved away stay."""
        manifest = self.manifest()
        right = self.at(self.tag_key)
        digest = Digest.of(b"subject")
        key = referrers_key(HOST, REPOSITORY, digest)
        for memory in (False, True):
            kept = KeptReferrers(b'{"manifests":[]}', self.clock.seconds())
            self.result(self.referrers.put(HOST, REPOSITORY, digest, kept))
            if not memory:
                self.restart()
            later = TagRecord(manifest.digest, "later", self.clock.seconds()).to_json()
            new = {self.tag_key: later, key: self.at(key) or b""}
            self.spoil(self.tag_key)
            self.spoil(key)
            withdraw = self.driver.withdraw

            def replace(key: str, *args: Any) -> bool:
                moved = withdraw(key, *args)  # noqa: B023 - it is called in this round
                self.spoil(key, new[key])  # noqa: B023
                return moved

            self.patch(self.driver, "withdraw", replace)
            self.assertEqual(2, self.scrub().counts.quarantined)
            self.assertEqual(new, {each: self.at(each) for each in new})
            record = self.result(self.tags.get(HOST, REPOSITORY, "1"))
            assert record is not None
            self.assertEqual("later", record.media_type)
            self.assertFalse(self.referrers.is_kept(HOST, REPOSITORY, digest, kept))
            self.patch(self.driver, "withdraw", withdraw)
            assert right is not None
            self.spoil(self.tag_key, right)
            self.restart()
            self.result(self.tags.get(HOST, REPOSITORY, "1"))


class Going(ScrubTestCase):
    """The pace, and passes that are interrupted."""

    def test_pace(self) -> None:
        """The bytes per second are kept; each object counts for a minimum."""
        self.blob(b"a")
        self.blob(b"b" * 3 * LEAST)
        self.manifest()
        self.checker._piece = LEAST // 16
        running = self.begin(self.make(), rate=LEAST)
        begun = self.clock.seconds()
        while not running.called:
            self.clock.advance(0.25)
        self.assertAlmostEqual(1 + 3 + 1 + 1, self.clock.seconds() - begun, delta=0.6)

    def test_interrupted(self) -> None:
        """A pass that is cancelled saves where it was, and another continues from there."""
        digests = sorted((self.blob(b"%d" % number) for number in range(10)), key=blob_key)
        whole = self.make()
        running = self.begin(whole, rate=LEAST)
        self.clock.pump([1.0] * 4)
        self.assertNoResult(running)
        done = whole.progress.counts.objects
        self.assertIn(done, (3, 4, 5))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(
            (blob_key(digests[done - 1]), ""), (self.saved[-1].after, self.saved[-1].owner)
        )
        self.noted.objects.clear()
        progress = self.scrub(progress=evolve(self.saved[-1], owner="other"))
        self.assertEqual((10, 10 - done), (progress.counts.objects, len(self.noted.objects)))

    def test_positions(self) -> None:
        """A pass continues in the middle of the blobs, between them and the records, and behind all."""
        self.blob(b"a")
        manifest = self.manifest()
        for after, expected in (
            ("", 3),
            ("blobs/zzz", 2),
            (self.manifest_key(manifest), 1),
            (self.tag_key, 0),
        ):
            progress = evolve(self.make().progress, after=after)
            self.assertEqual(expected, self.scrub(progress=progress).counts.objects, after)

    def test_saving(self) -> None:
        """The progress is saved at times, not after each object."""
        for number in range(10):
            self.blob(b"%d" % number)
        running = self.begin(self.make(limits=PassLimits(saving=4.0)), rate=LEAST)
        self.clock.pump([1.0] * 11)
        self.successResultOf(running)
        self.assertEqual(3, len(self.saved))
