"""One option after the other."""

from __future__ import annotations

from oci_registry.config.options import OptionReader, one_of

from .support import ConfigTestCase


class Reading(ConfigTestCase):
    """OptionReader."""

    def reader(
        self, flag: object = None, variable: str | None = None, sub: str = ""
    ) -> OptionReader:
        flags = {"flag": flag}
        environ = {} if variable is None else {f"{sub}_FLAG".upper().strip("_"): variable}
        return OptionReader(flags, environ, self.findings, sub)

    def test_precedence(self) -> None:
        """A flag wins over a variable, and blanks around both are dropped."""
        for flag, variable, expected in (
            (None, None, None),
            (None, " x\n", ("FLAG", "x")),
            (" y ", "x", ("--flag", "y")),
            (None, "  ", None),
        ):
            reader = self.reader(flag, variable)
            given = reader.given("flag")
            self.assertEqual(given and (reader.source("flag"), given), expected)
            self.assertEqual(reader.is_given("flag"), expected is not None)
        self.assert_fine()

    def test_first_variable(self) -> None:
        """Of several variables the first that is not empty counts."""
        reader = OptionReader({}, {"A": " ", "B": "b", "C": "c"}, self.findings)
        self.assertEqual(reader.variable("X", "A", "B", "C"), ("B", "b"))
        self.assertIsNone(reader.variable("X", "A"))

    def test_empty_flag(self) -> None:
        """An empty flag is a problem, and no variable replaces it."""
        self.assertIsNone(self.reader(" ", "x").given("flag"))
        self.assertEqual(self.findings.problems, ["--flag: is empty"])

    def test_subcommand(self) -> None:
        """A flag of a storage is reported with the storage, whose name its variable begins with."""
        self.assertEqual(self.reader("y", sub="s3").source("flag"), "s3 --flag")
        self.assertEqual(self.reader(1, sub="s3").source("flag"), "s3 --flag")
        self.assertEqual(self.reader(None, "x", "s3").source("flag"), "S3_FLAG")
        self.assertEqual(self.reader(None, "x", "s3").given("flag"), "x")
        for flag, variable in (("ca-file", "S3_CA_FILE"), ("s3-connections", "S3_CONNECTIONS")):
            self.assertEqual(self.reader(sub="s3").variable_of(flag), variable)

    def test_switch(self) -> None:
        """A switch is on by its flag, or by a variable that says so."""
        for flag, variable, expected, source in (
            (0, None, False, "--flag"),
            (0, "no", False, "FLAG"),
            (0, "YES", True, "FLAG"),
            (1, "no", True, "--flag"),
        ):
            reader = self.reader(flag, variable)
            self.assertEqual((reader.switch("flag"), reader.source("flag")), (expected, source))
        self.assert_fine()
        self.assertFalse(self.reader(0, "x").switch("flag"))
        self.assert_problem("FLAG: must be true or false, not 'x'")

    def test_choice(self) -> None:
        """A value that is not among the choices is a problem of where it was given."""
        choice = one_of(("x", "y"))
        self.assertEqual(self.reader("Y").read("flag", choice), "y")
        self.assertIsNone(self.reader().read("flag", choice))
        self.assert_fine()
        self.assertIsNone(self.reader(None, "z").read("flag", choice))
        self.assert_problem("FLAG: 'z' is not known; known: x, y")

    def test_several(self) -> None:
        """Of several settings those that were given are read, by the names of their flags."""
        reader = OptionReader({"a-b": "5"}, {"HOST": "x"}, self.findings)
        found = reader.read_all({"a_b": int, "endpoint": str, "missing": str})
        self.assertEqual(found, {"a_b": 5, "endpoint": "x"})
        self.assert_fine()
