"""A new object on its way into the bucket: in parts while it grows, in whichever order they end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import execute
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3 import multipart, writer
from oci_registry.storage.drivers.s3.limits import DEFAULTS, MIB
from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.drivers.s3.writer import S3Writer
from oci_registry.storage.interfaces import StoreError
from tests.unit.storage.s3.writer_case import KEY, LIMITS, PART, WriterTestCase, content


class Good(WriterTestCase):
    """Nothing goes wrong."""

    def test_small(self) -> None:
        """What fits into one part is one request, when it is complete."""
        for size in (0, 1, PART):
            self.setUp()
            made = self.full(size)
            self.thread.run()
            self.assertEqual(self.server.calls, [])
            self.successResultOf(self.commit(made))
            self.assertEqual(self.server.calls, [f"put {size}"])
            self.is_stored(size)

    def test_while_it_grows(self) -> None:
        """A part is uploaded as soon as it is complete, and the last one with the commit."""
        size = 3 * PART + 5
        made = self.writer(size)
        data = content(size)
        made.append(data[: PART - 1])
        self.assertEqual(len(self.thread.waiting), 0)
        for number in (1, 2, 3):
            made.append(data[number * PART - 1 : (number + 1) * PART - 1])
            self.thread.run()
            self.assertEqual(self.server.calls[-1], f"part {number}")
        self.assertEqual(self.server.objects, {})
        self.successResultOf(self.commit(made))
        self.assertEqual(
            self.server.calls, [f"begin {size}", "part 1", "part 2", "part 3", "part 4", "complete"]
        )
        self.is_stored(size)

    def test_few_at_once(self) -> None:
        """One request begins the upload; then there are a few parts at a time, whatever waits."""
        made = self.full(10 * PART)
        self.assertEqual(len(self.thread.waiting), 1)
        self.thread.step()
        while self.thread.waiting:
            self.assertLessEqual(len(self.thread.waiting), LIMITS.parallel)
            self.thread.step()
        self.successResultOf(self.commit(made))
        self.is_stored(10 * PART)

    def test_committed_while_parts_are_under_way(self) -> None:
        """The commit waits for the parts that are under way, and uploads none twice."""
        made = self.full(4 * PART + 1)
        self.thread.step()
        work = made.commit()
        self.assertNoResult(work)
        self.thread.run()
        self.successResultOf(work)
        parts = [call for call in self.server.calls if call.startswith("part")]
        self.assertEqual(sorted(parts), [f"part {n}" for n in range(1, 6)])
        self.is_stored(4 * PART + 1)

    def test_unknown_length(self) -> None:
        """What is of unknown length is uploaded when it is complete, in parts if need be."""
        for size in (PART, 2 * PART + 1):
            self.setUp()
            made = self.writer(None)
            made.append(content(size))
            self.thread.run()
            self.assertEqual(self.server.calls, [])
            self.successResultOf(self.commit(made))
            self.is_stored(size)

    def test_once(self) -> None:
        """A second commit does nothing, nor does cancelling afterwards."""
        made = self.full(2 * PART)
        self.successResultOf(self.commit(made))
        calls = len(self.server.calls)
        self.successResultOf(self.commit(made))
        self.successResultOf(made.cancel())
        self.assertEqual(len(self.server.calls), calls)
        self.is_stored(2 * PART)


class Others(WriterTestCase):
    """Another replica was first."""

    def test_the_same(self) -> None:
        """What is there already stays, and ours leaves nothing."""
        for size in (PART, 3 * PART):
            self.setUp()
            self.server.objects[KEY] = content(size), True
            self.successResultOf(self.commit(self.full(size)))
            self.assertFalse([call for call in self.server.calls if "over" in call])
            self.is_stored(size)

    def test_something_else(self) -> None:
        """What is there and is not ours, or not as long, is replaced."""
        for there in ((content(3 * PART), False), (b"short", True)):
            for size in (PART, 3 * PART):
                self.setUp()
                self.server.objects[KEY] = there
                self.successResultOf(self.commit(self.full(size)))
                self.is_stored(size)

    def test_answer_lost(self) -> None:
        """If a completion was done, but its answer lost, then it is done."""
        made = self.full(2 * PART)
        self.thread.run()

        def lost(call: str) -> Exception | None:
            if call == "complete":
                self.server.objects[KEY] = content(2 * PART), True
                self.server.uploads.clear()
            return None

        self.server.failing = lost
        self.successResultOf(self.commit(made))
        self.is_stored(2 * PART)


class Bad(WriterTestCase):
    """Something goes wrong."""

    def leaves_nothing(self, made: S3Writer) -> None:
        """Cancel, and check that nothing is left."""
        self.server.failing = lambda call: None
        work = made.cancel()
        self.thread.run()
        self.successResultOf(work)
        self.assertEqual((self.server.uploads, self.server.objects), ({}, {}))
        self.assertEqual(self.committed, [])

    def test_a_part_fails(self) -> None:
        """A part that fails stops the uploading; the commit does what is missing."""
        made = self.writer(5 * PART)
        failed: list[str] = []

        def once(call: str) -> Exception | None:
            if call == "part 2" and not failed:
                failed.append(call)
                return StoreError("reset")
            return None

        self.server.failing = once
        made.append(content(3 * PART))
        self.thread.run()
        made.append(content(5 * PART)[3 * PART :])
        self.thread.run()
        self.assertNotIn("part 4", self.server.calls)
        self.successResultOf(self.commit(made))
        self.is_stored(5 * PART)

    def test_everything_fails(self) -> None:
        """Whatever request fails for good, the commit fails, and cancelling leaves nothing."""
        for kind in ("begin", "part 1", "part 3", "complete"):
            self.setUp()
            self.server.failing = lambda call, kind=kind: (
                StoreError("down") if call.startswith(kind) else None
            )
            made = self.full(2 * PART + 1)
            self.thread.run()
            self.failureResultOf(self.commit(made), StoreError)
            self.failureResultOf(self.commit(made), StoreError)
            self.assertEqual(self.successResultOf(made.read(PART, 4)), b"\1\1\1\1")
            self.leaves_nothing(made)

    def test_upload_gone(self) -> None:
        """An upload that somebody has removed fails the commit."""
        made = self.full(3 * PART)
        self.thread.step()
        self.server.uploads.clear()
        self.thread.run()
        self.failureResultOf(self.commit(made), StoreError)
        self.leaves_nothing(made)

    def test_cancelled(self) -> None:
        """Whenever it is cancelled, what is under way ends first, and nothing is left."""
        for steps in range(8):
            for committing in (False, True):
                self.setUp()
                made = self.full(4 * PART + 1)
                for _ in range(steps):
                    self.thread.step()
                work = made.commit() if committing else None
                cancelled = made.cancel()
                self.thread.run()
                self.successResultOf(cancelled)
                if work is not None:
                    self.failureResultOf(work, StoreError)
                self.assertEqual((self.server.uploads, self.server.objects), ({}, {}), steps)
                self.failureResultOf(self.commit(made), StoreError)

    def test_spool_full(self) -> None:
        """What lacks a piece cannot be committed."""
        made = self.full(2 * PART)
        self.patch(writer, "write_all", lambda *_: (_ for _ in ()).throw(OSError(28, "No space")))
        self.failureResultOf(execute(made.append, b"more"), StoreError)
        self.failureResultOf(self.commit(made), StoreError)
        self.leaves_nothing(made)

    def test_closed_meanwhile(self) -> None:
        """A spool that is closed stays until the parts under way have been read from it."""
        made = self.full(3 * PART)
        made.close()
        self.thread.run()
        self.assertEqual(self.server.calls[-1], "part 3")
        self.assertEqual(list(Path(self.spool).iterdir()), [])
        self.leaves_nothing(made)


class Parts(SynchronousTestCase):
    """How objects are cut."""

    def test_sizes(self) -> None:
        """There are at most ten thousand parts, of 16 MiB or whole MiB above."""
        gib = 1024 * MIB
        part_size = Multipart(cast(Any, SimpleNamespace(writing=None))).part_size
        for size, part in (
            (0, DEFAULTS.uploads.part),
            (10_000 * DEFAULTS.uploads.part, DEFAULTS.uploads.part),
            (10_000 * DEFAULTS.uploads.part + 1, DEFAULTS.uploads.part + MIB),
            (5 * 1024 * gib, 525 * MIB),
        ):
            self.assertEqual(part_size(size), part)
            self.assertLessEqual(-(-size // part), multipart.MAX_PARTS)
