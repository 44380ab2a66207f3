"""What asynchronous iterators give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def collect(items: AsyncIterator[T]) -> list[T]:
    """Return all of *items*."""
    return [item async for item in items]
