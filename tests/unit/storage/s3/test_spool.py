"""The file in which an object grows, and its parts as boto3 reads them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.spool import Slice, open_spool, probe_spool
from tests.support.descriptors import open_descriptors


class Spool(SynchronousTestCase):
    """The folder."""

    def test_nameless(self) -> None:
        """A spooled file has no name; the folder is made, for us alone."""
        folder = Path(self.mktemp()) / "deep" / "down"
        descriptor = open_spool(str(folder))
        os.write(descriptor, b"data")
        self.assertEqual(os.pread(descriptor, 10, 0), b"data")
        self.assertEqual(list(folder.iterdir()), [])
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        os.close(descriptor)

    def test_probe(self) -> None:
        """A folder that cannot be written to is an error, and trying leaves nothing."""
        folder = self.mktemp()
        before = open_descriptors()
        probe_spool(folder)
        self.assertEqual(open_descriptors(), before)
        Path(folder).rmdir()
        Path(folder).write_text("not a folder")
        self.assertRaises(OSError, probe_spool, folder)


class Slices(SynchronousTestCase):
    """Parts of a file of 100 bytes."""

    def setUp(self) -> None:
        self.data = bytes(range(100))
        self.descriptor = open_spool(self.mktemp())
        self.addCleanup(os.close, self.descriptor)
        os.write(self.descriptor, self.data)

    @given(st.integers(0, 100), st.integers(0, 100), st.lists(st.integers(1, 60)))
    def test_read(self, start: int, stop: int, sizes: list[int]) -> None:
        """However it is read, a part is its bytes and no others; two parts do not disturb each other."""
        size = max(0, stop - start)
        part, other = (Slice(self.descriptor, start, size, block=16) for _ in range(2))
        got = b""
        for asked in sizes:
            read = part.read(asked)
            self.assertLessEqual(len(read), max(asked, 16))
            got += read
            other.read(3)
        self.assertEqual(got + part.read(), self.data[start : start + size])
        self.assertEqual(part.read(5), b"")
        self.assertEqual(part.tell(), size)

    def test_seek(self) -> None:
        """A part can be read again, which is what happens when a request is repeated."""
        part = Slice(self.descriptor, 10, 20, block=16)
        self.assertTrue(part.seekable() and part.readable())
        self.assertEqual(part.seek(0, os.SEEK_END), 20)
        self.assertEqual(part.seek(-5, os.SEEK_CUR), 15)
        self.assertEqual(part.read(), self.data[25:30])
        self.assertEqual(part.seek(0), 0)
        self.assertEqual(part.read(-1), self.data[10:30])

    def test_too_short(self) -> None:
        """A file that has lost its end is an error, not a shorter part."""
        part = Slice(self.descriptor, 90, 20, block=16)
        self.assertEqual(len(part.read(20)), 10)
        self.assertRaises(OSError, part.read, 20)
