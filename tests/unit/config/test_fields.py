"""The values of one mapping."""

from __future__ import annotations

import os

from oci_registry.config.documents import read_entries
from oci_registry.config.fields import Fields, boolean, duration, number, text, timeout
from oci_registry.config.files import read_file

from .support import SECRET, ConfigTestCase


def _upper(text: str) -> str:
    if "x" in text:
        raise ValueError("has an x")
    return text.upper()


class _Case(ConfigTestCase):
    """Reads the fields of a mapping from one line."""

    def fields(self, line: str) -> Fields:
        """The fields of a mapping that is written in one line."""
        self.findings.problems.clear()
        (entry,) = read_entries(f"- {{{line}}}".encode(), "f.yaml", self.findings)
        path = str(self.directory / "f.yaml")
        return Fields(entry, path, self.findings, "entry 1")

    def assert_refused(self, *parts: str) -> None:
        """The value at ``k`` is what is wrong."""
        self.assert_problem(f"{self.directory}/f.yaml: entry 1, line 1: k: ", *parts)


class Values(_Case):
    """Values of every type."""

    def test_not_given(self) -> None:
        """A key that is not there, or has no value, is not given, which is no problem."""
        for line in ("", "k: null", "k: ~", "k:"):
            fields = self.fields(line)
            for found in (
                fields.given("k"),
                fields.read("k", text),
                fields.parsed("k", _upper),
                fields.read("k", boolean),
                fields.read("k", timeout),
                fields.read("k", number(1, 2)),
                fields.file("k", read_file),
            ):
                self.assertIsNone(found)
            self.assert_fine()
            self.assertIsNone(fields.required("k", _upper))
            self.assert_refused("is required")

    def test_text(self) -> None:
        """Text is not empty, and as it is written whatever else YAML would take it for."""
        for written in ("a", "5", "yes", "1.10", "0o17", "0x10", "2024-06-11", "20240611", "1_000"):
            self.assertEqual(self.fields(f"k: {written}").read("k", text), written)
        for written in ("=", "<<", "1e3", "12:30:45", ".inf", "'a'", "!!str 5"):
            expected = written.removeprefix("!!str ").strip("'")
            self.assertEqual(self.fields(f"k: {written}").read("k", text), expected)
        self.assert_fine()
        for value, reason in {
            "''": "is empty",
            "[a]": "must be text, not a list",
            "{a: b}": "must be text, not a mapping",
            "!own x": "must be text, not a value with a YAML tag",
        }.items():
            self.assertIsNone(self.fields(f"k: {value}").read("k", text))
            self.assert_refused(reason)

    def test_parsed(self) -> None:
        """What a parser has against a text is a problem in its words."""
        self.assertEqual(self.fields("k: a").parsed("k", _upper), "A")
        self.assertEqual(self.fields("k: a").required("k", _upper), "A")
        self.assert_fine()
        for read in (Fields.parsed, Fields.required):
            self.assertIsNone(read(self.fields("k: x"), "k", _upper))
            self.assert_refused("has an x")

    def test_boolean(self) -> None:
        """True and false are what YAML takes for them."""
        for value, expected in {"true": True, "no": False, "On": True}.items():
            self.assertIs(self.fields(f"k: {value}").read("k", boolean), expected)
        self.assert_fine()
        for value in ("'true'", "1", "[]"):
            self.assertIsNone(self.fields(f"k: {value}").read("k", boolean))
            self.assert_refused("must be true or false, not ")

    def test_duration(self) -> None:
        """A duration has units, but for 0, and may have to be longer than that."""
        for value, seconds in {"1h 30m": 5400.0, "0": 0.0, "0s": 0.0, "5ms": 0.005}.items():
            self.assertEqual(self.fields(f"k: {value}").read("k", duration), seconds)
        self.assertEqual(self.fields("k: 1ms").read("k", timeout), 0.001)
        self.assert_fine()
        for value, reason in {
            "5": "needs a unit",
            "-1s": "negative",
            "true": "must be a duration such as 14d, not true or false",
            "1.5": "not a number",
            "[1s]": "not a list",
        }.items():
            self.assertIsNone(self.fields(f"k: {value}").read("k", duration))
            self.assert_refused(reason)
        for value in ("0", "0s", "0d 0h"):
            self.assertIsNone(self.fields(f"k: {value}").read("k", timeout))
            self.assert_refused("must be longer than 0s")

    def test_number(self) -> None:
        """A number lies between two others, or is one of them."""
        for count in (2, 3, 5):
            self.assertEqual(self.fields(f"k: {count}").read("k", number(2, 5)), count)
        self.assert_fine()
        for value, reason in {
            "1": "must be a whole number from 2 to 5",
            "6": "must be a whole number from 2 to 5",
            "-3": "must be a whole number from 2 to 5",
            "3.0": "must be a whole number from 2 to 5, not a number",
            "'3'": "not text",
            "true": "not true or false",
            "9" * 5000: "not a malformed int",
        }.items():
            self.assertIsNone(self.fields(f"k: {value}").read("k", number(2, 5)))
            self.assert_refused(reason)

    def test_zero_and_false_are_given(self) -> None:
        """Nothing but None is left to the defaults of the settings."""
        fields = self.fields("a: , b: 0, c: no")
        readers = {"a": duration, "b": duration, "c": boolean, "d": text}
        self.assertEqual(fields.read_all(readers), {"b": 0, "c": False})
        self.assert_fine()


