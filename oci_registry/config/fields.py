"""The values of one mapping of the upstream file, each of the type it must have."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from oci_registry.config.documents import Entry, Scalar, word
from oci_registry.config.files import FileContent
from oci_registry.config.findings import Findings, nearest
from oci_registry.spec.durations import parse_duration

_T = TypeVar("_T")


class Fields:
    """Reads values by their keys and complains about each that cannot be used.

    ``where`` says in messages which mapping of the file ``path`` it is, and can be refined once more
    is known.  What is not given and what was complained about are both ``None``.
    """

    def __init__(self, entry: Entry, path: str, findings: Findings, where: str) -> None:
        self.entry = entry
        self.path = path
        self.findings = findings
        self.where = where

    def problem(self, key: str, reason: object) -> None:
        """A problem of the value at ``key``."""
        self.findings.problem(self._source(key, key), reason)

    def warning(self, key: str, reason: object) -> None:
        """A warning of the value at ``key``."""
        self.findings.warning(self._source(key, key), reason)

    def _source(self, key: str, shown: str) -> str:
        scalar = self.entry.fields.get(key)
        line = self.entry.line if scalar is None else scalar.line
        return f"{self.path}: {self.where}, line {line}: {shown}"

    def check_keys(self, known: Collection[str], of_the_entry: Collection[str] = ()) -> None:
        """Complain about every key that is not ``known``, in a host also about the entry's own."""
        for key in self.entry.fields:
            if key in known:
                continue
            if key in of_the_entry:
                self.problem(key, "belongs to the entry and not to one of its hosts")
            else:
                reason = f"unknown key; {nearest(key, known)}"
                self.findings.problem(self._source(key, word(key)), reason)

    def given(self, key: str) -> Scalar | None:
        """What was written at ``key``; a key without a value is not given."""
        scalar = self.entry.fields.get(key)
        return None if scalar is None or scalar.unset else scalar

    def text(self, key: str) -> str | None:
        """Text that is not empty."""
        scalar = self.given(key)
        if scalar is None:
            return None
        if not isinstance(scalar.value, str):
            quotes = "" if scalar.kind in ("a list", "a mapping") else ": put it into quotes"
            self.problem(key, f"must be text, not {scalar.kind}{quotes}")
            return None
        if not scalar.value:
            self.problem(key, "is empty")
            return None
        return scalar.value

    def parsed(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        """Text that ``parse`` understands, which raises `ValueError` with a reason otherwise."""
        text = self.text(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.problem(key, error)
            return None

    def required(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        """As `parsed`, and a problem if it is not given."""
        if self.given(key) is None:
            self.problem(key, "is required")
        return self.parsed(key, parse)

    def texts(self, key: str, parse: Callable[[str], _T], most: int) -> tuple[_T, ...]:
        """A list of at most ``most`` texts that ``parse`` understands; those it does not are left out."""
        if self.given(key) is None:
            return ()
        items = self.entry.lists.get(key)
        if items is None:
            self.problem(key, "must be a list ([one, another])")
            return ()
        if len(items) > most:
            self.problem(key, f"must have at most {most} items, not {len(items)}")
            return ()
        parsed = []
        for number, item in enumerate(items, 1):
            if not isinstance(item, Scalar) or not isinstance(item.value, str):
                self.problem(key, f"item {number} must be text")
                continue
            try:
                parsed.append(parse(item.value))
            except ValueError as error:
                self.problem(key, f"item {number}: {error}")
        return tuple(parsed)

    def boolean(self, key: str) -> bool | None:
        """True or false."""
        scalar = self.given(key)
        if scalar is None:
            return None
        if not isinstance(scalar.value, bool):
            self.problem(key, f"must be true or false, not {scalar.kind}")
            return None
        return scalar.value

    def duration(self, key: str, *, positive: bool = False) -> float | None:
        """Seconds; if ``positive``, more than none."""
        scalar = self.given(key)
        if scalar is None:
            return None
        if isinstance(scalar.value, bool) or not isinstance(scalar.value, str | int):
            self.problem(key, f"must be a duration such as 14d, not {scalar.kind}")
            return None
        try:
            seconds = parse_duration(scalar.value)
        except ValueError as error:
            self.problem(key, error)
            return None
        if positive and not seconds:
            self.problem(key, "must be longer than 0s")
            return None
        return seconds

    def number(self, key: str, least: int, most: int) -> int | None:
        """A whole number between two others, which are allowed too."""
        scalar = self.given(key)
        if scalar is None:
            return None
        wanted = f"must be a whole number from {least} to {most}"
        if isinstance(scalar.value, bool) or not isinstance(scalar.value, int):
            self.problem(key, f"{wanted}, not {scalar.kind}")
            return None
        if not least <= scalar.value <= most:
            self.problem(key, wanted)
            return None
        return scalar.value

    def file(self, key: str, check: Callable[[str], _T]) -> tuple[str, _T] | None:
        """The path of a file, relative ones being beside the upstream file, and what ``check`` says.

        ``check`` raises `ValueError` with a reason that goes well behind the name of the file.
        """
        name = self.text(key)
        if name is None:
            return None
        path = os.path.join(os.path.dirname(os.path.abspath(self.path)), name)
        try:
            return path, check(path)
        except ValueError as error:
            self.problem(key, f"{path} {error}")
            return None

    def warn_if_exposed(self, key: str, path: str, content: FileContent) -> None:
        """Warn of a file with a secret that is not its owner's alone."""
        if content.exposed:
            self.warning(
                key,
                f"{path} is open to others than its owner (mode {content.mode:04o}): chmod 600",
            )


def given_only(**options: object) -> dict[str, Any]:
    """The options that are not ``None``: for the others the settings have defaults."""
    return {name: value for name, value in options.items() if value is not None}
