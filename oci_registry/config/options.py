"""Options one after the other: a flag, else its variable, else nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from oci_registry.config.findings import Findings, nearest

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

Flags = Mapping[str, object]

_T = TypeVar("_T")
_D = TypeVar("_D")


class OptionReader:
    """Reads options and keeps what is wrong.

    ``flags`` holds what was given on the command line, by the flags' names without dashes.  Flags
    of a storage are shown with its name, ``subcommand``, before them.
    """

    def __init__(
        self,
        flags: Flags,
        environ: Mapping[str, str],
        findings: Findings,
        subcommand: str = "",
    ) -> None:
        self.findings = findings
        self.environ = environ
        self._flags = flags
        self._before = f"{subcommand} --" if subcommand else "--"

    def raw(self, flag: str) -> object:
        """Return what a flag was given, as it is; None when it was not given."""
        return self._flags.get(flag)

    def source(self, flag: str, variable: str) -> str:
        """Return how the place is called where an option was given; empty when it was not."""
        if self.flagged(flag):
            return f"{self._before}{flag}"
        return variable if self.environ.get(variable, "").strip() else ""

    def flagged(self, *flags: str) -> bool:
        """Whether any of the flags was given, be it empty."""
        return any(self._flags.get(flag) is not None for flag in flags)

    def flag(self, flag: str) -> tuple[str, str] | None:
        """Return how a flag is shown in messages and its value; None when it was not given, or is empty.

        An empty one is a problem.
        """
        value = self._flags.get(flag)
        if value is None:
            return None
        source, text = f"{self._before}{flag}", str(value).strip()
        if text:
            return source, text
        self.findings.problem(source, "is empty")
        return None

    def variable(self, *variables: str) -> tuple[str, str] | None:
        """Return name and value of the first of *variables* that is set and not empty; None if none is."""
        for variable in variables:
            value = self.environ.get(variable, "").strip()
            if value:
                return variable, value
        return None

    def given(self, flag: str, variable: str) -> tuple[str, str] | None:
        """Return where an option was given and its value; None when it was not.

        An empty variable is an unset one; an empty flag is a problem.
        """
        return self.flag(flag) if self.flagged(flag) else self.variable(variable)

    def parsed(self, flag: str, variable: str, parse: Callable[[str], _T], default: _D) -> _T | _D:
        """Return what *parse* makes of an option; *default* when it was not given, or is a problem.

        *parse* raises `ValueError` with the problem.
        """
        given = self.given(flag, variable)
        if given is None:
            return default
        try:
            return parse(given[1])
        except ValueError as error:
            self.findings.problem(given[0], error)
            return default

    def choice(
        self,
        flag: str,
        variable: str,
        choices: Sequence[str],
        synonyms: Mapping[str, str] = MappingProxyType({}),
    ) -> str | None:
        """Return an option that must be one of *choices*, or a synonym of one."""

        def parse(value: str) -> str:
            word = value.lower()
            word = synonyms.get(word, word)
            if word in choices:
                return word
            raise ValueError(f"{value[:40]!a} is not known; {nearest(value, choices)}")

        return self.parsed(flag, variable, parse, None)

    def ignored(self, variable: str, advice: str) -> None:
        """Warn of a variable that is set, and that other programs of this kind read."""
        if self.variable(variable) is not None:
            self.findings.warning(variable, f"is ignored: {advice}")

    def switch(self, flag: str, variable: str) -> str | None:
        """Return where a switch was turned on; None when it is off, as it is by default."""
        if self._flags.get(flag):
            return f"{self._before}{flag}"
        value = self.environ.get(variable, "").strip().lower()
        if value and value not in _TRUE | _FALSE:
            self.findings.problem(variable, f"must be true or false, not {value[:40]!a}")
        return variable if value in _TRUE else None
