"""The key ``min_age`` of an upstream."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings
from oci_registry.config.settings import AgeRule, MinAges
from oci_registry.config.upstreams import load_upstreams
from oci_registry.spec.patterns import parse_pattern

DAY = 86400.0


class MinAge(SynchronousTestCase):
    """What may be written."""

    def load(self, text: str) -> tuple[MinAges | None, list[str]]:
        """Return what is read of a value, and the problems, without the place."""
        file = Path(self.mktemp())
        file.write_text(f"- namespace: a.example\n  host: a.example\n  min_age: {text}\n", "utf-8")
        findings = Findings()
        upstreams = load_upstreams(str(file), findings)
        problems = [problem.split("min_age: ", 1)[1] for problem in findings.problems]
        return (upstreams[0].min_age if upstreams else None), problems

    def test_one(self) -> None:
        """A duration is for every image."""
        ages, problems = self.load("3d")
        self.assertEqual((MinAges((AgeRule(parse_pattern("*"), 3 * DAY),)), []), (ages, problems))
        assert ages is not None
        self.assertEqual(3 * DAY, ages.of("any/thing", "1"))
        self.assertEqual(0, MinAges().of("a", "b"))

    def test_patterns(self) -> None:
        """Of several patterns that match the longest counts; without any there is no minimum."""
        ages, problems = self.load('{"a/*": 1d, "a/*:edge": 0s, "b:latest": 2d}')
        self.assertEqual([], problems)
        assert ages is not None
        found = [ages.of(*image) for image in (("a/x", "edge"), ("a/x", "1"), ("b", "latest"))]
        self.assertEqual([0, DAY, 2 * DAY], found)
        self.assertEqual(0, ages.of("b", "1"))

    def test_problems(self) -> None:
        """All that is wrong is reported at once, with its line."""
        _, (problem,) = self.load("{'a b': 1d, c: soon, d: 1d}")
        self.assertIn("line 3: 'a b' is not a pattern", problem)
        self.assertIn("line 3: bad duration 'soon'", problem)
        for text, expected in (
            ("true", "or durations by patterns, not true or false"),
            ("[1d]", "must be a duration such as 3d, or durations by patterns, not a list"),
            ("3", "it needs a unit"),
            ("{" + ", ".join(f"a{n}: 1d" for n in range(101)) + "}", "at most 100 patterns"),
        ):
            _, (problem,) = self.load(text)
            self.assertIn(expected, problem)
