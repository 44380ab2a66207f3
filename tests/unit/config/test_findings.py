"""Problems and warnings."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings, nearest, suggestion


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
        """A slip of the pen is distinguished from the known words, in any case of letters."""
        known = ("namespace", "host", "tls")
        self.assertEqual(nearest("namespce", known), "did you mean namespace?")
        self.assertEqual(nearest("HOST", known), "did you mean host?")

    def test_two(self) -> None:
        """Of two words that are about as close both may be meant; of others only the closest."""
        known = ("host", "hosts", "client_cert_file", "client_key_file")
        self.assertEqual(nearest("hots", known), "did you mean host or hosts?")
        self.assertEqual(nearest("client_cert_fle", known), "did you mean client_cert_file?")

    def test_options(self) -> None:
        """What is suggested can be written as an option; without a close word there is nothing."""
        self.assertEqual(suggestion("listn", ("listen", "port"), "--"), "did you mean --listen?")
        self.assertEqual(suggestion("wibble", ("listen", "port"), "--"), "")

    def test_far(self) -> None:
        """For a word like none of them all are listed."""
        self.assertEqual(nearest("zzz", ("b", "a")), "known: a, b")
