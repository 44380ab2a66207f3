"""What a look at the configuration finds: problems and warnings, collected and reported at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrs import Factory, define


@define
class Findings:
    """Collects what is wrong while everything else is still being read.

    Every entry is one sentence for the operator, names its source (flag, variable, or file and
    key) and holds no secret.  Nothing can be used once there is a problem.
    """

    problems: list[str] = Factory(list)
    warnings: list[str] = Factory(list)

    def problem(self, source: str, reason: object) -> None:
        """Something that must be mended before the daemon can start."""
        self.problems.append(f"{source}: {reason}")

    def warning(self, source: str, reason: object) -> None:
        """Something that works, though hardly as it was meant."""
        self.warnings.append(f"{source}: {reason}")


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a problem: the known word that was probably meant, or all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(word.lower(), words, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(words)}"
