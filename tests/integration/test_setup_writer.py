"""Files written below a directory: whole or not at all, with a backup, and nowhere else."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from twisted.python.runtime import platform
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.files import MAX_FILE_SIZE
from oci_registry.setup.nouns import Unusable
from oci_registry.setup.writer import Tree, Written

#: 2026-11-25 12:34:56 UTC.
NOW = 1795610096.0
STAMP = "20261125123456"
NOBODY = 65534
PATH = "/etc/client/config"


class TreeTestCase(SynchronousTestCase):
    """Tests with a tree in a directory of its own."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.root = self.folder / "root"
        self.file = self.root / PATH[1:]
        self.tree = Tree(str(self.root), lambda: NOW)
        self.addCleanup(os.umask, os.umask(0o077))

    def put(self, text: str, mode: int = 0o640) -> None:
        """Let the file be there already."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(text)
        self.file.chmod(mode)

    def refuse(self, path: str = PATH, text: str = "new") -> str:
        """Why neither reading nor writing works; writing leaves everything as it is."""
        before = self.everything()
        error = self.assertRaises(Unusable, self.tree.write, path, text)
        self.assertEqual(self.everything(), before)
        self.assertEqual(error.path, path)
        return str(error.reason)

    def everything(self) -> dict[str, str]:
        """All that is in the test's directory, links and what is behind them too."""
        found = {}
        for path in self.folder.rglob("*"):
            kind = os.readlink(path) if path.is_symlink() else ""
            found[str(path)] = kind or (path.read_text() if path.is_file() else "")
        return found

    def names(self) -> list[str]:
        return sorted(os.listdir(self.file.parent))


