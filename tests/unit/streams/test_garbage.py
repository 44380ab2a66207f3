"""When Python's garbage collector works."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.garbage import collecting_seldom, import_for_good


class Garbage(SynchronousTestCase):
    """The garbage collector."""

    def test_seldom(self) -> None:
        """Garbage is collected less often meanwhile, and as before afterwards, also after an error."""
        before = gc.get_threshold()
        with self.assertRaises(ZeroDivisionError), collecting_seldom():
            self.assertGreater(gc.get_threshold(), before)
            raise ZeroDivisionError
        self.assertEqual(before, gc.get_threshold())

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
