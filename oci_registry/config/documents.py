"""A YAML list of mappings, read with line numbers.

It is read as ``yaml.safe_load`` does, as YAML 1.1 (scalars, anchors, merge keys), except that a
duplicate key in a mapping is a problem. An alias is the object it refers to, so nothing is
expanded. Messages contain no values, and only the characters of a plain word from a key, since a typing
error can turn a password into either.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import yaml
from attrs import field, frozen
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from oci_registry.config.findings import Findings

_PREFIX = "tag:yaml.org,2002:"
_KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
}
_READABLE = frozenset({"str", "int", "bool", "null"})
# The types that a plain scalar may be resolved to; where text is expected, it is text anyway.
_PLAIN = frozenset({"str", "int", "float", "bool", "timestamp", "merge", "value"})
_TOKEN = re.compile(r"'(?:<[a-z ]+>|[],}:])'")
_HINTS = {
    "found undefined alias": "undefined alias (a value that begins with * needs quotes)",
    "found character": "a value cannot begin like this (a value that begins with @, ` or % needs "
    "quotes; tabs are not allowed)",
    "second occurrence": "an anchor is defined twice",
}
_WORD = re.compile(r"[A-Za-z0-9_-]{0,40}")


@frozen
class Value:
    """A value, with the line of its key or of its item in a list.

    ``value`` is a `str`, an `int`, a `bool`, ``None`` (no value), a list of values or a mapping of
    keys to values. For any other type it is ``None`` too. ``kind`` describes the type. ``text`` is
    a scalar as it was written (``1.10``, ``yes``), else ``None``.
    """

    value: Any = field(repr=False)
    kind: str
    line: int
    text: str | None = field(default=None, repr=False)

    @property
    def unset(self) -> bool:
        """Return whether there is a key without a value (``user_agent: null``)."""
        return self.kind == _KINDS["null"]


@frozen
class Entry:
    """A mapping in a list: its number, counted from 1, its line, and its values by key."""

    number: int
    line: int
    fields: Mapping[str, Value]


def read_entries(data: bytes, source: str, findings: Findings) -> list[Entry]:
    """Return the entries of the document in ``data``; an empty document has none.

    Errors are added to ``findings`` as problems of ``source``. What can be read is returned
    nevertheless, so that it is checked too.
    """
    try:
        loader = _Loader(data)
        root = loader.get_single_node()
        if root is None or _kind(root) == _KINDS["null"]:
            return []
        if not isinstance(root, SequenceNode):
            wanted = "must be a list of upstreams ('- namespace: ...')"
            findings.problem(source, f"{wanted}, not {_kind(root)}")
            return []
        items: list[Value] = loader.construct_document(root)
    except yaml.YAMLError as error:
        findings.problem(source, f"is not YAML: {explain(error)}")
        return []
    except RecursionError:
        # While parsing, or while following merged mappings.
        findings.problem(source, "cannot be parsed: it is nested too deeply")
        return []
    starts = [node.start_mark.index for node in root.value]
    for node, reason in sorted(loader.problems, key=lambda problem: problem[0].start_mark.index):
        number = bisect(starts, node.start_mark.index)
        findings.problem(f"{source}: entry {number}, line {_line(node)}", reason)
    entries = []
    for number, item in enumerate(items, 1):
        if isinstance(item.value, dict):
            entries.append(Entry(number, item.line, item.value))
        else:
            where = f"{source}: entry {number}, line {item.line}"
            findings.problem(where, f"must be a mapping of keys to values, not {item.kind}")
    return entries


class _Loader(yaml.SafeLoader):
    """Constructs lists and mappings of `Value`, and collects errors with their nodes."""

    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.problems: list[tuple[Node, str]] = []
        self._merged: dict[Node, dict[str, Value]] = {}
        self._open: set[Node] = set()

    def fill(self, node: Node) -> Iterator[object]:
        """Yield an empty list or mapping, so that it can contain itself, and then fill it."""
        if isinstance(node, MappingNode):
            mapping: dict[str, Value] = {}
            yield mapping
            mapping.update(self._mapping(node))
        else:
            items: list[Value] = []
            yield items
            items.extend(self._value(item, item) for item in node.value)

    def _value(self, node: Node, at: Node) -> Value:
        kind = _kind(node)
        value: object = None
        text: str | None = None
        name = node.tag.removeprefix(_PREFIX)
        if not isinstance(node, ScalarNode):
            value = self.construct_object(node)
        elif name in _PLAIN:
            text = str(node.value)
        if isinstance(node, ScalarNode) and name in _READABLE:
            try:
                value = SafeConstructor.yaml_constructors[node.tag](self, node)
            except (ValueError, KeyError):
                # An explicit tag on something else, such as "!!int x".
                kind = f"a malformed {name}"
        return Value(value, kind, _line(at), text)

    def _mapping(self, node: MappingNode) -> dict[str, Value]:
        if node in self._merged:
            return self._merged[node]
        if node in self._open:
            self.problems.append((node, "the mapping is merged into itself"))
            return {}
        self._open.add(node)
        own: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        for key, value in node.value:
            if key.tag == _PREFIX + "merge":
                for other in self._others(value):
                    # The first of several merged mappings wins, and the mapping's own keys win over all
                    # of them.
                    merged = {**self._mapping(other), **merged}
            elif key.tag != _PREFIX + "str" or not isinstance(key, ScalarNode):
                self.problems.append((key, f"a key must be a word, not {_kind(key)}"))
            elif key.value in own:
                first = own[key.value].line
                reason = f"the key {word(key.value)} is given twice, first in line {first}"
                self.problems.append((key, reason))
            else:
                own[key.value] = self._value(value, key)
        self._open.discard(node)
        self._merged[node] = {**merged, **own}
        return self._merged[node]

    def _others(self, value: Node) -> list[MappingNode]:
        nodes = value.value if isinstance(value, SequenceNode) else [value]
        mappings = [node for node in nodes if isinstance(node, MappingNode)]
        if len(mappings) != len(nodes):
            self.problems.append((value, "only mappings can be merged with <<"))
        return mappings


# One constructor for all tags: a list is a list, whatever its tag.
_Loader.yaml_constructors[None] = _Loader.fill


def word(text: str) -> str:
    """Return the beginning of a key, up to the first character that no valid key has."""
    match = _WORD.match(text)
    start = match.group() if match else ""
    return repr(start) if start == text else repr(start + "...")


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return _KINDS.get(node.tag.removeprefix(_PREFIX), "a value with a YAML tag")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def explain(error: yaml.YAMLError) -> str:
    """Return place and reason of an error, without the excerpt and the names in PyYAML's messages."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"a character that YAML does not allow, at position {error.position}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it cannot be parsed"
    problem = error.problem or ""
    problem = next((hint for start, hint in _HINTS.items() if problem.startswith(start)), problem)
    if re.search(r"['\"]", _TOKEN.sub("", problem)):
        # Everything that is still quoted comes from the document.
        problem = re.split(r",? ?(?:but (?:found|got) )?['\"]", problem)[0]
    mark = error.problem_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}{problem or 'it cannot be parsed'}"
