"""One option after the other."""

from __future__ import annotations

from oci_registry.config.options import OptionReader

from .support import ConfigTestCase


class Reading(ConfigTestCase):
    """OptionReader."""

    def reader(
        self, flag: object = None, variable: str | None = None, sub: str = ""
    ) -> OptionReader:
        flags = {"flag": flag}
        environ = {} if variable is None else {"VARIABLE": variable}
        return OptionReader(flags, environ, self.findings, sub)

    def test_precedence(self) -> None:
        """A flag wins over a variable, and blanks around both are dropped."""
        for flag, variable, expected in (
            (None, None, None),
            (None, " x\n", ("VARIABLE", "x")),
            (" y ", "x", ("--flag", "y")),
            (None, "  ", None),
        ):
            given = self.reader(flag, variable).given("flag", "VARIABLE")
            self.assertEqual(given, expected)
        self.assert_fine()

    def test_first_variable(self) -> None:
        """Of several variables the first that is not empty counts."""
        reader = OptionReader({}, {"A": " ", "B": "b", "C": "c"}, self.findings)
        self.assertEqual(reader.variable("X", "A", "B", "C"), ("B", "b"))
        self.assertIsNone(reader.variable("X", "A"))

    def test_empty_flag(self) -> None:
        """An empty flag is a problem, and no variable stands in for it."""
        self.assertIsNone(self.reader(" ", "x").given("flag", "VARIABLE"))
        self.assertEqual(self.findings.problems, ["--flag: is empty"])

    def test_subcommand(self) -> None:
        """A flag of a storage is told with the storage; a variable stands for itself."""
        self.assertEqual(self.reader("y", sub="s3").flag("flag"), ("s3 --flag", "y"))
        self.assertEqual(self.reader(1, sub="s3").switch("flag", "VARIABLE"), "s3 --flag")
        self.assertEqual(self.reader(None, "x", "s3").variable("VARIABLE"), ("VARIABLE", "x"))

    def test_switch(self) -> None:
        """A switch tells where it was turned on."""
        for flag, variable, expected in (
            (0, None, None),
            (0, "no", None),
            (0, "YES", "VARIABLE"),
            (1, "no", "--flag"),
        ):
            self.assertEqual(self.reader(flag, variable).switch("flag", "VARIABLE"), expected)
        self.assert_fine()
        self.assertIsNone(self.reader(0, "x").switch("flag", "VARIABLE"))
        self.assert_problem("VARIABLE: must be true or false, not 'x'")

    def test_choice(self) -> None:
        """A value that is not among the choices is a problem of where it was given."""
        self.assertEqual(self.reader("Y").choice("flag", "VARIABLE", ("x", "y")), "y")
        self.assertIsNone(self.reader().choice("flag", "VARIABLE", ("x", "y")))
        self.assert_fine()
        self.assertIsNone(self.reader(None, "z").choice("flag", "VARIABLE", ("x", "y")))
        self.assert_problem("VARIABLE: 'z' is not known; known: x, y")
