"""A YAML list of mappings, read with line numbers.

The semantics are those of YAML 1.1 (scalars, anchors, merge keys), as ``yaml.safe_load`` has them,
except that a key given twice in one mapping is a problem, and that values must be scalars or, at
keys that are named, lists of scalars and flat mappings.  The node graph is walked as it is, so
aliases cost nothing: nothing is ever expanded.  No message repeats a value, nor a key beyond the
characters of a plain word, since a slip of the pen can turn a password into either.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

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
_MERGE = _PREFIX + "merge"
_TOKEN = re.compile(r"'(?:<[a-z ]+>|[],}:])'")
_HINTS = {
    "found undefined alias": "undefined alias (a value that begins with * needs quotes)",
    "found character": "no value begins like this (with @, ` or % it needs quotes; no tabs)",
    "second occurrence": "an anchor is defined twice",
}
_WORD = re.compile(r"[A-Za-z0-9_-]{0,40}")


@frozen
class Scalar:
    """One value of an entry, and the node it was read from.

    ``value`` is a `str`, an `int`, a `bool` or ``None`` (nothing written); for anything else it is
    ``None`` too and ``kind``, which says in words what was written, tells the difference.
    """

    value: str | int | bool | None = field(repr=False)
    kind: str
    line: int
    node: Node = field(repr=False, eq=False)

    @property
    def unset(self) -> bool:
        """Whether there is a key without a value (``user_agent: null``)."""
        return self.kind == _KINDS["null"]


@frozen
class Entry:
    """One mapping of a list: its number, counted from 1, its line, and its values by key.

    ``lists`` has the items of what is a list, at keys where one may be.  A mapping among them is an
    entry too, whose own lists are of scalars alone.
    """

    number: int
    line: int
    fields: Mapping[str, Scalar]
    lists: Mapping[str, tuple[Entry | Scalar, ...]] = field(factory=dict)


def read_entries(
    data: bytes,
    source: str,
    findings: Findings,
    lists: Collection[str] = (),
    nested: Collection[str] = (),
) -> list[Entry]:
    """The entries of the document in ``data``; an empty document has none.

    ``lists`` are the keys of an entry at which a list may be, ``nested`` those of a mapping in such a
    list.  What is malformed goes to
    ``findings`` as a problem of ``source``; the entries and values that can be read are returned
    all the same, so that they are checked too.
    """
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
        return _Reader(source, findings, lists, nested).entries(root)
    except yaml.YAMLError as error:
        findings.problem(source, f"is not YAML: {explain(error)}")
    except RecursionError:
        # While it is parsed, or from one merged mapping to the next.
        findings.problem(source, "is not usable: it is nested too deeply")
    return []


class _Reader:
    """Flattens mappings, each once, however often the document refers to it."""

    def __init__(
        self,
        source: str,
        findings: Findings,
        lists: Collection[str],
        nested: Collection[str],
    ) -> None:
        self._source = source
        self._findings = findings
        self._keys = lists
        self._nested = nested
        self._flat: dict[int, tuple[Scalar, ...]] = {}
        self._done: dict[int, dict[str, Scalar]] = {}
        self._open: set[int] = set()
        self._items: dict[int, tuple[Entry | Scalar, ...]] = {}

    def entries(self, root: Node | None) -> list[Entry]:
        if root is None or (isinstance(root, ScalarNode) and root.tag == _PREFIX + "null"):
            return []
        if not isinstance(root, SequenceNode):
            self._findings.problem(
                self._source,
                f"must be a list of upstreams ('- namespace: ...'), not {_kind(root)}",
            )
            return []
        entries = []
        for number, node in enumerate(root.value, 1):
            if isinstance(node, MappingNode):
                fields = self._fields(number, node)
                entries.append(Entry(number, _line(node), fields, self._lists(number, fields)))
            else:
                reason = f"must be a mapping of keys to values, not {_kind(node)}"
                self._problem(number, _line(node), reason)
        return entries

    def _problem(self, number: int, line: int, reason: str) -> None:
        self._findings.problem(f"{self._source}: entry {number}, line {line}", reason)

    def _lists(
        self, number: int, fields: Mapping[str, Scalar]
    ) -> dict[str, tuple[Entry | Scalar, ...]]:
        nodes = {key: fields[key].node for key in self._keys if key in fields}
        return {
            key: self._list(number, node)
            for key, node in nodes.items()
            if isinstance(node, SequenceNode)
        }

    def _list(self, number: int, node: SequenceNode) -> tuple[Entry | Scalar, ...]:
        identity = id(node)
        if identity not in self._items:
            self._items[identity] = tuple(
                self._item(number, position, item) for position, item in enumerate(node.value, 1)
            )
        return self._items[identity]

    def _item(self, number: int, position: int, node: Node) -> Entry | Scalar:
        if not isinstance(node, MappingNode):
            return _scalar(node, _line(node))
        fields = self._fields(number, node)
        lists = {
            key: self._scalars(fields[key].node)
            for key in self._nested
            if key in fields and isinstance(fields[key].node, SequenceNode)
        }
        return Entry(position, _line(node), fields, lists)

    def _scalars(self, node: Node) -> tuple[Scalar, ...]:
        if id(node) not in self._flat:
            self._flat[id(node)] = tuple(_scalar(item, _line(item)) for item in node.value)
        return self._flat[id(node)]

    def _fields(self, number: int, node: MappingNode) -> dict[str, Scalar]:
        identity = id(node)
        if identity in self._done:
            return self._done[identity]
        if identity in self._open:
            self._problem(number, _line(node), "the mapping is merged into itself")
            return {}
        self._open.add(identity)
        own: dict[str, Scalar] = {}
        merged: dict[str, Scalar] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for other in self._merged(number, value):
                    # Of several merged mappings the first one wins, and the entry's own keys
                    # win over all of them.
                    merged = {**self._fields(number, other), **merged}
                continue
            name = key.value if isinstance(key, ScalarNode) else None
            if name is None or key.tag != _PREFIX + "str":
                self._problem(number, _line(key), f"a key must be a word, not {_kind(key)}")
            elif name in own:
                self._problem(
                    number,
                    _line(key),
                    f"the key {word(name)} is given twice, first in line {own[name].line}",
                )
            else:
                own[name] = _scalar(value, _line(key))
        self._open.discard(identity)
        self._done[identity] = {**merged, **own}
        return self._done[identity]

    def _merged(self, number: int, value: Node) -> list[MappingNode]:
        nodes = value.value if isinstance(value, SequenceNode) else [value]
        mappings = [node for node in nodes if isinstance(node, MappingNode)]
        if len(mappings) != len(nodes):
            self._problem(number, _line(value), "only mappings can be merged with <<")
        return mappings


def word(text: str) -> str:
    """The beginning of a key up to the first character that no key of ours has."""
    match = _WORD.match(text)
    start = match.group() if match else ""
    return repr(start) if start == text else repr(start + "...")


def _scalar(node: Node, line: int) -> Scalar:
    value: object = None
    kind = _kind(node)
    short = node.tag.removeprefix(_PREFIX)
    if isinstance(node, ScalarNode) and short in _READABLE:
        try:
            value = _construct(node, short)
        except (ValueError, KeyError):
            # An explicit tag on something else, such as "!!int x".
            return Scalar(value=None, kind=f"a malformed {short}", line=line, node=node)
    if not isinstance(value, str | int | None):
        value = None
    return Scalar(value=value, kind=kind, line=line, node=node)


def _construct(node: ScalarNode, short: str) -> object:
    constructor = SafeConstructor()
    if short == "int":
        return constructor.construct_yaml_int(node)
    if short == "bool":
        return constructor.construct_yaml_bool(node)
    return None if short == "null" else node.value


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return _KINDS.get(node.tag.removeprefix(_PREFIX), "a value with a tag of its own")


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def explain(error: yaml.YAMLError) -> str:
    """Where and why, without the snippet and the names that PyYAML puts into its messages."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"a character that YAML does not allow, at position {error.position}"
    if not isinstance(error, yaml.MarkedYAMLError):
        return "it cannot be parsed"
    problem = error.problem or ""
    for start, hint in _HINTS.items():
        if problem.startswith(start):
            problem = hint
    if re.search(r"['\"]", _TOKEN.sub("", problem)):
        # What is quoted now is out of the document.
        problem = re.split(r",? ?(?:but (?:found|got) )?['\"]", problem)[0]
    mark = error.problem_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    return f"{where}{problem or 'it cannot be parsed'}"
