"""Reads values by their names: what options and the upstream file have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from oci_registry.config.files import FileContent
from oci_registry.config.findings import Findings

_T = TypeVar("_T")
_V = TypeVar("_V")


class Reading(ABC, Generic[_V]):
    """Reads values by their names and reports invalid ones.

    A missing and an invalid value are both ``None``.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    @abstractmethod
    def source(self, name: str) -> str:
        """Return where a value is, for messages."""

    @abstractmethod
    def given(self, name: str) -> _V | None:
        """Return the value as written, if there is one."""

    def problem(self, name: str, reason: object) -> None:
        """Add a problem of the value."""
        self.findings.problem(self.source(name), reason)

    def warning(self, name: str, reason: object) -> None:
        """Add a warning of the value."""
        self.findings.warning(self.source(name), reason)

    def read(self, name: str, parse: Callable[[_V], _T]) -> _T | None:
        """Return the value parsed by ``parse``, which raises `ValueError` with a reason."""
        value = self.given(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.problem(name, error)
            return None

    def read_all(self, parsers: Mapping[str, Callable[[_V], Any]]) -> dict[str, Any]:
        """Return those of several settings that were given; the others have defaults."""
        found = {key: self.read(self.called(key), parse) for key, parse in parsers.items()}
        return {key: value for key, value in found.items() if value is not None}

    def called(self, setting: str) -> str:
        """Return the name of a setting where it is written."""
        return setting

    def warn_if_exposed(self, name: str, file: str, content: FileContent) -> None:
        """Warn of a ``file`` with a secret that others than its owner can read."""
        if content.exposed:
            self.warning(name, f"{file} {content.exposure}: chmod 600")
