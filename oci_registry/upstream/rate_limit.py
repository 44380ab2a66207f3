"""The rate limit that a host announces in its responses."""

from __future__ import annotations

import re
from math import ceil

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.metrics import HostMetrics
from oci_registry.upstream.failures import header

LOW = 0.1
"""The share of the budget below which it counts as low."""
DEFAULT_WINDOW = 6 * 3600.0
"""Seconds for which an announced budget is valid if it has no window (Docker Hub's window)."""
_MAX_WINDOW = 24 * 3600.0
# "100;w=21600": Docker Hub, and older drafts of the IETF's RateLimit header fields.
_QUANTITY = re.compile(r"\s*([0-9]{1,15})\s*(?:;.*)?", re.ASCII)
_WINDOW = re.compile(r";\s*w\s*=\s*([0-9]{1,9})", re.ASCII)


@frozen
class Quantity:
    """A number of requests; *window* in seconds, None if the host did not send it."""

    count: int
    window: float | None


def parse_quantity(text: str | None) -> Quantity | None:
    """Return the number in a ``RateLimit-Limit`` or ``RateLimit-Remaining``; None if it is not a number."""
    if text is None or len(text) > 200:
        return None
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    window = _WINDOW.search(text)
    return Quantity(int(match[1]), float(window[1]) if window is not None else None)


class RateLimit:
    """The announced rate limit of one host."""

    def __init__(self, clock: IReactorTime, metrics: HostMetrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._limit: int | None = None
        self._remaining: int | None = None
        self._until = 0.0
        self._counts_blobs = False
        self.heard = False
        """Whether the host has granted a request: by then it has announced a limit, if it has one."""

    def note(self, response: IResponse, *, blob: bool = False) -> None:
        """Read the headers of a response; most have none of these. *blob*: it is for a blob."""
        self.heard = self.heard or response.code == 200
        remaining = parse_quantity(header(response, "RateLimit-Remaining"))
        if remaining is None:
            return
        self._counts_blobs = self._counts_blobs or blob
        limit = parse_quantity(header(response, "RateLimit-Limit"))
        self._remaining = remaining.count
        if limit is not None:
            self._limit = limit.count
        window = remaining.window or (limit.window if limit is not None else None)
        self._until = self._clock.seconds() + min(window or DEFAULT_WINDOW, _MAX_WINDOW)
        self._metrics.budget(self._limit, self._remaining)

    @property
    def known(self) -> tuple[int | None, int | None]:
        """Return the limit and what is left of it, None for what is not known now."""
        now = self._clock.seconds()
        if not now < self._until <= now + _MAX_WINDOW:
            return None, None
        return self._limit, self._remaining

    @property
    def low(self) -> bool:
        """Return whether little is left, as far as it is known."""
        if self._limit is None or self._remaining is None:
            return False
        return self._holds and self._remaining < self._limit * LOW

    def beside(self, share: float, *, blob: bool = False) -> int | None:
        """Return how many requests are left above a reserve; None if no limit is known.

        *share*: the part of the limit that is reserved, 0 to 1. *blob*: the requests are for blobs, which
        most hosts do not count.
        """
        if self._limit is None or self._remaining is None or not self._holds:
            return None
        if blob and not self._counts_blobs:
            return None
        return max(self._remaining - ceil(self._limit * share), 0)

    def describe(self, share: float) -> str:
        """Return a sentence which says that the rest of the limit is reserved."""
        kept = ceil((self._limit or 0) * share)
        return (
            f"{self._remaining} of {self._limit} requests are left of its rate limit, and {kept} are "
            "reserved for clients"
        )

    @property
    def _holds(self) -> bool:
        """Whether the announced limit is still valid."""
        now = self._clock.seconds()
        return now < self._until <= now + _MAX_WINDOW
