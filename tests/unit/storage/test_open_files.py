"""Files that are kept open for a while, and used again only while they are the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers import page_cache
from oci_registry.storage.drivers.files import Descriptor, open_file
from oci_registry.storage.drivers.open_files import OpenFiles, OpenFilesLimits
from tests.support.streams import run_at_once

LIMITS = OpenFilesLimits(number=3, idle=10.0)
RUN: Any = run_at_once


class Keeping(SynchronousTestCase):
    """A few small files."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.files = OpenFiles(self.clock, LIMITS)
        self.patch(page_cache, "can_tell", lambda _: True)
        self.opened: list[Descriptor] = []
        self.addCleanup(self.check_closed)

    def check_closed(self) -> None:
        """In the end nothing is open, and nothing is due."""
        self.files.close()
        self.files.close()
        self.assertEqual([], [each for each in self.opened if each.number >= 0])
        self.assertEqual([], self.clock.getDelayedCalls())

    def path(self, key: str) -> Path:
        return self.folder / key

    def keep(self, key: str) -> Descriptor:
        """Open a file, have it kept, and close it."""
        if not self.path(key).exists():
            self.path(key).write_text(key)
        opened = open_file(self.path(key))
        assert opened is not None
        descriptor = Descriptor(opened[0], RUN)
        self.opened.append(descriptor)
        self.files.keep(key, descriptor, opened[1])
        descriptor.close()
        return descriptor

    def found(self, key: str) -> bool:
        """Whether it is still open."""
        again = self.files.get(key)
        if again is None:
            return False
        descriptor, status = again
        self.assertEqual(len(key), status.st_size)
        self.assertEqual(key.encode(), os.pread(descriptor.number, 100, 0))
        descriptor.close()
        return True

    def test_again(self) -> None:
        """A file that was kept is found, again and again, and another one is not."""
        self.keep("a")
        self.assertEqual([True, True, False], [self.found("a"), self.found("a"), self.found("b")])

    def test_changed(self) -> None:
        """One that was removed, replaced, written to or made writable is not used again."""
        changes = {
            "removed": lambda path: path.unlink(),
            "replaced": lambda path: os.replace(self.other(), path),
            "longer": lambda path: path.write_text("something else"),
            "writable": lambda path: path.chmod(0o666),
        }
        for key, change in changes.items():
            descriptor = self.keep(key)
            change(self.path(key))
            self.assertFalse(self.found(key), key)
            self.assertEqual(-1, descriptor.number, key)

    def other(self) -> Path:
        path = self.path("other")
        path.write_text("other")
        return path

    def test_touched(self) -> None:
        """That its times change is no reason to open it again."""
        self.keep("a")
        os.utime(self.path("a"), (5, 5))
        self.assertTrue(self.found("a"))

    def test_few(self) -> None:
        """The least recently used is closed for another one."""
        for key in "abc":
            self.keep(key)
        self.found("a")
        self.keep("d")
        self.assertEqual(["a", "c", "d"], [key for key in "abcd" if self.found(key)])

    def test_idle(self) -> None:
        """One that is not used for a while is closed; one that is used stays."""
        self.keep("a")
        self.keep("b")
        for _ in range(3):
            self.clock.advance(LIMITS.idle / 2)
            self.assertTrue(self.found("a"))
        self.clock.advance(LIMITS.idle / 2)
        self.assertEqual(1, len(self.files))
        self.clock.advance(2 * LIMITS.idle)
        self.assertEqual((0, []), (len(self.files), self.clock.getDelayedCalls()))

    def test_removed_by_others(self) -> None:
        """The space of a file that somebody else removes is free after a while, though it is used."""
        descriptor = self.keep("a")
        self.path("a").unlink()
        self.clock.advance(LIMITS.idle)
        self.assertEqual(-1, descriptor.number)

    def test_dropped_while_it_is_read(self) -> None:
        """A reader keeps what it has when the file is no longer kept."""
        self.keep("a")
        again = self.files.get("a")
        assert again is not None
        self.files.drop("a")
        self.assertFalse(self.found("a"))
        self.assertEqual(b"a", os.pread(again[0].number, 9, 0))
        again[0].close()

    def test_kept_twice(self) -> None:
        """Of two that were opened at the same time the later one is kept, and the other closed."""
        first, second = self.keep("a"), self.keep("a")
        self.assertEqual((-1, True, 1), (first.number, second.number >= 0, len(self.files)))

    def test_volumes_that_may_wait(self) -> None:
        """Where asking for a file's status might wait, none is kept, nor one that has no name any more."""
        with patch.object(page_cache, "can_tell", return_value=False):
            self.keep("a")
        self.path("b").write_text("b")
        opened = open_file(self.path("b"))
        assert opened is not None
        self.path("b").unlink()
        descriptor = Descriptor(opened[0], RUN)
        self.files.keep("b", descriptor, os.fstat(opened[0]))
        descriptor.close()
        self.assertEqual(0, len(self.files))

    def test_opened_late(self) -> None:
        """What was being opened when the store was closed is not kept."""
        self.keep("a")
        self.files.close()
        descriptor = self.keep("b")
        self.assertEqual((-1, 0), (descriptor.number, len(self.files)))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_part(self) -> None:
        """Bytes of a file are read while it is there, unchanged and of the right size, which is a use."""
        self.keep("a")
        size = self.path("a").stat().st_size
        self.patch(Descriptor, "read_now", lambda _, offset, length: b"abc"[offset:][:length])
        for _ in range(4):
            self.clock.advance(LIMITS.idle / 2)
            self.assertEqual(b"b", self.files.part("a", size, 1, 1))
        self.assertIsNone(self.files.part("a", size + 1, 1, 1))
        self.assertIsNone(self.files.part("b", size, 1, 1))
        self.path("a").write_text("longer")
        self.assertIsNone(self.files.part("a", size, 1, 1))
        self.assertEqual(0, len(self.files))
