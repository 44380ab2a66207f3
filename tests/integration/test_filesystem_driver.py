"""The filesystem driver on real files: what is peculiar to it beyond the contract of all drivers."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import FilesystemSettings
from oci_registry.storage.drivers import files, filesystem, make_driver
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.drivers.leftovers import remove_leftovers
from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.threads import Lanes
from tests.contract.base import KEY, NOW, OTHER
from tests.support.descriptors import open_descriptors
from tests.support.iterating import collect
from tests.support.streams import ManualThread, run_at_once

PLACE = KEY.replace("/", "-")

HOLD = """
import sys
from twisted.internet.defer import execute
from twisted.internet.task import Clock
from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.streams.threads import Lanes
run = lambda call, *args: execute(call, *args)
found = []
FilesystemDriver(sys.argv[1], Lanes(*[run] * 4), Clock()).create(sys.argv[2]).addCallback(found.append)
found[0].append(b"half of it")
print("holding", flush=True)
sys.stdin.read()
"""


class DriverTestCase(SynchronousTestCase):
    """A driver on a new directory, whose work is done at once."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.transfers = self.root / "transfers"
        self.clock = Clock()
        self.clock.advance(NOW)
        self.driver = FilesystemDriver(str(self.root), Lanes(*[run_at_once] * 4), self.clock)
        self.addCleanup(self.driver.stop)
        self.start()

    def start(self) -> None:
        """Start the driver, once more if it has been."""
        self.successResultOf(self.driver.start())

    def store(self, key: str, data: bytes) -> None:
        """Store an object through a writer."""
        writer = self.successResultOf(self.driver.create(key))
        writer.append(data)
        self.successResultOf(writer.commit())
        writer.close()

    def content(self, key: str) -> bytes | None:
        """Return an object's bytes, if there is one."""
        stored = self.successResultOf(self.driver.open(key))
        if stored is None:
            return None
        data: bytes = self.successResultOf(stored.read(0, 1000))
        stored.close()
        return data

    def listed(self) -> list[str]:
        """Return the keys of all blobs."""
        infos = self.successResultOf(Deferred.fromCoroutine(collect(self.driver.list("blobs"))))
        return sorted(info.key for info in infos)

    def left(self) -> list[str]:
        """Return the names of what is being written."""
        return sorted(os.listdir(self.transfers))


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Refuse what only root may do: to open for writing what nobody may write."""
    real = os.open

    def careful(path: str, flags: int, mode: int = 0o777) -> int:
        writing = flags & (os.O_RDWR | os.O_WRONLY)
        if writing and os.path.exists(path) and not os.stat(path).st_mode & 0o222:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, mode)

    with patch.object(os, "open", careful):
        yield


class Leftovers(DriverTestCase):
    """What earlier processes have left half-written."""

    def test_removed_at_start(self) -> None:
        """Whatever lies in the place of growing files, and is nobody's, is removed at start."""
        (self.transfers / PLACE).write_bytes(b"half")
        (self.transfers / "0123abcd").write_bytes(b"")
        (self.transfers / "link").symlink_to("/etc/passwd")
        (self.transfers / "dangling").symlink_to("nowhere")
        os.mkfifo(self.transfers / "pipe")
        (self.transfers / "folder").mkdir()
        self.start()
        self.assertEqual(self.left(), ["folder"])
        self.assertTrue(os.path.exists("/etc/passwd"))

    def test_sealed_but_not_renamed(self) -> None:
        """One that was killed just before the rename is removed too, though it is read-only."""
        for name in (PLACE, "0123abcd"):
            (self.transfers / name).write_bytes(b"whole")
            (self.transfers / name).chmod(0o444)
        with ordinary_user():
            self.start()
        self.assertEqual(self.left(), [])

    def test_read_only_place(self) -> None:
        """A file in the way that cannot be opened does not keep a blob from being stored."""
        (self.transfers / PLACE).write_bytes(b"whole")
        (self.transfers / PLACE).chmod(0o444)
        with ordinary_user():
            self.store(KEY, b"data")
        self.assertEqual(self.content(KEY), b"data")

    def test_swept_before_locked(self) -> None:
        """A file that a sweep removes before its creator has locked it is created once more."""
        sweeps = 2
        real = fcntl.flock

        def late(descriptor: int, operation: int) -> None:
            nonlocal sweeps
            if sweeps:
                sweeps -= 1
                with patch.object(fcntl, "flock", real):
                    remove_leftovers(self.transfers, NOW)
            real(descriptor, operation)

        with patch.object(fcntl, "flock", late):
            self.successResultOf(self.driver.put(KEY, b"data"))
        self.assertEqual((0, b"data"), (sweeps, self.content(KEY)))
        self.assertEqual([], self.left())

    def test_folder_in_place(self) -> None:
        """A folder among the leftovers, in the place of a file, does not stop a download."""
        (self.transfers / PLACE).mkdir()
        self.store(KEY, b"data")
        self.assertEqual(self.content(KEY), b"data")

    def test_one_bad_leftover(self) -> None:
        """One that cannot be removed is reported, after the others have been."""
        for name in ("a", "b", "c"):
            (self.transfers / name).write_bytes(b"")
        real = os.unlink

        def refuse(path: str) -> None:
            if path.endswith("b"):
                raise PermissionError(1, "Operation not permitted", path)
            real(path)

        with patch.object(os, "unlink", refuse):
            failure = self.failureResultOf(self.driver.start(), StoreError)
        self.assertIn("Operation not permitted", failure.getErrorMessage())
        self.assertEqual(self.left(), ["b"])

    def test_own_growing_files_stay(self) -> None:
        """A start does not disturb what the same process is writing."""
        writer = self.successResultOf(self.driver.create(KEY))
        writer.append(b"data")
        self.start()
        self.assertEqual(self.left(), [PLACE])
        self.successResultOf(writer.commit())
        writer.close()
        self.assertEqual(self.content(KEY), b"data")

    def test_small_object_stays(self) -> None:
        """A start of another process does not remove a small object before it is renamed."""
        real = filesystem.place

        def start_first(source: str, target: Path) -> None:
            self.start()
            real(source, target)

        with patch.object(filesystem, "place", start_first):
            self.successResultOf(self.driver.put(KEY, b"data"))
        self.assertEqual(self.content(KEY), b"data")

    def test_replaced_before_the_lock(self) -> None:
        """A growing file that was renamed between open and lock is not taken for one's own."""
        writer = self.successResultOf(self.driver.create(KEY))
        writer.append(b"data")
        flock = files.fcntl.flock

        def commit_first(descriptor: int, operation: int) -> None:
            if self.left() == [PLACE]:
                self.successResultOf(writer.commit())
                writer.close()
            flock(descriptor, operation)

        with patch.object(files.fcntl, "flock", commit_first):
            second = self.successResultOf(self.driver.create(KEY))
        self.assertEqual(self.content(KEY), b"data")
        second.append(b"other")
        self.assertEqual(self.content(KEY), b"data")
        self.successResultOf(second.commit())
        self.assertEqual(self.content(KEY), b"other")
        second.close()

    def test_lock_dies_with_its_process(self) -> None:
        """What a living process writes is left alone; when it is killed, its file is anybody's."""
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.root), KEY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdin is not None
        try:
            self.assertEqual(child.stdout.readline(), b"holding\n")
            self.start()
            self.assertEqual(self.left(), [PLACE])
            self.store(KEY, b"ours")
            self.assertEqual(self.left(), [PLACE])
            self.assertEqual((self.transfers / PLACE).read_bytes(), b"half of it")
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()
        writer = self.successResultOf(self.driver.create(KEY))
        self.assertEqual(self.left(), [PLACE])
        self.assertEqual(self.successResultOf(writer.read(0, 100)), b"")
        writer.close()
        self.start()
        self.assertEqual(self.left(), [])
        self.assertEqual(self.content(KEY), b"ours")


