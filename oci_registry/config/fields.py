"""The values of a mapping in the upstream file, with their types checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import TypeVar

from oci_registry.config.documents import Entry, Value, word
from oci_registry.config.findings import Findings, nearest
from oci_registry.config.reading import Reading
from oci_registry.spec.durations import parse_duration

_T = TypeVar("_T")

Reader = Callable[[Value], _T]
"""Converts the value of a key; `ValueError` has the reason if it is invalid."""


class Fields(Reading[Value]):
    """Reads the values of a mapping by their keys.

    ``where`` describes the mapping in messages about the file ``path``; it can be refined later.
    """

    def __init__(self, entry: Entry, path: str, findings: Findings, where: str) -> None:
        super().__init__(findings)
        self.entry = entry
        self.path = path
        self.where = where

    def source(self, key: str) -> str:
        """Return where the value at ``key`` is, or would be."""
        value = self.entry.fields.get(key)
        line = self.entry.line if value is None else value.line
        return f"{self.path}: {self.where}, line {line}: {key}"

    def check_keys(self, known: Collection[str], of_the_entry: Collection[str] = ()) -> None:
        """Add a problem for every key that is not ``known``; a host cannot have keys of the entry."""
        for key in self.entry.fields:
            if key in known:
                continue
            if key in of_the_entry:
                self.problem(key, "belongs to the entry, not to a host")
            else:
                reason = f"unknown key; {nearest(key, known)}"
                place = self.source(key).removesuffix(key)
                self.findings.problem(f"{place}{word(key)}", reason)

    def given(self, key: str) -> Value | None:
        """Return the value of ``key``; a key without a value counts as missing."""
        value = self.entry.fields.get(key)
        return None if value is None or value.unset else value

    def parsed(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        """Return text parsed by ``parse``, which raises `ValueError` with a reason."""
        return self.read(key, lambda value: parse(text(value)))

    def required(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        """Do the same as `parsed`, but report a missing key as a problem."""
        if self.given(key) is None:
            self.problem(key, "is required")
        return self.parsed(key, parse)

    def texts(self, key: str, parse: Callable[[str], _T], most: int) -> tuple[_T, ...]:
        """Return a list of at most ``most`` texts parsed by ``parse``, without invalid ones."""
        parsed = []
        for position, item in enumerate(self.read(key, lambda value: items(value, most)) or (), 1):
            if item.text is None:
                self.problem(key, f"item {position} must be text")
                continue
            try:
                parsed.append(parse(item.text))
            except ValueError as error:
                self.problem(key, f"item {position}: {error}")
        return tuple(parsed)

    def file(self, key: str, check: Callable[[str], _T]) -> tuple[str, _T] | None:
        """Return the path of a file, relative to the upstream file, and the result of ``check``.

        ``check`` raises `ValueError` with a reason that reads well after the name of the file.
        """
        name = self.read(key, text)
        if name is None:
            return None
        path = os.path.join(os.path.dirname(os.path.abspath(self.path)), name)
        try:
            return path, check(path)
        except ValueError as error:
            self.problem(key, f"{path} {error}")
            return None


def text(value: Value) -> str:
    """Return text that is not empty, as it is written: a number, a date or ``yes`` is text too."""
    if value.text is None:
        raise ValueError(f"must be text, not {value.kind}")
    if not value.text:
        raise ValueError("is empty")
    return value.text


def boolean(value: Value) -> bool:
    """Return true or false."""
    if not isinstance(value.value, bool):
        raise ValueError(f"must be true or false, not {value.kind}")
    return value.value


def duration(value: Value) -> float:
    """Return seconds, 0 or more."""
    if isinstance(value.value, bool) or not isinstance(value.value, str | int):
        raise ValueError(f"must be a duration such as 14d, not {value.kind}")
    return parse_duration(value.value)


def timeout(value: Value) -> float:
    """Return seconds, more than 0."""
    seconds = duration(value)
    if not seconds:
        raise ValueError("must be longer than 0s")
    return seconds


def number(least: int, most: int) -> Reader[int]:
    """Return an integer from *least* to *most*, inclusive."""

    def read(value: Value) -> int:
        wanted = f"must be a whole number from {least} to {most}"
        if isinstance(value.value, bool) or not isinstance(value.value, int):
            raise ValueError(f"{wanted}, not {value.kind}")
        if not least <= value.value <= most:
            raise ValueError(wanted)
        return value.value

    return read


def items(value: Value, most: int) -> list[Value]:
    """Return the items of a list."""
    if not isinstance(value.value, list):
        raise ValueError("must be a list ([one, another])")
    if len(value.value) > most:
        raise ValueError(f"must have at most {most} items, not {len(value.value)}")
    return value.value
