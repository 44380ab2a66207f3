"""Values by their names, wherever they are written: the part that options and the upstream file share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from oci_registry.config.files import FileContent
from oci_registry.config.findings import Findings

_T = TypeVar("_T")
_V = TypeVar("_V")


class Reading(ABC, Generic[_V]):
    """Reads values by their names and complains about each that cannot be used.

    What is not given and what was complained about are both ``None``.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings

    @abstractmethod
    def source(self, name: str) -> str:
        """How messages call the place of a value."""

    @abstractmethod
    def given(self, name: str) -> _V | None:
        """What was written, if anything was."""

    def problem(self, name: str, reason: object) -> None:
        """A problem of the value."""
        self.findings.problem(self.source(name), reason)

    def warning(self, name: str, reason: object) -> None:
        """A warning of the value."""
        self.findings.warning(self.source(name), reason)

    def read(self, name: str, parse: Callable[[_V], _T]) -> _T | None:
        """What ``parse`` makes of the value; it raises `ValueError` with a reason if it cannot."""
        value = self.given(name)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.problem(name, error)
            return None

    def read_all(self, parsers: Mapping[str, Callable[[_V], Any]]) -> dict[str, Any]:
        """What was given of several settings: for the others there are defaults."""
        found = {key: self.read(self.called(key), parse) for key, parse in parsers.items()}
        return {key: value for key, value in found.items() if value is not None}

    def called(self, setting: str) -> str:
        """What a setting is called where it is written."""
        return setting

    def warn_if_exposed(self, name: str, file: str, content: FileContent) -> None:
        """Warn of a ``file`` with a secret that is not its owner's alone."""
        if content.exposed:
            self.warning(name, f"{file} {content.exposure}: chmod 600")
