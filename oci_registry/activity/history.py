"""The activity of the last hour, day and week, as rings, and as JSON for a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from oci_registry.activity.counts import COLUMNS, Counts
from oci_registry.activity.ring import MOST, Ring

PERIODS = {"hour": (60, 60), "day": (96, 900), "week": (84, 7200)}
"""How many parts each period has, and the length of each in seconds."""
LONGEST = 256 * 1024
"""The maximum size in bytes of a file that is read."""
_VERSION = 1


@frozen
class Part:
    """The activity in *seconds* from *time* on."""

    time: int
    seconds: int
    counts: Counts


class BadHistory(Exception):
    """The content of a file is not a history; the message says why."""


class History:
    """The recent activity. *began*: the start of the recording. Takes about 20 KiB."""

    def __init__(self, began: float) -> None:
        self.began = began
        self._rings = {
            name: Ring(count, step, len(COLUMNS)) for name, (count, step) in PERIODS.items()
        }

    def add(self, when: float, row: Sequence[int]) -> None:
        """Add the numbers of a row at *when*, in the order of `COLUMNS`."""
        for ring in self._rings.values():
            ring.add(when, row)

    def parts(self, period: str, now: float) -> list[Part]:
        """Return all parts of a period up to *now*, the earliest first."""
        ring = self._rings[period]
        return [Part(time, ring.step, Counts(*row)) for time, row in ring.series(now)]

    def to_json(self) -> bytes:
        """Return the whole history as JSON."""
        document = {
            "version": _VERSION,
            "began": self.began,
            "columns": COLUMNS,
            "periods": {name: list(ring.rows()) for name, ring in self._rings.items()},
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def restore(self, data: bytes) -> None:
        """Add the result of an earlier `to_json`; if it is invalid, raise `BadHistory` and change nothing."""
        try:
            began, rows = _read(json.loads(data))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise BadHistory(f"{type(error).__name__}: {error}") from None
        for name, ring in self._rings.items():
            ring.restore(rows[name])
        self.began = min(self.began, began)


def _read(document: Any) -> tuple[float, dict[str, list[list[int]]]]:
    """Return the start of the recording, and the rows of each period with our columns."""
    if document["version"] != _VERSION:
        raise ValueError("another version")
    began = document["began"]
    if not isinstance(began, int | float) or not 0 <= began < MOST:
        raise ValueError("a wrong time")
    # A column that the file lacks is empty, and one that no longer exists is ignored.
    places = {name: place for place, name in enumerate(document["columns"], 1)}
    columns = [places.get(name) for name in COLUMNS]
    periods = {}
    for name, (count, _) in PERIODS.items():
        rows = document["periods"][name]
        if len(rows) > count:
            raise ValueError("too many rows")
        periods[name] = [
            [_number(row[0]), *(0 if at is None else _number(row[at]) for at in columns)]
            for row in rows
        ]
    return float(began), periods


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST:
        raise ValueError("a wrong number")
    return value
