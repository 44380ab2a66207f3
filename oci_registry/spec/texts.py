"""Text from elsewhere, made fit for one line of the log."""

from __future__ import annotations


def cut(text: str, limit: int) -> str:
    """Return the beginning of ``text``, at most ``limit`` characters, with dots if it was longer."""
    return text if len(text) <= limit else text[:limit] + "..."


def one_line(text: str) -> str:
    """Return ``text`` with a space in place of each character that would end or disguise a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def escaped(text: str) -> str:
    """Return ``text`` with a Python escape in place of each such character."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    )
