"""What is in the page cache is known, or not claimed."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import SkipTest
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers import page_cache
from oci_registry.storage.drivers.files import Descriptor
from tests.support.patterns import pattern
from tests.support.streams import run_at_once

SIZE = 2_500_000
run: Any = run_at_once
DATA = pattern(SIZE)


class PageCacheTestCase(SynchronousTestCase):
    """A file that was just written and flushed."""

    def setUp(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(DATA)
        self.number = os.open(path, os.O_RDWR)
        self.descriptor = Descriptor(self.number, run)
        self.addCleanup(self.descriptor.close)
        os.fsync(self.number)
        if not page_cache.can_tell(self.number):
            raise SkipTest("this volume does not say what it has in memory")

    def drop(self, offset: int = 0, length: int = 0) -> None:
        """Drop pages from memory."""
        os.posix_fadvise(self.number, offset, length, os.POSIX_FADV_DONTNEED)


class Looking(PageCacheTestCase):
    """`page_cache.resident`."""

    def test_written(self) -> None:
        """What was written just now is there, up to the end of the file."""
        for offset, length in ((0, 1), (5, 4096), (4095, 2), (1_000_001, 1_000_000)):
            self.assertEqual(
                length, page_cache.resident(self.number, offset, length), (offset, length)
            )
        self.assertEqual(0, page_cache.resident(self.number, SIZE + 8192, 10))
        self.assertEqual(page_cache.LARGEST, page_cache.resident(self.number, 0, SIZE))

    def test_dropped(self) -> None:
        """What was dropped is not there, and what comes before it is."""
        self.drop(1 << 20)
        if page_cache.resident(self.number, 2 << 20, 1):
            raise SkipTest("this volume keeps its pages")
        edge = 0
        while found := page_cache.resident(self.number, edge, SIZE):
            edge += found
        # The kernel may keep some pages more, with which they share a block of memory.
        self.assertGreaterEqual(edge, 1 << 20)
        self.assertLess(edge, SIZE)
        self.assertEqual(0, edge % 4096)
        self.assertEqual(1, page_cache.resident(self.number, edge - 1, 4096))
        self.drop()
        self.assertEqual(0, page_cache.resident(self.number, 0, SIZE))

    @given(st.integers(0, SIZE + 10_000), st.integers(1, 2_000_000))
    @settings(deadline=None)
    def test_bounded(self, offset: int, length: int) -> None:
        """No more than was asked for, and no page after the last."""
        found = page_cache.resident(self.number, offset, length)
        self.assertGreaterEqual(found, 0)
        self.assertLessEqual(found, min(length, max(0, SIZE + 4096 - offset)))

    def test_impossible(self) -> None:
        """A file that is no file has nothing in memory."""
        self.assertEqual(0, page_cache.resident(10**6, 0, 4096))


class Telling(PageCacheTestCase):
    """`page_cache.can_tell`."""

    def failing(self, name: str, number: int) -> object:
        return patch.object(*name.split("."), side_effect=OSError(number, os.strerror(number)))

    def test_no_reads_without_waiting(self) -> None:
        """A volume that cannot read without waiting might wait for this too."""
        with patch.object(os, "preadv", side_effect=OSError(errno.EOPNOTSUPP, "not supported")):
            self.assertFalse(page_cache.can_tell(self.number))

    def test_not_in_memory(self) -> None:
        """That the first byte would have to be waited for is no obstacle."""
        with patch.object(os, "preadv", side_effect=BlockingIOError(errno.EAGAIN, "again")):
            self.assertTrue(page_cache.can_tell(self.number))

    def test_file_of_another_user(self) -> None:
        """Of files of other users the kernel reports what is not true."""
        with patch("fcntl.fcntl", side_effect=PermissionError(errno.EPERM, "not permitted")):
            self.assertFalse(page_cache.can_tell(self.number))

    def test_pretending(self) -> None:
        """A kernel that reports a page in memory that no file has is not trusted at all."""
        with patch.object(page_cache, "_pages", return_value=b"\1"):
            self.assertFalse(page_cache.can_tell(self.number))

    def test_other_system(self) -> None:
        """Without these calls nothing is claimed."""
        with patch.object(page_cache, "_library", None):
            self.assertFalse(page_cache.can_tell(self.number))

    def test_no_access_times(self) -> None:
        """Reading the file no longer writes to the disk."""
        before = os.fstat(self.number)
        os.utime(self.number, (0, before.st_mtime))
        os.pread(self.number, 10, 0)
        self.assertEqual(0, os.fstat(self.number).st_atime)


class Sending(PageCacheTestCase):
    """`Descriptor.send_now`."""

    def setUp(self) -> None:
        super().setUp()
        ours, self.theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.theirs.close)
        ours.setblocking(False)
        self.ours = ours
        self.socket = ours.fileno()

    def test_bytes(self) -> None:
        """These bytes arrive, no others; the position in the file does not matter."""
        for offset, length in ((0, 10), (4095, 5000), (SIZE - 3, 3)):
            self.assertEqual(length, self.descriptor.send_now(self.socket, offset, length))
            self.assertEqual(DATA[offset : offset + length], self.theirs.recv(100_000))

    def test_full(self) -> None:
        """A socket takes so much, and then the caller hears of it."""
        sent = 0
        with self.assertRaises(BlockingIOError):
            while True:
                sent += self.descriptor.send_now(self.socket, sent, SIZE) or 0
        got = bytearray()
        while len(got) < sent:
            got += self.theirs.recv(1 << 20)
        self.assertTrue(got == DATA[:sent])

    def test_end(self) -> None:
        """There is nothing beyond the end, nor where a file was cut off."""
        self.assertEqual(0, self.descriptor.send_now(self.socket, SIZE + 4096, 10))
        os.ftruncate(self.number, 4096)
        self.assertEqual(0, self.descriptor.send_now(self.socket, 8192, 10))
        self.assertEqual(96, self.descriptor.send_now(self.socket, 4000, 10_000))

    def test_errors(self) -> None:
        """Errors of file and socket are left to those who read and write."""
        with patch.object(os, "sendfile", side_effect=OSError(errno.EIO, "I/O error")):
            self.assertEqual(0, self.descriptor.send_now(self.socket, 0, 10))
        self.theirs.close()
        self.assertEqual(0, self.descriptor.send_now(self.socket, 0, 10))

    def test_closed(self) -> None:
        """What was closed sends nothing, whatever has its number now."""
        self.descriptor.close()
        self.assertEqual(0, self.descriptor.send_now(self.socket, 0, 10))

    def test_not_known(self) -> None:
        """Where the page cache cannot be asked, nothing is ever sent."""
        with patch.object(page_cache, "can_tell", return_value=False):
            self.assertEqual(0, self.descriptor.send_now(self.socket, 0, 10))
        self.assertEqual(0, self.descriptor.send_now(self.socket, 0, 10))
        self.assertFalse(self.descriptor.can_send(0))

    def test_can_send(self) -> None:
        """Bytes can be sent if they are in memory, and there."""
        self.assertTrue(self.descriptor.can_send(SIZE - 1))
        self.assertFalse(self.descriptor.can_send(SIZE))
        with patch.object(os, "preadv", side_effect=BlockingIOError(errno.EAGAIN, "again")):
            self.assertFalse(self.descriptor.can_send(0))
        self.descriptor.close()
        self.assertFalse(self.descriptor.can_send(0))

    def test_shared(self) -> None:
        """A descriptor is closed when the last of its users has closed it."""
        other = self.descriptor.share()
        self.descriptor.close()
        self.assertEqual(10, other.send_now(self.socket, 0, 10))
        other.close()
        self.assertEqual((0, -1), (other.send_now(self.socket, 0, 10), other.number))

    def test_changing(self) -> None:
        """While a file is changed, or about to be, nothing of it is sent: that might wait."""
        growing = Descriptor(os.dup(self.number), run, grows=True)
        self.addCleanup(growing.close)
        with growing.changing():
            self.assertEqual(0, growing.send_now(self.socket, 0, 10))
            changes = Thread(target=self.change, args=(growing,))
            changes.start()
        changes.join()
        self.assertEqual(10, growing.send_now(self.socket, 0, 10))
        growing._change_waits = True
        self.assertEqual(0, growing.send_now(self.socket, 0, 10))

    def change(self, growing: Descriptor) -> None:
        """Change it, in a thread."""
        with growing.changing():
            self.assertEqual(0, growing.send_now(self.socket, 0, 10))
