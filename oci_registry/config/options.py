"""Options one after the other: a flag, else its variable, else nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.config.findings import Findings, nearest

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

Flags = Mapping[str, object]


class OptionReader:
    """Reads options and keeps what is wrong.

    ``flags`` holds what was given on the command line, by the flags' names without dashes.  Flags
    of a storage are told with its name, ``subcommand``, before them.
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

    def flag(self, flag: str) -> tuple[str, str] | None:
        """Return how a flag is told and its value; None when it was not given, or is empty.

        An empty one is a problem.
        """
        value = self._flags.get(flag)
        if value is None:
            return None
        source = f"{self._before}{flag}"
        if str(value).strip():
            return source, str(value).strip()
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
        if self._flags.get(flag) is not None:
            return self.flag(flag)
        return self.variable(variable)

    def choice(self, flag: str, variable: str, choices: Sequence[str]) -> str | None:
        """Return an option that must be one of *choices*."""
        given = self.given(flag, variable)
        if given is None:
            return None
        source, value = given
        if value.lower() in choices:
            return value.lower()
        self.findings.problem(source, f"{value[:40]!a} is not known; {nearest(value, choices)}")
        return None

    def switch(self, flag: str, variable: str) -> str | None:
        """Return where a switch was turned on; None when it is off, as it is by default."""
        if self._flags.get(flag):
            return f"{self._before}{flag}"
        value = self.environ.get(variable, "").strip().lower()
        if value and value not in _TRUE | _FALSE:
            self.findings.problem(variable, f"must be true or false, not {value[:40]!a}")
        return variable if value in _TRUE else None
