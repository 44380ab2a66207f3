"""Options, from flags and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from oci_registry.config.findings import Findings, nearest
from oci_registry.config.reading import Reading

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

# Flags whose names differ from those of the settings.
_FLAGS = {"endpoint": "host", "redirect_endpoint": "redirect-host", "connections": "s3-connections"}

Flags = Mapping[str, object]


class OptionReader(Reading[str]):
    """Reads options by the names of their flags, without leading dashes.

    ``flags`` are those on the command line. In messages, flags of a storage follow its name,
    ``subcommand``. The variable of ``--some-flag`` is ``SOME_FLAG``, and begins with the name of
    the storage for options of a storage.
    """

    def __init__(
        self,
        flags: Flags,
        environ: Mapping[str, str],
        findings: Findings,
        subcommand: str = "",
    ) -> None:
        super().__init__(findings)
        self.environ = environ
        self._flags = flags
        self._subcommand = subcommand

    def called(self, setting: str) -> str:
        """Return the flag of a setting."""
        return flag_of(setting)

    def raw(self, flag: str) -> object:
        """Return the value of a flag without any check; None if it was not given."""
        return self._flags.get(flag)

    def flagged(self, *flags: str) -> bool:
        """Return whether any of the flags was given, empty or not; a switch that is off was not."""
        return any(isinstance(self.raw(flag), str) or bool(self.raw(flag)) for flag in flags)

    def variable_of(self, flag: str) -> str:
        """Return the name of the variable of a flag."""
        name = flag.replace("-", "_").upper()
        before = f"{self._subcommand}_".upper() if self._subcommand else ""
        return name if name.startswith(before) else before + name

    def source(self, flag: str) -> str:
        """Return the flag or variable in which an option was given, or could be."""
        if not self.flagged(flag) and self.in_environment(flag):
            return self.variable_of(flag)
        return f"{self._subcommand} --{flag}".strip()

    def is_given(self, flag: str) -> bool:
        """Return whether an option was given, also as an empty flag."""
        return self.flagged(flag) or self.in_environment(flag) is not None

    def flag(self, flag: str) -> str | None:
        """Return the value of a flag; None if it was not given, or is empty, which is a problem."""
        if not self.flagged(flag):
            return None
        text = str(self.raw(flag)).strip()
        if not text:
            self.problem(flag, "is empty")
        return text or None

    def variable(self, *variables: str) -> tuple[str, str] | None:
        """Return name and value of the first of *variables* that is set and not empty; None if none is."""
        for variable in variables:
            value = self.environ.get(variable, "").strip()
            if value:
                return variable, value
        return None

    def in_environment(self, flag: str) -> str | None:
        """Return the value of the variable of a flag; None if there is none."""
        return self.environ.get(self.variable_of(flag), "").strip() or None

    def given(self, flag: str) -> str | None:
        """Return the value of an option; None if it was not given.

        An empty variable counts as not set. An empty flag is a problem.
        """
        return self.flag(flag) if self.flagged(flag) else self.in_environment(flag)

    def ignored(self, variable: str, advice: str) -> None:
        """Warn of a variable that is set but ignored, although similar programs read it."""
        if self.variable(variable) is not None:
            self.findings.warning(variable, f"is ignored: {advice}")

    def switch(self, flag: str) -> bool:
        """Return whether a switch was turned on; by default it is off."""
        if self.raw(flag):
            return True
        value = (self.in_environment(flag) or "").lower()
        if value and value not in _TRUE | _FALSE:
            self.problem(flag, f"must be true or false, not {value[:40]!a}")
        return value in _TRUE


def flag_of(setting: str) -> str:
    """Return the flag of a setting, without leading dashes."""
    return _FLAGS.get(setting) or setting.replace("_", "-")


def one_of(
    choices: Sequence[str], synonyms: Mapping[str, str] = MappingProxyType({})
) -> Callable[[str], str]:
    """Return a parser of a choice, in any case, and of its synonyms."""

    def parse(text: str) -> str:
        word = text.lower()
        word = synonyms.get(word, word)
        if word in choices:
            return word
        raise ValueError(f"{text[:40]!a} is not known; {nearest(text, choices)}")

    return parse
