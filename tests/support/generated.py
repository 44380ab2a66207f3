"""Strategies for generated tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


def evenly(*kinds: Sequence[T]) -> st.SearchStrategy[T]:
    """Return any value of several kinds, of which each is as likely as the others.

    This is one choice of hypothesis for each value. An alternative of tuples takes three to five, and they
    take longer than most of the events that tests let happen.
    """
    most = max(map(len, kinds))
    return st.sampled_from([value for kind in kinds for value in islice(cycle(kind), most)])


def events(kind: str, numbers: Sequence[int] = (0,)) -> list[tuple[str, int]]:
    """Return the events of a kind, each with a number."""
    return [(kind, number) for number in numbers]
