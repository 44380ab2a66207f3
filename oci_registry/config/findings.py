"""Problems and warnings of the configuration, collected and reported together."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from attrs import Factory, define

# The similarity of words, from 0 to 1, above which both may be meant, or only one can be.
_LIKELY = 0.75
_CERTAIN = 0.9


@define
class Findings:
    """Collects problems and warnings while the configuration is read.

    Every entry is one sentence for the operator that names its source (flag, variable, or file and
    key) and contains no secret. With a problem, nothing of the configuration is used.
    """

    problems: list[str] = Factory(list)
    warnings: list[str] = Factory(list)

    def problem(self, source: str, reason: object) -> None:
        """Add an error that must be corrected before the daemon can start."""
        self.problems.append(f"{source}: {reason}")

    def warning(self, source: str, reason: object) -> None:
        """Add a warning of something that is valid, but probably not intended."""
        self.warnings.append(f"{source}: {reason}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint to append to a problem: the most similar known word, or all of them."""
    words = sorted(known)
    return suggestion(word, words) or f"known: {', '.join(words)}"


def suggestion(word: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a hint with the most similar known word, after ``prefix``; with two if both are likely.

    Empty if there is none.
    """
    words, wrong = sorted(known), word.lower()
    close = difflib.get_close_matches(wrong, words, n=2, cutoff=_LIKELY)
    if len(close) != 2 or _likeness(wrong, close[0]) > _CERTAIN:
        close = difflib.get_close_matches(wrong, words, n=1)
    return (
        f"did you mean {' or '.join(f'{prefix}{one}' for one in sorted(close))}?" if close else ""
    )


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
