"""The order of the samples of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.bench import Bench, Plan, Sample, costing
from benchmarks.load import BadResponse
from benchmarks.processes import divide
from benchmarks.results import Results
from benchmarks.servers import Server


class FakeServer:
    """A server that has used one second more each time that it is looked at."""

    used = 0.0

    def cpu(self) -> float:
        self.used += 1
        return self.used


class Rounds(SynchronousTestCase):
    """Servers take turns."""

    def setUp(self) -> None:
        self.taken: list[str] = []
        self.results = Results(["a", "b"])
        self.bench = Bench([], Plan(rounds=3), self.results, divide({0}), Path())

    def take(self, name: str, fails_at: int = -1) -> Callable[[], Sample]:
        """Return what takes a sample of *name*, and fails at one of its turns."""

        def taking() -> Sample:
            self.taken.append(name)
            if self.taken.count(name) == fails_at:
                raise BadResponse("503")
            return Sample(len(self.taken), 7, load=0.5)

        return taking

    def rows(self, **takes: Callable[[], Sample]) -> None:
        with redirect_stderr(StringIO()):
            self.bench.rows("hits", [("manifest", "µs"), ("other", "s")], takes)

    def test_turns(self) -> None:
        """Each round has a sample of each server, and another one is the first."""
        self.rows(a=self.take("a"), b=self.take("b"))
        self.assertEqual(["a", "b", "b", "a", "a", "b"], self.taken)
        first, second = self.results.rows
        self.assertEqual({"a": [1, 4, 5], "b": [2, 3, 6]}, first.samples)
        self.assertEqual([7, 7, 7], second.samples["b"])

    def test_failure(self) -> None:
        """A server that fails is left out with a note; the others continue."""
        for turn in (1, 2):
            self.setUp()
            self.rows(a=self.take("a"), b=self.take("b", fails_at=turn))
            self.assertEqual({"a"}, {name for row in self.results.rows for name in row.samples})
            self.assertEqual({"a"}, set(self.results.rows[0].load))
            self.assertEqual(3, self.taken.count("a"))
            self.assertEqual(turn, self.taken.count("b"))
            self.assertEqual(["manifest: b is left out: 503"], self.results.notes)

    def test_cost(self) -> None:
        """A cost is CPU time for each unit of work; work of which nothing came has none."""
        server = cast(Server, FakeServer())
        self.assertEqual((500,), costing(server, lambda: 2, 1000).figures)
        self.assertRaises(BadResponse, costing, server, lambda: 0)
