"""When Python's garbage collector works."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.garbage import (
    collecting_seldom,
    import_for_good,
    keep_after_collecting,
    release_frames,
)


class Node:
    """Something that may be part of a cycle."""

    def __init__(self) -> None:
        self.other: object = None


def fail_with(held: Node, reason: Exception | None = None) -> Exception:
    """Return an error whose traceback has a frame that refers to it, and to *held*."""
    try:
        raise ValueError(held.other) from reason
    except ValueError as error:
        kept = error
    return kept


class Garbage(SynchronousTestCase):
    """The garbage collector."""

    def test_seldom(self) -> None:
        """Garbage is collected less often meanwhile, and as before afterwards, also after an error."""
        before = gc.get_threshold()
        with self.assertRaises(ZeroDivisionError), collecting_seldom():
            self.assertGreater(gc.get_threshold(), before)
            raise ZeroDivisionError
        self.assertEqual(before, gc.get_threshold())

    def test_kept(self) -> None:
        """What exists is not traversed any more; garbage is collected before, and not kept."""
        alive, garbage = Node(), Node()
        alive.other, garbage.other = Node(), garbage
        freed = weakref.ref(garbage)
        del garbage
        self.addCleanup(gc.unfreeze)
        keep_after_collecting()
        self.assertIsNone(freed())
        traversed = {id(one) for one in gc.get_objects()}
        self.assertTrue(traversed.isdisjoint({id(alive), id(alive.other)}))
        # It is still freed when nothing refers to it.
        freed = weakref.ref(alive)
        del alive
        self.assertIsNone(freed())

    def test_frames(self) -> None:
        """An error that has been handled keeps nothing of the coroutines that failed, nor do its causes."""
        gc.disable()
        self.addCleanup(gc.enable)
        nodes = [Node(), Node(), Node()]
        held = [weakref.ref(node) for node in nodes]
        error = fail_with(nodes[0], fail_with(nodes[1], fail_with(nodes[2])))
        del nodes
        self.assertNotIn(None, [one() for one in held])
        release_frames(error)
        self.assertEqual([None] * 3, [one() for one in held])
        self.assertIsNotNone(error.__cause__)

    def test_imported(self) -> None:
        """The objects of a module that is imported for good are not traversed any more."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "imported_for_good.py").write_text(
            "class Large:\n    entries = [[] for _ in range(1000)]\n"
        )
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.modules.pop, "imported_for_good")
        self.addCleanup(sys.path.remove, str(folder))
        module = import_for_good("imported_for_good")
        self.assertIs(sys.modules["imported_for_good"], module)
        traversed = {id(one) for one in gc.get_objects()}
        self.assertNotIn(id(module.Large), traversed)
        self.assertNotIn(id(module.Large.entries[7]), traversed)
