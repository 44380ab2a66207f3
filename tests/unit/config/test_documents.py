"""YAML with line numbers."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.documents import Entry, read_entries, word
from oci_registry.config.findings import Findings

from .support import SECRET, ConfigTestCase


class _Case(ConfigTestCase):
    """Reads documents from text."""

    def read(self, text: str | bytes) -> list[Entry]:
        data = text.encode() if isinstance(text, str) else text
        return read_entries(data, "f.yaml", self.findings)

    def values(self, text: str) -> list[dict[str, object]]:
        return [{k: s.value for k, s in entry.fields.items()} for entry in self.read(text)]


class Reading(_Case):
    """Documents that are fine."""

    def test_scalars(self) -> None:
        """Scalars mean what they mean to yaml.safe_load."""
        text = "- {a: x, b: yes, c: 12, d: ~, e: 'no', f: 0x10, g: '', h: , i: !!str 5}\n- {}\n"
        self.assertEqual(self.values(text), yaml.safe_load(text))
        self.assert_fine()

    def test_lines(self) -> None:
        """Entries are counted from 1 and know their line, and so do values."""
        first, second = self.read("# comment\n- a: 1\n  b: 2\n-\n  c: 3\n")
        self.assertEqual((first.number, first.line, first.fields["b"].line), (1, 2, 3))
        self.assertEqual((second.number, second.line, second.fields["c"].line), (2, 5, 5))

    def test_kinds(self) -> None:
        """What is no readable scalar has no value, and a kind to speak of."""
        (entry,) = self.read(
            "- {a: 1.5, b: 2001-01-01, c: [x], d: {x: y}, e: !own x, f: !!int x, g: null}"
        )
        kinds = {key: scalar.kind for key, scalar in entry.fields.items()}
        self.assertEqual(
            kinds,
            {
                "a": "a number",
                "b": "a date",
                "c": "a list",
                "d": "a mapping",
                "e": "a value with a YAML tag",
                "f": "a malformed int",
                "g": "nothing",
            },
        )
        scalars = {key for key in kinds if key not in "cd"}
        self.assertEqual({entry.fields[key].value for key in scalars}, {None})
        self.assertEqual([k for k, s in entry.fields.items() if s.unset], ["g"])

    def test_values_are_not_shown(self) -> None:
        """A value stays out of repr, since it may be a password."""
        self.assertNotIn(SECRET, repr(self.read(f"- password: {SECRET}")))

    def test_empty(self) -> None:
        """Empty documents and lists have no entries, and are no problem here."""
        for text in ("", "# nothing\n", "---\n", "[]", "null\n", "~"):
            self.assertEqual(self.read(text), [])
        self.assert_fine()

    def test_utf16(self) -> None:
        """A byte order mark decides the encoding, as YAML has it."""
        for encoding in ("utf-8-sig", "utf-16"):
            (entry,) = self.read("- a: ä".encode(encoding))
            self.assertEqual(entry.fields["a"].value, "ä")


class Lists(_Case):
    """Lists of values and of mappings."""

    def items(self, text: str) -> list[object]:
        """What is at ``l`` in the one entry, mappings as dictionaries of what is in them."""
        (entry,) = self.read(text)
        return [
            {key: inner.value for key, inner in item.value.items()}
            if isinstance(item.value, dict)
            else item.value
            for item in entry.fields["l"].value
        ]

    def test_items(self) -> None:
        """Scalars, mappings and lists come in order, with their kinds."""
        text = "- {l: [a, {b: 1, c: yes}, ~, [], 5, {}]}"
        self.assertEqual(self.items(text), ["a", {"b": 1, "c": True}, None, [], 5, {}])
        self.assert_fine()
        (entry,) = self.read(text)
        self.assertEqual(entry.fields["l"].kind, "a list")
        self.assertEqual(entry.fields["l"].value[3].kind, "a list")
        self.assertEqual(self.items("- {l: []}"), [])

    def test_lines(self) -> None:
        """Items know their line as entries do."""
        (entry,) = self.read("- a: b\n  l:\n  - x\n  - y: 1\n    z: 2\n")
        first, second = entry.fields["l"].value
        self.assertEqual(first.line, 3)
        self.assertEqual((second.line, second.value["z"].line), (4, 5))

    def test_shared(self) -> None:
        """An alias of a list is that list."""
        (entry,) = self.read("- {l: &l [a, {b: 1}], m: *l}")
        self.assertIs(entry.fields["l"].value, entry.fields["m"].value)
        self.assert_fine()

    def test_recursive(self) -> None:
        """A list that holds itself, at any depth, ends."""
        (entry,) = self.read("- {l: &l [{l: *l, m: &m [*m]}]}")
        items = entry.fields["l"].value
        self.assertIs(items[0].value["l"].value, items)
        inner = items[0].value["m"].value
        self.assertIs(inner[0].value, inner)
        self.assert_fine()

    def test_merged(self) -> None:
        """A list can be merged in, and mappings into its items; the entry's own value wins."""
        entries = self.read("- &a {l: [&x {b: 1}, {<<: *x, c: 2}]}\n- {<<: *a}\n- {<<: *a, l: 5}\n")
        self.assertEqual(entries[0].fields, entries[1].fields)
        merged = entries[1].fields["l"].value[1].value
        self.assertEqual({key: value.value for key, value in merged.items()}, {"b": 1, "c": 2})
        self.assertEqual(entries[2].fields["l"].value, 5)
        self.assert_fine()

    def test_problems(self) -> None:
        """What is malformed in an item is reported with its entry and line, once for all aliases."""
        self.read("- l: &l\n  - a: 1\n    a: 2\n  - {<<: x}\n- {l: *l}\n")
        first, second = self.findings.problems
        self.assertEqual(
            first, "f.yaml: entry 1, line 3: the key 'a' is given twice, first in line 2"
        )
        self.assertEqual(second, "f.yaml: entry 1, line 4: only mappings can be merged with <<")

    def test_mapping_in_itself(self) -> None:
        """A mapping that a list of its own holds, or merges, ends there."""
        (entry,) = self.read("- &e {a: 1, l: [*e, {<<: *e, a: 2}]}")
        first, second = entry.fields["l"].value
        self.assertIs(first.value["l"].value, entry.fields["l"].value)
        self.assertEqual((first.value["a"].value, second.value["a"].value), (1, 2))
        self.assert_fine()

    def test_bomb(self) -> None:
        """Lists of aliases to lists cost nothing."""
        lines = ["- {l: &a0 [{x: 1}, {x: 1}]}"]
        lines += [f"- {{l: &a{n} [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)]
        entries = self.read("\n".join(lines))
        kinds = [item.kind for item in entries[-1].fields["l"].value]
        self.assertEqual(kinds, ["a list", "a list"])
        self.assert_fine()

    def test_deep_items(self) -> None:
        """What is malformed at any depth is reported, in the order of its lines."""
        self.read("- a: {b: [{c: 1, c: 2}]}\n- {x: {y: 1,\n  y: 2}, x: 3}\n")
        first, second, third = self.findings.problems
        self.assertIn("entry 1, line 1: the key 'c' is given twice", first)
        self.assertIn("entry 2, line 3: the key 'y' is given twice", second)
        self.assertIn("entry 2, line 3: the key 'x' is given twice", third)


class Merging(_Case):
    """Anchors, aliases and merge keys."""

    def test_merged(self) -> None:
        """A mapping's own keys win over merged ones, and the first of several merged wins."""
        text = """
- &one {a: 1, b: 2}
- &two {<<: *one, b: 3, c: 4}
- {d: 5, <<: [*two, *one]}
- {<<: [*one, *two], a: *anchor}
""".replace("- &one", "- {x: &anchor 9}\n- &one")
        # Not compared with yaml.safe_load: PyYAML 6.0.4 loses the "b: 3" of the second.
        self.assertEqual(
            self.values(text),
            [
                {"x": 9},
                {"a": 1, "b": 2},
                {"a": 1, "b": 3, "c": 4},
                {"a": 1, "b": 3, "c": 4, "d": 5},
                {"a": 9, "b": 2, "c": 4},
            ],
        )
        self.assert_fine()

    def test_into_itself(self) -> None:
        """A mapping merged into itself is a problem and not a loop."""
        self.read("- &a {x: 1, <<: *a}")
        self.assert_problem("merged into itself")

    def test_only_mappings(self) -> None:
        """Nothing but mappings can be merged."""
        self.read("- {<<: text}")
        self.assert_problem("line 1", "only mappings can be merged")

    def test_bomb(self) -> None:
        """Aliases that would expand to billions of nodes cost nothing."""
        lines = ["- {k: &a0 [x, x]}"]
        lines += [f"- {{k: &a{n} [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)]
        lines += ["- &m0 {z: 1}"]
        lines += [f"- &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}" for n in range(1, 60)]
        entries = self.read("\n".join(lines))
        self.assertEqual(entries[-1].fields["z"].value, 1)
        self.assert_fine()


class Problems(_Case):
    """Documents that are wrong."""

    def test_duplicate_key(self) -> None:
        """A key given twice is a problem with both lines, and the first value stays."""
        (entry,) = self.read("- host: a\n  tls: true\n  host: b\n")
        self.assertEqual(entry.fields["host"].value, "a")
        self.assert_problem("f.yaml: entry 1, line 3", "'host' is given twice, first in line 1")

    def test_not_a_list(self) -> None:
        """Anything but a list is refused by its kind."""
        for text, kind in {"a: b": "a mapping", "word": "text", "5": "a whole number"}.items():
            self.findings.problems.clear()
            self.assertEqual(self.read(text), [])
            self.assert_problem("must be a list of upstreams", f"not {kind}")

    def test_entry_not_a_mapping(self) -> None:
        """An entry of another kind is a problem; the others are read nevertheless."""
        entries = self.read("- word\n- {a: b}\n")
        self.assertEqual([entry.number for entry in entries], [2])
        self.assert_problem("entry 1, line 1", "not text")

    def test_odd_keys(self) -> None:
        """A key must be a word."""
        self.read("- {1: a, [x]: b, true: c}")
        self.assertEqual(len(self.findings.problems), 3)

    def test_syntax(self) -> None:
        """What is no YAML is refused with its place."""
        self.read("- a: b\n c: d\n")
        self.assert_problem("f.yaml: is not YAML: line 2", "expected <block end>")

    def test_several_documents(self) -> None:
        """There is one document in a file."""
        self.read("- a: b\n---\n- c: d\n")
        self.assert_problem("another document")

    def test_nested_deeply(self) -> None:
        """Nesting without an end is a problem and not a crash."""
        # In lines of their own: within a line, PyYAML looks for a key at each of a thousand brackets.
        self.read("- " + "[\n " * 5000)
        self.assert_problem("nested too deeply")

    def test_merged_deeply(self) -> None:
        """A long chain of mappings that each merge the one before is a problem and not a crash."""
        chain = "".join(f",\n  &a{n} {{<<: *a{n - 1}}}" for n in range(1, 1500))
        self.read(f"- {{k: [&a0 {{x: 1}}{chain}]}}\n- {{<<: *a1499}}\n")
        self.assert_problem("nested too deeply")

    def test_bad_bytes(self) -> None:
        """Bytes that are no text are refused with their position."""
        for data in (b"- a: \xff\xfe\n", b"- a: \x00\n"):
            self.findings.problems.clear()
            self.read(data)
            self.assert_problem("does not allow", "position 5")

    def test_secrets_stay_secret(self) -> None:
        """A password that YAML stumbles over is not repeated, wherever it stands."""
        for text in (
            f"- password: *{SECRET}",
            f"- password: !{SECRET}!x y",
            f"- password: @{SECRET}",
            f"- password: %{SECRET}",
            f'- password: "\\{SECRET}"',
            f'- password: "{SECRET}',
            f"- password: {SECRET}: x: y",
            f"- password: &{SECRET}\n- &{SECRET} *{SECRET}",
            f"- password:{SECRET}\n  username: x",
            f"- {{password: {SECRET}",
            f"- password: |{SECRET}",
            f"- password: {SECRET}\n\t- x",
            f"%YAML {SECRET}\n---\n",
            f"%TAG !{SECRET}! x\n%TAG !{SECRET}! x\n---\n",
            f"- password: !<{SECRET}",
            f"{SECRET}",
            f"- {SECRET}",
            f"- {{password: a, password: {SECRET}}}",
            f"- ? [{SECRET}]\n  : {SECRET}",
            f"- {{l: [{{password: a, password: {SECRET}}}]}}",
            f"- {{l: [{{<<: {SECRET}}}]}}",
            f"- {{l: [{{? [{SECRET}] : {SECRET}}}]}}",
        ):
            self.findings.problems.clear()
            self.read(text)
            self.assertTrue(self.findings.problems, text)
            self.assert_discreet()

    @given(st.text(alphabet="-:{}[]&*!|>'\"%@`#?,<~ \n\tab1", max_size=60))
    def test_anything(self, text: str) -> None:
        """Any text is read or refused, and a document that loads gives the same values."""
        findings = Findings()
        entries = read_entries(text.encode(), "f", findings)
        if findings.problems:
            return
        try:
            loaded = yaml.safe_load(text)
        except yaml.YAMLError:
            # Tags of one's own: a matter of whoever asks for the value.
            return
        for entry, value in zip(entries, loaded or [], strict=True):
            for key, found in entry.fields.items():
                if isinstance(found.value, str | int):
                    self.assertEqual(found.value, value[key])
                elif isinstance(found.value, list):
                    self.assertEqual(len(found.value), len(value[key]))


class Words(_Case):
    """Keys in messages."""

    def test_cut(self) -> None:
        """A key is shown up to the first character that no key of ours has."""
        self.assertEqual(word("namespce"), "'namespce'")
        self.assertEqual(word(f"password:{SECRET}"), "'password...'")
        self.assertEqual(word("x" * 100), repr("x" * 40 + "..."))
        self.assertEqual(word("ä"), "'...'")
