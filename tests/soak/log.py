"""What the daemon of the soak may log."""

from __future__ import annotations

import re

# What hosts, clients and the disk of the soak give cause for.
_EXPECTED = re.compile(r" is corrupt: ")
_ERROR = re.compile(r"\S+ (error|critical) ")


def errors_in(output: str) -> list[str]:
    """Return the lines of a log that are errors for which the soak gives no cause."""
    return [
        line[:300]
        for line in output.splitlines()
        if _ERROR.match(line) and not _EXPECTED.search(line)
    ]
