"""Files that stay open for parts of a blob."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import SkipTest

from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers import page_cache
from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.storage.interfaces import KeptObjects
from oci_registry.storage.keys import blob_key
from tests.integration.test_filesystem_driver import DriverTestCase
from tests.support.descriptors import open_descriptors

DATA = bytes(range(256)) * 100
KEY = blob_key(Digest.of(DATA))


class KeptFiles(DriverTestCase):
    """A stored blob that is kept open."""

    def setUp(self) -> None:
        super().setUp()
        self.store(KEY, DATA)
        self.path = Path(self.driver.path(KEY))
        self.opened = open_descriptors()
        self.kept = self.keep()

    def part(self, offset: int, length: int) -> bytes | None:
        """Return bytes of it as it was stored first."""
        return self.kept.part(KEY, len(DATA), offset, length)

    def keep(self) -> KeptObjects:
        stored = self.successResultOf(self.driver.open(KEY))
        kept: KeptObjects | None = stored.keep()
        stored.close()
        if kept is None:
            number = os.open(self.path, os.O_RDONLY)
            known = page_cache.can_tell(number)
            os.close(number)
            self.assertFalse(known)
            raise SkipTest("this volume has no reads that do not wait")
        return kept

    def test_parts(self) -> None:
        """Parts are read while it is there; what is beyond the end is not."""
        self.assertEqual(DATA[1000:2000], self.part(1000, 1000))
        self.assertEqual(b"", self.part(0, 0))
        self.assertIsNone(self.part(len(DATA) - 5, 10))

    def test_removed(self) -> None:
        """A file that was removed or replaced is not read any more."""
        self.successResultOf(self.driver.delete(KEY))
        self.assertIsNone(self.part(0, 10))
        self.assertIsNone(self.part(0, 0))
        self.store(KEY, DATA)
        self.assertIsNone(self.part(0, 10))
        self.assertIs(self.kept, self.keep())
        self.assertEqual(DATA[:10], self.part(0, 10))
        self.store(KEY, DATA)
        self.assertIsNone(self.part(0, 10))

    def test_changed(self) -> None:
        """A file that is not verified any more, or has another size, is not read."""
        os.chmod(self.path, 0o644)
        self.assertIsNone(self.part(0, 0))
        self.assertIsNone(self.part(0, 10))
        stored = self.successResultOf(self.driver.open(KEY))
        self.assertIsNone(stored.keep())
        stored.close()
        self.path.write_bytes(DATA + b"x")
        os.chmod(self.path, 0o444)
        self.assertIsNone(self.part(0, 10))

    def test_truncated(self) -> None:
        """Of a file that has lost its end nothing is read, and nothing is said of its size."""
        os.truncate(self.path, len(DATA) - 1)
        self.assertIsNone(self.part(0, 0))
        self.assertIsNone(self.part(0, 10))

    def test_touched(self) -> None:
        """A file whose last use was noted is the same file."""
        self.successResultOf(self.driver.touch(KEY, 1.0))
        self.assertEqual(DATA[:10], self.part(0, 10))

    def test_opened_again(self) -> None:
        """A blob that is stored again is the same, once somebody else has opened it."""
        self.successResultOf(self.driver.delete(KEY))
        self.store(KEY, DATA)
        self.assertIsNone(self.part(0, 10))
        self.keep()
        self.assertEqual(DATA[:10], self.part(0, 10))
        self.store(KEY, DATA + b"x")
        self.keep()
        self.assertIsNone(self.part(0, 10))

    def test_closed(self) -> None:
        """It has one descriptor, which is closed when the blob was not used for a while."""
        self.keep()
        self.assertEqual(1, open_descriptors() - self.opened)
        idle = OpenFilesLimits().idle
        for _ in range(3):
            self.clock.advance(idle / 2)
            self.assertEqual(DATA[:10], self.part(0, 10))
        self.clock.advance(idle)
        self.clock.advance(idle)
        self.assertIsNone(self.part(0, 10))
        self.assertEqual(0, open_descriptors() - self.opened)