class Writing(TreeTestCase):
    """A file, new or replaced."""

    def test_new(self) -> None:
        """A new file and its directories can be read by all, whatever the umask is."""
        self.assertEqual(self.tree.write(PATH, "é"), Written(str(self.file), True))
        self.assertEqual(self.file.read_text(), "é")
        self.assertEqual(self.file.stat().st_mode & 0o7777, 0o644)
        for folder in (self.file.parent, self.file.parent.parent):
            self.assertEqual(folder.stat().st_mode & 0o7777, 0o755)
        self.assertEqual(self.names(), ["config"])

    def test_backup(self) -> None:
        """What was there is kept under the time, with the mode it had, as the new file has."""
        self.put("old", 0o600)
        backup = f"{self.file}.bak-{STAMP}"
        self.assertEqual(self.tree.write(PATH, "new"), Written(str(self.file), True, backup))
        self.assertEqual(self.file.read_text(), "new")
        self.assertEqual(Path(backup).read_text(), "old")
        for path in (self.file, Path(backup)):
            self.assertEqual(path.stat().st_mode & 0o7777, 0o600)
        self.assertEqual(self.names(), ["config", f"config.bak-{STAMP}"])

    def test_backups(self) -> None:
        """Backups of one second have numbers, and none is lost."""
        for text in ("one", "two", "three", "four"):
            self.tree.write(PATH, text)
        kept = {name: (self.file.parent / name).read_text() for name in self.names()}
        self.assertEqual(
            kept,
            {
                "config": "four",
                f"config.bak-{STAMP}": "one",
                f"config.bak-{STAMP}-1": "two",
                f"config.bak-{STAMP}-2": "three",
            },
        )

    def test_unchanged(self) -> None:
        """A file that is right is not touched and not kept a second time."""
        self.put("same")
        before = self.file.stat()
        self.assertEqual(self.tree.write(PATH, "same"), Written(str(self.file), False))
        after = self.file.stat()
        self.assertEqual((after.st_ino, after.st_mtime_ns), (before.st_ino, before.st_mtime_ns))
        self.assertEqual(self.names(), ["config"])

    def test_owner(self) -> None:
        """File and backup keep the owner of the file."""
        self.put("old")
        os.chown(self.file, NOBODY, NOBODY)
        self.tree.write(PATH, "new")
        for name in self.names():
            status = (self.file.parent / name).stat()
            self.assertEqual(
                (status.st_uid, status.st_gid, status.st_mode & 0o777), (NOBODY, NOBODY, 0o640)
            )

    if os.geteuid():
        test_owner.skip = "only root can give a file away"

    def test_order(self) -> None:
        """The new file and the backup are on the disk before the one takes the other's place."""
        self.put("old")
        done: list[str] = []
        fsync, rename = os.fsync, os.rename

        def watched_fsync(file: int) -> None:
            done.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
            fsync(file)

        def watched_rename(source: str, target: str, **folders: int) -> None:
            done.append("renamed")
            rename(source, target, **folders)

        self.patch(os, "fsync", watched_fsync)
        self.patch(os, "rename", watched_rename)
        self.tree.write(PATH, "new")
        self.assertEqual(done[1:], [f"config.bak-{STAMP}", "renamed", "client"])
        self.assertTrue(done[0].endswith(".tmp"))

    if not platform.isLinux():
        test_order.skip = "the names of open files are told by Linux"

    def test_broken_off(self) -> None:
        """When the last step fails, the old file is there, and no half of a new one."""
        self.put("old")

        def rename(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "rename", rename)
        error = self.assertRaises(Unusable, self.tree.write, PATH, "new")
        self.assertEqual(error.reason, "No space left on device")
        self.assertEqual(self.file.read_text(), "old")
        self.assertEqual(self.names(), ["config", f"config.bak-{STAMP}"])

    def test_full_disk(self) -> None:
        """When the new file cannot be written, nothing of it stays."""
        self.put("old")

        def fsync(_: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", fsync)
        self.assertEqual(self.refuse(), "No space left on device")


class Reading(TreeTestCase):
    """What is there."""

    def test_read(self) -> None:
        """The bytes of a file, and None where there is none, at whatever depth."""
        self.assertIsNone(self.tree.read(PATH))
        self.assertFalse(self.root.exists())
        self.file.parent.mkdir(parents=True)
        self.assertIsNone(self.tree.read(PATH))
        self.put("old")
        self.assertEqual(self.tree.read(PATH), b"old")

    def test_too_long(self) -> None:
        """A file longer than any configuration is refused."""
        self.put("x" * MAX_FILE_SIZE)
        self.assertEqual(len(self.tree.read(PATH) or b""), MAX_FILE_SIZE)
        self.put("x" * (MAX_FILE_SIZE + 1))
        self.assertRaises(Unusable, self.tree.read, PATH)
        self.assertEqual(self.refuse(), f"is longer than {MAX_FILE_SIZE} bytes")

    def test_no_file(self) -> None:
        """A directory or a pipe is no file, and is not waited for."""
        self.file.mkdir(parents=True)
        self.assertEqual(self.refuse(), "is not a regular file")
        self.file.rmdir()
        os.mkfifo(self.file)
        self.assertEqual(self.refuse(), "is not a regular file")
        error = self.assertRaises(Unusable, self.tree.read, PATH)
        self.assertEqual(error.reason, "is not a regular file")


class Escaping(TreeTestCase):
    """Links, which are not followed."""

    def setUp(self) -> None:
        super().setUp()
        self.outside = self.folder / "outside"
        self.outside.mkdir()
        (self.outside / "config").write_text("secret")

    def test_file(self) -> None:
        """A file that is a link is refused, be there something behind it or not."""
        self.file.parent.mkdir(parents=True)
        for target in (self.outside / "config", "../../../outside/config", self.outside / "none"):
            self.file.symlink_to(target)
            self.assertEqual(
                self.refuse(), "config is a symbolic link, which setup does not follow"
            )
            self.assertRaises(Unusable, self.tree.read, PATH)
            self.file.unlink()

    def test_folder(self) -> None:
        """A directory that is a link is refused, at whatever depth, within the root too."""
        (self.root / "inside").mkdir(parents=True)
        for name, target in (
            ("etc", self.outside),
            ("etc", "inside"),
            ("etc", self.outside / "none"),
            ("etc/client", self.outside),
            ("etc/client", "../../outside"),
        ):
            link = self.root / name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(target)
            reason = f"{link.name} is a symbolic link, which setup does not follow"
            self.assertEqual(self.refuse(), reason)
            self.assertEqual(self.assertRaises(Unusable, self.tree.read, PATH).reason, reason)
            link.unlink()

    def test_root(self) -> None:
        """The root itself may be a link: it is what was asked for."""
        (self.folder / "link").symlink_to(self.outside)
        Tree(str(self.folder / "link")).write(PATH, "new")
        self.assertEqual((self.outside / PATH[1:]).read_text(), "new")

    def test_backup(self) -> None:
        """A link under the name of a backup is not written through."""
        self.put("old")
        (self.file.parent / f"config.bak-{STAMP}").symlink_to(self.outside / "config")
        self.tree.write(PATH, "new")
        self.assertEqual((self.outside / "config").read_text(), "secret")
        self.assertEqual((self.file.parent / f"config.bak-{STAMP}-1").read_text(), "old")


class Denied(TreeTestCase):
    """What the system does not permit."""

    def setUp(self) -> None:
        super().setUp()
        self.put("old")
        if not os.geteuid():
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            os.seteuid(NOBODY)
            self.addCleanup(os.seteuid, 0)

    def test_folder(self) -> None:
        """A directory that cannot be written to is told of, and nothing changes."""
        self.file.parent.chmod(0o500)
        self.addCleanup(self.file.parent.chmod, 0o700)
        self.assertEqual(self.refuse(), "Permission denied")

    def test_new_folder(self) -> None:
        """A directory in which none can be made, and a root that cannot be made, are reported."""
        self.root.chmod(0o500)
        self.addCleanup(self.root.chmod, 0o700)
        self.assertEqual(self.refuse("/var/client/config"), "Permission denied")
        tree = Tree(str(self.root / "deeper"))
        error = self.assertRaises(Unusable, tree.write, PATH, "new")
        self.assertEqual(error.reason, "Permission denied")

    def test_file(self) -> None:
        """A file that cannot be read is reported, and nothing changes."""
        self.file.chmod(0)
        error = self.assertRaises(Unusable, self.tree.read, PATH)
        self.assertEqual(error.reason, "Permission denied")
        error = self.assertRaises(Unusable, self.tree.write, PATH, "new")
        self.assertEqual(error.reason, "Permission denied")
        self.assertEqual(self.names(), ["config"])
