"""Tests are run in several processes, and whatever goes wrong is seen."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.folders import short_folder
from tests.support.process import SOURCE

_MIXED = """
from twisted.trial.unittest import TestCase
class Mixed(TestCase):
    def test_good(self): pass
    def test_bad(self): self.assertEqual(1, 2)
    def test_odd(self): raise KeyError("oddity")
    def test_not_here(self): pass
    test_not_here.skip = "not on this machine"
"""
_DYING = """
import os
from twisted.trial.unittest import TestCase
class Dying(TestCase):
    def test_it(self): os._exit(0)
"""


# As "python -m tests", but what most tests import is not imported beforehand: it is not needed by samples.
_WITHOUT_SHARED = (
    "-c",
    "import sys, tests.__main__ as m; sys.exit(m.main(sys.argv[1:], shared=()))",
)


class Running(SynchronousTestCase):
    """A process that runs samples of tests."""

    def run_tests(self, program: Sequence[str], *names: str, **modules: str) -> tuple[int, str]:
        """Run tests of these *modules*; return the exit status and what was shown."""
        folder = short_folder(self)
        for name, source in modules.items():
            (folder / "samples").mkdir(exist_ok=True)
            (folder / "samples" / "__init__.py").touch()
            (folder / "samples" / f"test_{name}.py").write_text(source)
        done = subprocess.run(
            [sys.executable, *program, "--jobs=1", *names],
            check=False,
            cwd=folder,
            env={"PYTHONPATH": os.pathsep.join((SOURCE, str(folder)))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
        )
        self.assertTrue(Path(folder, "_trial_temp").is_dir())
        return done.returncode, done.stdout

    def test_wrong(self) -> None:
        """Failures, errors, what was skipped, unknown names and a process that dies are shown."""
        status, shown = self.run_tests(
            _WITHOUT_SHARED, "samples", "unknown", mixed=_MIXED, zz_dying=_DYING
        )
        self.assertEqual(status, 1, shown)
        self.assertIn("1 != 2", shown)
        self.assertIn("oddity", shown)
        self.assertIn("samples.test_mixed.Mixed.test_not_here: not on this machine", shown)
        self.assertIn("samples.test_zz_dying: not run to its end", shown)
        self.assertIn("unknown", shown)
        self.assertIn("FAILED (skips=1, failures=4, successes=1)", shown)

    def test_good(self) -> None:
        """One test can be named, and if it succeeds, so does the whole."""
        status, shown = self.run_tests(
            ("-m", "tests"), "samples.test_mixed.Mixed.test_good", mixed=_MIXED
        )
        self.assertEqual(status, 0, shown)
        self.assertIn("PASSED (successes=1)", shown)
