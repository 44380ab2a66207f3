"""Bodies for tests."""

from __future__ import annotations


def pattern(size: int) -> bytes:
    """Return bytes that differ everywhere."""
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]
