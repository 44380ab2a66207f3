"""Text of any length and content, made fit for a line."""

from __future__ import annotations


def cut(text: str, limit: int) -> str:
    """The beginning of ``text``, of at most ``limit`` characters, and dots if there is more."""
    return text if len(text) <= limit else text[:limit] + "..."


def one_line(text: str) -> str:
    """``text`` with a space in place of each character that would end or disguise a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def escaped(text: str) -> str:
    """``text`` with an escape, as Python writes it, in place of each such character."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    )
