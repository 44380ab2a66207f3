"""The lock that keeps commands and daemons apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from oci_registry.service import StartError
from oci_registry.storage.lock import CHECKED, LOCK, DaemonLock, StoreInUse, StoreLock
from tests.support.bundles import add_image, command, store_in
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.descriptors import open_descriptors


class Locks(TestCase):
    """A directory, and locks on it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.locks: list[StoreLock] = []

    def tearDown(self) -> None:
        for lock in self.locks:
            lock.release()

    def lock(self) -> StoreLock:
        self.locks.append(StoreLock(str(self.root)))
        return self.locks[-1]

    def test_daemons(self) -> None:
        """Any number of daemons share it, and no command gets it meanwhile."""
        first, second = self.lock(), self.lock()
        self.assertTrue(first.share() and second.share())
        self.assertRaises(StoreInUse, self.lock().take)
        first.release()
        self.assertRaises(StoreInUse, self.lock().take)
        second.release()
        self.assertTrue(self.lock().take())

    def test_command(self) -> None:
        """A command has it alone."""
        command = self.lock()
        command.take()
        self.assertRaises(StoreInUse, self.lock().take)
        self.assertRaises(StoreInUse, self.lock().share)
        command.release()
        self.assertTrue(self.lock().share())

    def test_no_lock(self) -> None:
        """If the file cannot be made or opened, there is no lock, and no error."""
        self.root.mkdir()
        (self.root / LOCK).symlink_to("elsewhere")
        self.assertFalse(self.lock().share())
        (self.root / LOCK).unlink()
        (self.root / LOCK).mkdir()
        self.assertFalse(self.lock().take())
        self.root = self.root / LOCK / "file"
        self.root.write_bytes(b"")
        self.assertFalse(self.lock().share())

    def test_released(self) -> None:
        """No descriptor stays open, whether it was locked or refused."""
        before = open_descriptors()
        one, other = self.lock(), self.lock()
        one.share()
        self.assertRaises(StoreInUse, other.take)
        one.release()
        one.release()
        self.assertEqual(before, open_descriptors())


class OfADaemon(Locks):
    """The lock of a daemon whose directory is emptied, and one that a command wants to take."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.daemon = DaemonLock(self.lock(), self.clock, execute)

    def check_held(self) -> None:
        """No command gets the lock."""
        self.assertRaises(StoreInUse, self.lock().take)

    def test_removed(self) -> None:
        """It is held again soon after the file, or the whole directory, was removed."""
        before = open_descriptors()
        self.daemon.start()
        inode = (self.root / LOCK).stat().st_ino
        self.clock.advance(CHECKED)
        self.assertEqual(inode, (self.root / LOCK).stat().st_ino)
        self.check_held()
        (self.root / LOCK).unlink()
        self.clock.advance(CHECKED)
        self.check_held()
        shutil.rmtree(self.root)
        self.clock.advance(CHECKED)
        self.assertFalse(self.root.exists())
        self.root.mkdir()
        self.clock.advance(CHECKED)
        self.check_held()
        self.daemon.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(before, open_descriptors())
        self.assertTrue(self.lock().take())

    def test_command_meanwhile(self) -> None:
        """If a command has taken the new file, the daemon holds it when the command has ended."""
        self.daemon.start()
        (self.root / LOCK).unlink()
        command = self.lock()
        self.assertTrue(command.take())
        self.clock.advance(CHECKED)
        command.release()
        self.clock.advance(CHECKED)
        self.check_held()
        self.daemon.stop()

    def test_none_at_first(self) -> None:
        """If there could be no file at the start, the lock is held when there can be one."""
        self.root.mkdir()
        (self.root / LOCK).mkdir()
        self.daemon.start()
        self.clock.advance(CHECKED)
        (self.root / LOCK).rmdir()
        self.clock.advance(CHECKED)
        self.check_held()
        self.daemon.stop()

    def test_stopped_meanwhile(self) -> None:
        """A check that hangs in the store is the last one when the daemon stops."""
        hanging: Deferred[Any] = Deferred()
        daemon = DaemonLock(self.lock(), self.clock, lambda *_: hanging)
        daemon.start()
        self.clock.advance(CHECKED)
        daemon.stop()
        hanging.callback(None)
        self.assertEqual([], self.clock.getDelayedCalls())


class BesideADaemon(MirrorTestCase):
    """Commands and daemons on one directory."""

    @running
    async def test_import(self) -> None:
        """No import while a daemon runs, and none of its content; afterwards there is."""
        elsewhere = Path(self.mktemp())
        add_image(store_in(elsewhere), "x:1", "linux/amd64")
        bundle = Path(self.mktemp())
        self.assertEqual(0, command("export", "x:1", "-o", bundle, "--root", elsewhere).status)
        await self.start()
        ran = command("import", bundle, "--root", self.root)
        self.assertEqual((1, set()), (ran.status, self.files()))
        self.assertIn("is using the store", ran.err)
        await self.stop()
        self.assertEqual(0, command("import", bundle, "--root", self.root).status)

    @running
    async def test_export(self) -> None:
        """An export works beside a daemon."""
        image, _ = self.registry.add_image("library/x", "1", b"layer")
        daemon = await self.start()
        await self.client.get("/v2/library/x/manifests/1")
        manifest, _ = self.registry.manifests["library/x", "1"]
        for blob in self.registry.blobs:
            await self.client.get(f"/v2/library/x/blobs/{blob}")
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        bundle = Path(self.mktemp())
        ran = command("export", "x:1", "-o", bundle, "--root", self.root)
        self.assertEqual(0, ran.status, ran.err)
        self.assertIn(manifest, bundle.read_bytes())
        self.assertIn(str(image), ran.out)

    @running
    async def test_start(self) -> None:
        """No daemon starts while a command changes the store."""
        self.root.mkdir()
        lock = StoreLock(str(self.root.absolute()))
        lock.take()
        with self.assertRaises(StartError) as caught:
            await self.start()
        self.daemons.pop().parts.ports.stopService()
        self.assertIn("a command is changing the store", str(caught.exception))
        lock.release()
        await self.start()
        self.assertEqual(200, (await self.client.get("/v2/")).status)
        await self.start()
        self.assertEqual(200, (await self.client.get("/v2/")).status)
