"""Objects that cannot be read, in a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oci_registry.scrub.nouns import Outcome
from oci_registry.scrub.one_pass import PassLimits, StoreBroken
from oci_registry.scrub.quarantine import QuarantineLimits
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError, StoreUnavailable
from oci_registry.storage.keys import QUARANTINE, blob_key
from tests.unit.scrub.support import ScrubTestCase


class Unreadable(ScrubTestCase):
    """Blobs of which some cannot be read."""

    def unreadable(self, *digests: Digest) -> None:
        self.driver.unreadable.update(map(blob_key, digests))

    def blobs_in_order(self, count: int) -> list[Digest]:
        digests = [self.blob(b"%d" % number) for number in range(count)]
        return sorted(digests, key=blob_key)

    def stored(self) -> Sequence[object]:
        return self.listed(self.driver.list("blobs"))

    def fail_reads(self, key: str, times: int, make: Callable[[str], StoreError]) -> None:
        """Make the next reads of an object fail."""
        read, left = self.driver.read, [None] * times

        def fail(where: str, data: bytes, offset: int, length: int) -> bytes:
            if where == key and left:
                left.pop()
                raise make("failed")
            return read(where, data, offset, length)

        self.patch(self.driver, "read", fail)

    def test_single(self) -> None:
        """An unreadable object is moved away once another one has been read, or the store is checked."""
        for last in (False, True):
            digests = self.blobs_in_order(4)
            self.driver.unreadable.clear()
            self.unreadable(digests[-1 if last else 1])
            counts = self.scrub().counts
            self.assertEqual((1, 1), (counts.found, counts.quarantined))
            self.assertIn("cannot be read", self.noted.faults[-1].reason)

    def test_short_failure(self) -> None:
        """What can be read again by the time that another object has been read is right, and stays."""
        for position in (1, 3):
            digests = self.blobs_in_order(4)
            self.fail_reads(blob_key(digests[position]), 2, StoreError)
            counts = self.scrub().counts
            self.assertEqual((4, 4, 0), (counts.objects, counts.blobs, counts.found))
            self.assertEqual(4, len(self.stored()))

    def test_short_failure_of_corrupt(self) -> None:
        """What can be read again, and is wrong, is moved away as corrupt."""
        self.blobs_in_order(3)
        wrong = self.blob(b"right", b"wrong")
        self.fail_reads(blob_key(wrong), 2, StoreError)
        counts = self.scrub().counts
        self.assertEqual((4, 1), (counts.objects, counts.quarantined))
        self.assertIn("it has 5 bytes and the digest", self.noted.faults[-1].reason)

    def test_failure_of_the_process(self) -> None:
        """An error that is not one of the object stops the pass before it; nothing is moved."""
        digests = self.blobs_in_order(4)
        self.fail_reads(blob_key(digests[2]), 1, StoreUnavailable)
        whole = self.make()
        self.failureResultOf(self.begin(whole), StoreUnavailable)
        self.assertEqual(blob_key(digests[1]), whole.progress.after)
        self.assertEqual(4, len(self.stored()))
        self.assertEqual(4, self.scrub(progress=self.saved[-1]).counts.objects)

    def test_never_removed(self) -> None:
        """What cannot be read is not removed for want of a quarantine: it stays, and is not served."""
        digests = self.blobs_in_order(3)
        key = blob_key(digests[1])
        self.unreadable(digests[1])
        self.spoil(f"{QUARANTINE}/evidence")
        for limits in (None, QuarantineLimits(objects=0), QuarantineLimits(size=0)):
            self.restart()
            counts = self.scrub(quarantine=limits).counts
            self.assertEqual((1, 0, 0), (counts.found, counts.quarantined, counts.removed))
            self.assertEqual(Outcome.LEFT, self.noted.faults[-1].outcome)
            self.assertIsNotNone(self.at(key))
            self.assertIsNone(self.result(self.blobs.size(digests[1])))
            self.assertIsNotNone(self.at(f"{QUARANTINE}/evidence"))
        self.assertEqual([], self.mender.asked)

    def test_replaced(self) -> None:
        """An unreadable object that another one has replaced meanwhile is left to the next pass."""
        digests = self.blobs_in_order(3)
        self.unreadable(digests[0])
        self.patch(self.driver, "withdraw", lambda *_: False)
        self.assertEqual(0, self.scrub().counts.found)

    def test_many(self) -> None:
        """If others can be read, several in a row are reported and left, and the pass continues."""
        for first, last in ((2, 6), (0, 4), (4, 8), (1, 4)):
            self.restart()
            digests = self.blobs_in_order(8)
            self.driver.unreadable.clear()
            self.unreadable(*digests[first:last])
            progress = self.scrub()
            self.assertEqual(self.clock.seconds(), progress.ended)
            counts = progress.counts
            bad = last - first
            self.assertEqual((8 - bad, bad, 0), (counts.objects, counts.found, counts.quarantined))
            self.assertEqual({Outcome.LEFT}, {fault.outcome for fault in self.noted.faults})
            self.assertEqual(8, len(self.stored()))
            self.assertIsNone(self.result(self.blobs.size(digests[first])))

    def test_all(self) -> None:
        """If others cannot be read either, the pass stops before the first of them, and nothing is done."""
        digests = self.blobs_in_order(6)
        whole = self.make(limits=PassLimits(saving=0.0, probed=2))
        self.driver.unreadable.update(map(blob_key, digests[2:5]))
        spend = whole._check

        async def fail_later(subject: object, pace: object) -> None:
            if subject.key == blob_key(digests[4]):  # type: ignore[attr-defined]
                self.unreadable(*digests)
            await spend(subject, pace)  # type: ignore[arg-type]

        self.patch(whole, "_check", fail_later)
        self.failureResultOf(self.begin(whole), StoreBroken)
        self.assertEqual(blob_key(digests[1]), whole.progress.after)
        self.assertEqual(6, len(self.stored()))
        self.assertEqual([], self.noted.faults)
        # They can be read again.
        self.driver.unreadable.clear()
        progress = self.scrub(progress=self.saved[-1])
        self.assertEqual((6, 0), (progress.counts.objects, progress.counts.found))
