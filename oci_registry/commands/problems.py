"""Errors that end a command, and exit statuses."""

from __future__ import annotations

from oci_registry.management.problems import InvalidName, ManagementProblem, NotStored

DONE = 0
"""Everything was done."""
FAILED = 1
"""Something is missing, wrong, or could not be done; the message says what."""
CORRUPT = 3
"""Everything was checked, and something was corrupt."""
USAGE = 2
"""The command line cannot be used."""
NOT_FOUND = 3
"""There is no such image or blob in the store."""


class CommandFailed(Exception):
    """The command has failed; the message is one or several sentences."""

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(self.problems)


class UsageProblem(CommandFailed):
    """The command line cannot be used."""


def status_of(problem: ManagementProblem) -> int:
    """Return the exit status of a command with this problem."""
    if isinstance(problem, NotStored):
        return NOT_FOUND
    return USAGE if isinstance(problem, InvalidName) else FAILED