class Files(_Case):
    """Files that are named."""

    def test_beside_the_upstream_file(self) -> None:
        """A path is relative to the file that has it, and is returned with what was checked."""
        path = self.write("secret", SECRET)
        for name in ("secret", path, "./secret"):
            found, content = self.fields(f"k: {name}").file("k", read_file)
            self.assertTrue(os.path.samefile(found, path))
            self.assertEqual(content.data, SECRET.encode())
        self.assert_fine()

    def test_refused(self) -> None:
        """What is wrong with a file is reported with its path."""
        self.assertIsNone(self.fields("k: missing").file("k", read_file))
        self.assert_refused(f"{self.directory}/missing cannot be read: No such file")

    def test_exposed(self) -> None:
        """A file that others can read is a warning, with its mode; one for its owner is none."""
        for mode, warnings in ((0o600, 0), (0o400, 0), (0o640, 1)):
            fields = self.fields("k: secret")
            path = self.write("secret", SECRET, mode)
            fields.warn_if_exposed("k", path, read_file(path))
            self.assert_fine(warnings)
        (warning,) = self.findings.warnings
        self.assertIn(f"entry 1, line 1: k: {path} can be read or changed", warning)
        self.assertIn("(mode 0640)", warning)


class Keys(_Case):
    """check_keys."""

    def test_unknown(self) -> None:
        """An unknown key is reported with the nearest that is known, and nothing like a value of it."""
        self.fields("host: a").check_keys(("host", "tls"))
        self.assert_fine()
        for key, reason in {
            "hots": "'hots': unknown key; did you mean host?",
            "wibble": "'wibble': unknown key; known: host, tls",
            f"password:{SECRET}": "'password...': unknown key",
        }.items():
            self.fields(f"{key}: b").check_keys(("host", "tls"), ("retries",))
            self.assert_problem(f"f.yaml: entry 1, line 1: {reason}")

    def test_of_the_entry(self) -> None:
        """A key that an entry has is not unknown in one of its hosts, but out of place."""
        self.fields("retries: 5").check_keys(("host",), ("host", "retries"))
        self.assert_problem("line 1: retries: belongs to the entry")

    def test_where(self) -> None:
        """What is found out about a mapping appears in what is said later."""
        fields = self.fields("k: [5]")
        fields.where += " (quay.io)"
        fields.read("k", text)
        self.assert_problem("f.yaml: entry 1 (quay.io), line 1: k: must be text")
