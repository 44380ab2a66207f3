"""Problems and warnings about the configuration, collected and reported together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrs import Factory, define


@define
class Findings:
    """Collects problems and warnings while the configuration is read.

    Every entry is one sentence for the operator, names its source (flag, variable, or file and
    key) and holds no secret.  Nothing can be used once there is a problem.
    """

    problems: list[str] = Factory(list)
    warnings: list[str] = Factory(list)

    def problem(self, source: str, reason: object) -> None:
        """Add an error that must be corrected before the daemon can start."""
        self.problems.append(f"{source}: {reason}")

    def warning(self, source: str, reason: object) -> None:
        """Add a warning about something that works, but probably not as intended."""
        self.warnings.append(f"{source}: {reason}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a problem: the known word that is closest, or all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(word.lower(), words, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(words)}"
