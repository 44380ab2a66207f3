"""The filesystem driver on directories that are full, read-only, gone, or full of tricks."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EIO, EMFILE, ENOSPC, EROFS
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import evolve
from twisted.internet.defer import Deferred, execute

from oci_registry.storage.drivers import files
from oci_registry.storage.drivers.filesystem import LISTED_AT_ONCE
from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.storage.interfaces import StoreError
from tests.contract.base import KEY, NOW, OTHER
from tests.integration import test_filesystem_driver as base
from tests.support.descriptors import open_descriptors
from tests.support.streams import ManualThread


@contextmanager
def failing(name: str, number: int) -> Iterator[None]:
    """Let a function of the system fail."""
    with patch.object(os, name, side_effect=OSError(number, os.strerror(number))):
        yield


class Troubles(base.DriverTestCase):
    """A medium that fails."""

    def fails(self, work: Deferred[Any]) -> str:
        """Return the message of the StoreError that *work* has failed with."""
        return str(self.failureResultOf(work, StoreError).value)

    def test_disk_full_in_the_middle(self) -> None:
        """What the disk took only in part is not committed, and leaves nothing."""
        writer = self.successResultOf(self.driver.create(KEY))
        real = os.write

        def half(descriptor: int, data: memoryview) -> int:
            if len(data) == 1:
                raise OSError(ENOSPC, os.strerror(ENOSPC))
            return real(descriptor, data[: (len(data) + 1) // 2])

        with patch.object(os, "write", half):
            self.fails(execute(writer.append, b"0123456789"))
            self.assertIn("No space left", self.fails(self.driver.put(OTHER, b"0123456789")))
        self.assertEqual(self.successResultOf(writer.read(0, 5)), b"01234")
        self.fails(writer.commit())
        self.successResultOf(writer.cancel())
        writer.close()
        self.assertEqual((self.left(), self.listed()), ([], []))

    def test_short_writes(self) -> None:
        """A system that writes less than it is given is asked again."""
        real = os.write
        with patch.object(os, "write", lambda d, data: real(d, data[:3])):
            self.store(KEY, b"0123456789")
            self.successResultOf(self.driver.put(OTHER, b"abcdefgh"))
        self.assertEqual(self.content(KEY), b"0123456789")
        self.assertEqual(self.content(OTHER), b"abcdefgh")

    def test_not_on_the_disk(self) -> None:
        """What cannot be synced or renamed is not visible, not even at a second attempt."""
        for name in ("fsync", "replace"):
            writer = self.successResultOf(self.driver.create(KEY))
            writer.append(b"data")
            with failing(name, EIO):
                self.assertIn("Input/output error", self.fails(writer.commit()))
            self.fails(writer.commit())
            self.assertIsNone(self.content(KEY))
            self.successResultOf(writer.cancel())
            writer.close()
            self.assertEqual((self.left(), self.listed()), ([], []))

    def test_not_prepared(self) -> None:
        """A new file that cannot be locked, examined or made empty is removed; the next one can be used."""
        real = {name: getattr(os, name) for name in ("fstat", "ftruncate")}
        real["flock"] = fcntl.flock

        def once(name: str) -> Callable[..., Any]:
            errors = iter([OSError(EIO, os.strerror(EIO))])

            def call(*args: Any) -> Any:
                for error in errors:
                    raise error
                return real[name](*args)

            return call

        for module, name in ((fcntl, "flock"), (os, "fstat"), (os, "ftruncate")):
            with patch.object(module, name, once(name)):
                self.assertIn("Input/output error", self.fails(self.driver.put(OTHER, b"small")))
            self.assertEqual(([], []), (self.left(), self.listed()), name)
            self.store(KEY, b"0123456789")
            self.assertEqual(b"0123456789", self.content(KEY))
            self.successResultOf(self.driver.delete(KEY))

    def test_read_only(self) -> None:
        """A read-only directory is reported by the check, and still read from."""
        self.store(KEY, b"data")
        real = os.open

        def refuse(path: str, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_CREAT:
                raise OSError(EROFS, os.strerror(EROFS), path)
            return real(path, flags, mode)

        with patch.object(os, "open", refuse):
            for work in (
                self.driver.check(),
                self.driver.create(OTHER),
                self.driver.put(OTHER, b"x"),
            ):
                message = self.fails(work)
                self.assertIn("Read-only file system", message)
                self.assertIn(str(self.transfers), message)
            self.assertEqual(self.content(KEY), b"data")

    def test_too_many_files(self) -> None:
        """Where no more files can be opened, that is said of every request, and passes."""
        self.store(KEY, b"data")
        with failing("open", EMFILE), failing("scandir", EMFILE):
            for work in (
                self.driver.open(KEY),
                self.driver.get(KEY, 10),
                self.driver.create(KEY),
                self.driver.put(KEY, b""),
                self.driver.seal(KEY),
                self.driver.check(),
                self.driver.start(),
                Deferred.fromCoroutine(base.collect(self.driver.list("blobs"))),
            ):
                self.assertIn("Too many open files", self.fails(work))
        self.assertEqual(self.content(KEY), b"data")
        self.assertEqual(self.left(), [])

    def test_bad_sector(self) -> None:
        """A file that cannot be read fails those who read it, and is closed."""
        self.store(KEY, b"data")
        stored = self.successResultOf(self.driver.open(KEY))
        opened = open_descriptors()
        with failing("pread", EIO), failing("preadv", EIO):
            self.assertIsNone(stored.read_now(0, 4))
            self.fails(stored.read(0, 4))
            # Where it is kept open it is not read when it is opened again.
            self.clock.advance(2 * OpenFilesLimits().idle)
            self.fails(self.driver.open(KEY, 4))
        self.assertEqual(open_descriptors(), opened)
        stored.close()

    def test_root_vanishes(self) -> None:
        """When the directory is gone there is nothing in it; when it can be made again, it is."""
        self.store(KEY, b"data")
        growing = self.successResultOf(self.driver.create(OTHER))
        growing.append(b"data")
        shutil.rmtree(self.root)
        self.assertIsNone(self.successResultOf(self.driver.stat(KEY)))
        self.assertEqual((self.content(KEY), self.listed()), (None, []))
        self.assertFalse(self.successResultOf(self.driver.delete(KEY)))
        self.assertIn("No such file", self.fails(growing.commit()))
        self.successResultOf(growing.cancel())
        growing.close()
        self.successResultOf(self.driver.check())
        self.store(KEY, b"again")
        self.assertEqual((self.content(KEY), self.left()), (b"again", []))

    def test_file_for_a_root(self) -> None:
        """A file where the directory should be holds nothing and takes nothing, until it is gone."""
        shutil.rmtree(self.root)
        self.root.write_bytes(b"")
        self.assertEqual((self.content(KEY), self.listed()), (None, []))
        for work in (
            self.driver.start(),
            self.driver.check(),
            self.driver.create(KEY),
            self.driver.put(KEY, b"data"),
        ):
            self.fails(work)
        self.root.unlink()
        self.start()
        self.store(KEY, b"data")
        self.assertEqual(self.content(KEY), b"data")

    def test_folder_tidied_away(self) -> None:
        """A folder that is removed as empty just before a rename into it is made again."""
        real = os.replace
        removed: list[Path] = []

        def remove_first(source: str, target: Path) -> None:
            if len(removed) < 2:
                target.parent.rmdir()
                removed.append(target.parent)
            real(source, target)

        with patch.object(os, "replace", remove_first):
            self.store(KEY, b"data")
        self.assertEqual(len(removed), 2)
        self.assertEqual(self.content(KEY), b"data")

    def test_tidying(self) -> None:
        """Folders that have become empty go with their last object, up to those of the layout."""
        self.store(KEY, b"data")
        self.store(OTHER, b"data")
        self.successResultOf(self.driver.delete(KEY))
        self.assertTrue((self.root / OTHER).parent.is_dir())
        self.successResultOf(self.driver.delete(OTHER))
        self.assertEqual(os.listdir(self.root / "blobs"), [])
        self.store("x", b"data")
        self.successResultOf(self.driver.delete("x"))
        self.assertEqual(sorted(os.listdir(self.root)), ["blobs", "transfers"])

    def test_listing_in_pieces(self) -> None:
        """A long listing is fetched piece by piece, so that it holds no thread for long."""
        count = 2 * LISTED_AT_ONCE + 1
        for n in range(count):
            self.store(f"blobs/{n}", b"")
        thread = ManualThread()
        self.driver.lanes = evolve(self.driver.lanes, housekeeping=thread)
        listing = Deferred.fromCoroutine(base.collect(self.driver.list("blobs")))
        pieces = 0
        while thread.step():
            pieces += 1
        self.assertEqual(pieces, 4)
        self.assertEqual(len(self.successResultOf(listing)), count)

    def test_odd_names(self) -> None:
        """Files with names that are no text are listed, not stumbled over."""
        (self.root / "blobs").mkdir()
        Path(os.fsdecode(os.fsencode(self.root) + b"/blobs/\xff\xfe\n")).write_bytes(b"x")
        self.assertEqual(self.listed(), ["blobs/\udcff\udcfe\n"])


class Seals(base.DriverTestCase):
    """Permission bits tell what is ours."""

    def test_umask(self) -> None:
        """Whatever the umask is, what we committed is read-only, and what we write can be read."""
        for umask in (0, 0o022, 0o077):
            before = os.umask(umask)
            try:
                self.store(KEY, b"data")
                self.successResultOf(self.driver.put(OTHER, b"data"))
            finally:
                os.umask(before)
            for key in (KEY, OTHER):
                self.assertEqual(os.stat(self.root / key).st_mode & 0o777, 0o444)
                self.assertTrue(self.successResultOf(self.driver.stat(key)).sealed)
                self.assertTrue(self.successResultOf(self.driver.delete(key)))

    def test_any_write_bit_breaks_the_seal(self) -> None:
        """A file that anybody may write to is not taken for verified."""
        self.store(KEY, b"data")
        for mode, sealed in ((0o444, True), (0o400, True), (0o644, False), (0o464, False)):
            os.chmod(self.root / KEY, mode)
            self.assertEqual(self.successResultOf(self.driver.stat(KEY)).sealed, sealed)
            stored = self.successResultOf(self.driver.open(KEY))
            self.assertEqual(stored.info.sealed, sealed)
            stored.close()


class Tricks(base.DriverTestCase):
    """Things in the directory that are no objects."""

    def setUp(self) -> None:
        super().setUp()
        self.outside = Path(self.mktemp()).absolute()
        self.outside.write_bytes(b"secret")
        os.utime(self.outside, (1, 1))
        (self.root / KEY).parent.mkdir(parents=True)

    def check_nothing(self) -> None:
        """There is no object, the outside is as it was, and a commit puts one there."""
        for head in (0, 10):
            self.assertIsNone(self.successResultOf(self.driver.open(KEY, head)))
        self.assertIsNone(self.successResultOf(self.driver.stat(KEY)))
        self.assertIsNone(self.successResultOf(self.driver.get(KEY, 10)))
        self.assertEqual(self.listed(), [])
        self.successResultOf(self.driver.touch(KEY, NOW))
        self.successResultOf(self.driver.seal(KEY))
        self.store(KEY, b"data")
        self.assertEqual(self.content(KEY), b"data")
        self.check_outside()

    def check_outside(self) -> None:
        """Nothing has been done to the file outside."""
        status = os.stat(self.outside)
        self.assertEqual(self.outside.read_bytes(), b"secret")
        self.assertTrue(status.st_mode & 0o200)
        self.assertEqual(status.st_mtime, 1)

    def test_link_to_a_file(self) -> None:
        """A symbolic link is no object: what it points to is not read, sealed or touched."""
        (self.root / KEY).symlink_to(self.outside)
        self.check_nothing()

    def test_removing_a_link(self) -> None:
        """Removing a link removes the link."""
        (self.root / KEY).symlink_to(self.outside)
        self.assertTrue(self.successResultOf(self.driver.delete(KEY)))
        self.check_outside()

    def test_link_to_nothing(self) -> None:
        """A link to nothing, or to itself, is no object."""
        (self.root / KEY).symlink_to("nowhere")
        self.check_nothing()
        (self.root / KEY).unlink()
        (self.root / KEY).symlink_to(KEY.rpartition("/")[2])
        self.check_nothing()

    def test_pipe(self) -> None:
        """A pipe is no object, and nobody waits for one."""
        os.mkfifo(self.root / KEY)
        self.check_nothing()

    def test_link_in_the_place_of_a_growing_file(self) -> None:
        """A link where an object should grow is not written through."""
        (self.transfers / base.PLACE).symlink_to(self.outside)
        self.store(KEY, b"data")
        self.assertEqual(self.content(KEY), b"data")
        self.check_outside()

    def test_folder(self) -> None:
        """A folder in an object's place makes the commit fail, and nothing else."""
        (self.root / KEY).mkdir()
        (self.root / KEY / "file").write_bytes(b"")
        writer = self.successResultOf(self.driver.create(KEY))
        self.failureResultOf(writer.commit(), StoreError)
        self.successResultOf(writer.cancel())
        writer.close()
        self.failureResultOf(self.driver.put(KEY, b"x"), StoreError)
        self.assertEqual((self.left(), self.content(KEY)), ([], None))

    def test_links_to_folders_are_not_listed(self) -> None:
        """A listing stays in the directory, even where a link leads out of it or around."""
        (self.root / "blobs" / "loop").symlink_to(self.root, target_is_directory=True)
        (self.root / "blobs" / "out").symlink_to(self.outside.parent, target_is_directory=True)
        self.store(KEY, b"data")
        self.assertEqual(self.listed(), [KEY])

    def test_key_of_a_growing_file_is_no_path(self) -> None:
        """The name under which an object grows is one name, however deep its key is."""
        self.assertNotIn("/", base.PLACE)
        writer = self.successResultOf(self.driver.create("a/b/c"))
        self.assertEqual(self.left(), ["a-b-c"])
        self.successResultOf(writer.cancel())
        writer.close()
        self.assertEqual(files.SEALED & 0o222, 0)
