"""Problems and warnings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings, nearest


class Collecting(SynchronousTestCase):
    """Findings."""

    def test_source_first(self) -> None:
        """Every finding begins with where it was found, in the order it was."""
        findings = Findings()
        findings.problem("--port", "is odd")
        findings.problem("PORT", ValueError("is even"))
        findings.warning("FILE", "is green")
        self.assertEqual(findings.problems, ["--port: is odd", "PORT: is even"])
        self.assertEqual(findings.warnings, ["FILE: is green"])


class Hints(SynchronousTestCase):
    """What was probably meant."""

    def test_close(self) -> None:
        """A slip of the pen is told apart from the known words, in any case of letters."""
        known = ("namespace", "host", "tls")
        self.assertEqual(nearest("namespce", known), "did you mean namespace?")
        self.assertEqual(nearest("HOST", known), "did you mean host?")

    def test_far(self) -> None:
        """For a word like none of them all are listed."""
        self.assertEqual(nearest("zzz", ("b", "a")), "known: a, b")
