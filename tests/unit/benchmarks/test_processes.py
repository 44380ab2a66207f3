"""What the kernel says about processes."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.processes import Cores, Memory, divide, parse_rollup, parse_stat

ROLLUP = """\
55d0c9d5e000-7ffd1b5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               10240 kB
Pss:                5120 kB
Pss_Dirty:          2048 kB
Shared_Clean:       4096 kB
Private_Dirty:      1024 kB
"""


class Processes(SynchronousTestCase):
    """The formats of proc(5)."""

    def test_memory(self) -> None:
        """The sums of all mappings are in MiB."""
        self.assertEqual(Memory(10, 5, 1), parse_rollup(ROLLUP))

    def test_incomplete_memory(self) -> None:
        """A file without one of the sums is an error, not nothing."""
        error = self.assertRaises(
            ValueError, parse_rollup, ROLLUP.replace("Private_Dirty", "Other")
        )
        self.assertIn("Private_Dirty", str(error))

    def test_sum(self) -> None:
        """The memory of a tree is the sum, and what work has added is the difference."""
        total = Memory(10, 5, 1) + Memory(1, 2, 3)
        self.assertEqual(Memory(11, 7, 4), total)
        self.assertEqual(Memory(1, 2, 3), total - Memory(10, 5, 1))

    def test_stat(self) -> None:
        """A process whose name has spaces and parentheses has a parent, and children that ended."""
        tick = os.sysconf("SC_CLK_TCK")
        after = ["S", "7", *["0"] * 11, str(2 * tick), str(tick), "20"]
        self.assertEqual((7, 3.0), parse_stat(f"42 (a) b (c) {' '.join(after)}"))

    def test_processors(self) -> None:
        """Servers and load have processors of their own, unless there is only one."""
        self.assertEqual(Cores({0}, {1}), divide({0, 1}))
        self.assertEqual(Cores({2, 3}, {5, 7, 8}), divide({8, 7, 5, 3, 2}))
        self.assertEqual(Cores({4}, {4}), divide({4}))
