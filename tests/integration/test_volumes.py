"""Directories on volumes that lack what a local disk has: permissions, locks, times."""

from __future__ import annotations

import fcntl
import os
from errno import EEXIST, EINVAL, ENOLCK, EPERM
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from oci_registry.storage.drivers.filesystem import FilesystemDriver
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.threads import Lanes
from tests.contract.base import KEY, OTHER
from tests.integration import test_filesystem_driver as base
from tests.support.descriptors import open_descriptors
from tests.support.streams import run_at_once


class WithoutPermissions(base.DriverTestCase):
    """On SMB, azurefile or vfat nothing can be made read-only."""

    def setUp(self) -> None:
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        chmod = patch.object(os, "fchmod", self.fchmod)
        chmod.start()
        self.addCleanup(chmod.stop)
        super().setUp()
        self.list = self.root / "verified"

    def observe(self, event: Any) -> None:
        """Keep what the driver logs."""
        if str(event.get("log_namespace", "")).startswith("oci_registry"):
            self.logged.append(event["log_format"].format_map(event))

    def fchmod(self, descriptor: int, mode: int) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Begin again with what is on the disk."""
        self.driver = FilesystemDriver(str(self.root), Lanes(*[run_at_once] * 4), self.clock)
        self.start()

    def sealed(self, key: str = KEY) -> bool:
        """Return whether an object is verified."""
        stored = self.successResultOf(self.driver.open(key))
        stored.close()
        same: bool = self.successResultOf(self.driver.stat(key)).sealed
        self.assertEqual(stored.info.sealed, same)
        return same

    def test_remembered(self) -> None:
        """What was committed or sealed is verified, also after a restart and a use; others are not."""
        self.store(KEY, b"data")
        (self.root / OTHER).write_bytes(b"planted")
        self.assertEqual((True, False), (self.sealed(), self.sealed(OTHER)))
        self.successResultOf(self.driver.seal(OTHER))
        self.clock.advance(100)
        self.successResultOf(self.driver.touch(KEY, self.clock.seconds()))
        self.assertEqual((True, True), (self.sealed(), self.sealed(OTHER)))
        self.restart()
        self.assertEqual((True, True), (self.sealed(), self.sealed(OTHER)))
        self.assertEqual(self.left(), [])

    def test_changed(self) -> None:
        """A file that has changed since, in size or time, is not verified."""
        self.store(KEY, b"data")
        (self.root / KEY).write_bytes(b"evil")
        self.assertFalse(self.sealed())
        self.restart()
        self.assertFalse(self.sealed())

    def test_said_once(self) -> None:
        """One line at start says so, and names the path."""
        self.successResultOf(self.driver.begin_sweep(0))
        self.assertEqual(len(self.logged), 1)
        self.assertIn(str(self.root), self.logged[0])
        self.assertIn(str(self.list), self.logged[0])

    def test_odd_list(self) -> None:
        """Invalid lines of the list are ignored, and an incomplete one invalidates no other."""
        self.store(KEY, b"data")
        good = self.list.read_bytes()
        self.list.write_bytes(b"\xff\xfe\n\n a b c d\nx y z\n" + good + b"blobs/half 1")
        self.restart()
        self.assertTrue(self.sealed())
        self.store(OTHER, b"data")
        self.restart()
        self.assertEqual((True, True), (self.sealed(), self.sealed(OTHER)))

    def test_list_is_bounded(self) -> None:
        """The list is written again when most of its lines are out of date."""
        self.store(KEY, b"data")
        for _ in range(3000):
            self.clock.advance(60)
            self.successResultOf(self.driver.touch(KEY, self.clock.seconds()))
        self.assertLess(len(self.list.read_bytes().splitlines()), 1100)
        self.restart()
        self.assertTrue(self.sealed())

    def test_list_cannot_be_written(self) -> None:
        """That the list cannot be written fails nothing: it is in memory, and written later."""
        self.list.mkdir()
        self.store(KEY, b"data")
        self.assertTrue(self.sealed())
        self.list.rmdir()
        self.store(OTHER, b"data")
        self.restart()
        self.assertEqual((True, True), (self.sealed(), self.sealed(OTHER)))


class Refused(WithoutPermissions):
    """Or that is refused."""

    def fchmod(self, descriptor: int, mode: int) -> None:
        """Refuse."""
        raise PermissionError(EPERM, os.strerror(EPERM))


class AllReadOnly(base.DriverTestCase):
    """A volume that shows every file as read-only."""

    def test_planted(self) -> None:
        """There permissions tell nothing: what others put there is not verified."""
        driver = FilesystemDriver(str(self.root), Lanes(*[run_at_once] * 4), self.clock)
        with patch("oci_registry.storage.drivers.filesystem.is_read_only", lambda status: True):
            self.successResultOf(driver.start())
            path = self.root / KEY
            path.parent.mkdir(parents=True)
            path.write_bytes(b"planted")
            self.assertFalse(self.successResultOf(driver.stat(KEY)).sealed)


class Lacking(base.DriverTestCase):
    """Volumes that lack something else."""

    def test_nothing_known(self) -> None:
        """Without locks, times and flushing, objects are stored nevertheless, and nothing is left."""
        with (
            patch.object(fcntl, "flock", side_effect=OSError(ENOLCK, "no locks")),
            patch.object(os, "fsync", side_effect=OSError(EINVAL, "no sync")),
            patch.object(os, "utime", side_effect=PermissionError(EPERM, "no times")),
        ):
            self.start()
            self.store(KEY, b"data")
            self.successResultOf(self.driver.put(OTHER, b"small"))
            self.successResultOf(self.driver.touch(KEY, 1.0))
            self.successResultOf(self.driver.check())
        self.assertEqual((self.content(KEY), self.content(OTHER)), (b"data", b"small"))
        self.assertEqual(self.left(), [])

    def test_leftovers_without_locks(self) -> None:
        """Without locks, what grows is another's until nobody has written to it for a day."""
        for name, age in (("young", 3600), ("old", 100_000)):
            (self.transfers / name).write_bytes(b"half")
            written = self.clock.seconds() - age
            os.utime(self.transfers / name, (written, written))
        with patch.object(fcntl, "flock", side_effect=OSError(ENOLCK, "no locks")):
            self.start()
        self.assertEqual(self.left(), ["young"])

    def test_no_renaming_over(self) -> None:
        """Where nothing is renamed over what is there, that goes first."""
        real = os.replace

        def refuse(source: str, target: Path) -> None:
            if os.path.exists(target):
                raise FileExistsError(EEXIST, os.strerror(EEXIST))
            real(source, target)

        self.store(KEY, b"old")
        with patch.object(os, "replace", refuse):
            self.store(KEY, b"new")
        self.assertEqual(self.content(KEY), b"new")

    def test_no_descriptor_is_left(self) -> None:
        """A new file that cannot be made empty is closed."""
        opened = open_descriptors()
        with patch.object(os, "ftruncate", side_effect=OSError(EPERM, "no")):
            for work in (self.driver.create(KEY), self.driver.put(KEY, b"x")):
                self.failureResultOf(work, StoreError)
        with patch("builtins.open", side_effect=OSError(EPERM, "no")):
            self.store(KEY, b"data")
            work = Deferred.fromCoroutine(self.get())
            self.failureResultOf(work, StoreError)
        self.assertEqual(open_descriptors(), opened)

    async def get(self) -> None:
        """Read a small object."""
        await self.driver.get(KEY, 10)
