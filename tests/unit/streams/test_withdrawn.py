"""A download whose stored bytes have become corrupt while clients still read them."""

from __future__ import annotations

from oci_registry.storage.open_blob import CorruptBlob
from tests.support.patterns import noise
from tests.support.streams import FakeFile, ManualThread, Reader
from tests.unit.streams.test_growing import GrowingTestCase

MIB = 1024 * 1024
DATA = noise(4, 8 * MIB)
STEP = 64 * 1024


class Withdrawn(GrowingTestCase):
    """A complete blob whose readers are not at its end yet."""

    def test_readers(self) -> None:
        """Its readers fail, whatever they have received, and it accepts no new ones."""
        blob = self.blob(DATA)
        begun, new = Reader(blob.follow(), STEP), Reader(blob.follow(), STEP)
        self.feed(blob, DATA)
        self.assertTrue(self.successResultOf(blob.finish()))
        begun.read(1)
        self.assertTrue(blob.can_follow(0))
        blob.withdraw(CorruptBlob("it is corrupt"))
        self.assertFalse(blob.can_follow(0))
        for reader in (begun, new):
            before = len(reader.got)
            reader.read()
            self.assertIsInstance(reader.error, CorruptBlob)
            self.assertEqual(before, len(reader.got))
        self.assertEqual(0, blob.followers)

    def test_late_bytes(self) -> None:
        """Bytes that a thread was reading meanwhile are not delivered."""
        thread = ManualThread()
        blob = self.blob(DATA, file=FakeFile(thread))
        self.feed(blob, DATA)
        self.assertTrue(self.successResultOf(blob.finish()))
        reader = Reader(blob.follow(), STEP)
        reader.read(1)
        self.assertTrue(thread.waiting)
        blob.withdraw(CorruptBlob("it is corrupt"))
        while thread.step():
            pass
        reader.read()
        self.assertEqual(b"", reader.got)
        self.assertIsInstance(reader.error, CorruptBlob)