class Descriptors(DriverTestCase):
    """Files stay open as long as needed, and no longer."""

    def setUp(self) -> None:
        super().setUp()
        self.thread = ManualThread()
        self.late = FilesystemDriver(str(self.root), Lanes(*[self.thread] * 4), self.clock)
        self.addCleanup(self.late.stop)
        self.opened = open_descriptors()

    def check_closed(self) -> None:
        """As many files are open as before, when those that were kept for the next reader are closed."""
        self.clock.advance(2 * OpenFilesLimits().idle)
        gc.collect()
        self.assertEqual(open_descriptors(), self.opened)

    def wait(self, work: Deferred[Any]) -> Any:
        """Let the thread do its work, and return what came of it."""
        self.thread.run()
        return self.successResultOf(work)

    def test_closed_while_reading(self) -> None:
        """A file that is closed while a thread reads it is closed when the thread is done."""
        self.store(KEY, b"0123456789")
        stored = self.wait(self.late.open(KEY))
        reading = stored.read(2, 3)
        stored.close()
        self.assertEqual(open_descriptors(), self.opened + 1)
        self.thread.run()
        self.assertEqual(self.successResultOf(reading), b"234")
        self.check_closed()
        again = stored.read(2, 3)
        self.thread.run()
        self.failureResultOf(again, StoreError)

    def test_reader_left_before_it_was_opened(self) -> None:
        """A file that nobody waits for any more is closed."""
        self.store(KEY, b"data")
        opening = self.late.open(KEY)
        opening.addErrback(lambda failure: failure.trap(CancelledError) and None)
        opening.cancel()
        self.thread.run()
        del opening
        self.check_closed()

    def test_commit_nobody_waits_for(self) -> None:
        """A commit that is under way is not disturbed by who gives up, cancels and closes."""
        writer = self.wait(self.late.create(KEY))
        writer.append(b"data")
        committing = writer.commit()
        committing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        committing.cancel()
        cancelling = writer.cancel()
        writer.close()
        self.assertIsNotNone(os.fstat(writer._descriptor.number))
        self.thread.run()
        self.assertIsNone(self.successResultOf(cancelling))
        self.assertEqual((self.content(KEY), self.left()), (b"data", []))
        self.check_closed()

    def test_cancelled_before_the_commit(self) -> None:
        """A commit that comes after a cancel makes nothing visible, and nobody hears of it."""
        writer = self.wait(self.late.create(KEY))
        writer.append(b"data")
        cancelling = writer.cancel()
        committing = writer.commit()
        committing.addErrback(lambda failure: failure.trap(CancelledError) and None)
        committing.cancel()
        self.thread.run()
        self.successResultOf(cancelling)
        self.assertEqual((self.content(KEY), self.left()), (None, []))
        writer.close()
        del committing, writer
        self.check_closed()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_growing_is_read_in_a_thread(self) -> None:
        """Where the page cache cannot be asked, a growing file is read in a thread."""
        writer = self.wait(self.late.create(KEY))
        writer.append(b"0123456789")
        with patch.object(files, "_NOWAIT", None):
            reading = writer.read(2, 3)
        self.assertNoResult(reading)
        self.thread.run()
        self.assertEqual(self.successResultOf(reading), b"234")
        writer.close()
        self.check_closed()

    def test_read_at_once(self) -> None:
        """A read that the reactor makes itself is never short, never large, and never after the end."""
        self.store(KEY, bytes(300 * 1024))
        stored = self.successResultOf(self.driver.open(KEY))
        self.assertIn(stored.read_now(0, 1000), (bytes(1000), None))
        self.assertIsNone(stored.read_now(0, 257 * 1024))
        self.assertIsNone(stored.read_now(300 * 1024 - 5, 10))
        stored.close()
        self.assertIsNone(stored.read_now(0, 10))

    def test_nothing_leaks(self) -> None:
        """Whatever is asked of the driver, it opens nothing that it does not close."""
        self.store(KEY, b"data")
        self.successResultOf(self.driver.put(OTHER, b"data"))
        os.mkfifo(self.root / "blobs" / "pipe")
        for key in (KEY, OTHER, "blobs/pipe", "blobs", "blobs/none"):
            for work in (self.driver.stat(key), self.driver.get(key, 1), self.driver.get(key, 9)):
                self.successResultOf(work)
            self.successResultOf(self.driver.seal(key))
            self.content(key)
        self.successResultOf(self.driver.check())
        self.start()
        self.listed()
        self.check_closed()

    def test_made(self) -> None:
        """The settings of a directory give this driver, in that directory."""
        lanes = self.driver.lanes
        made = make_driver(FilesystemSettings(str(self.root)), lanes, self.driver.clock)
        self.assertIsInstance(made, FilesystemDriver)
        self.successResultOf(self.driver.put(OTHER, b"data"))
        self.assertEqual(self.successResultOf(made.get(OTHER, 9)), b"data")
