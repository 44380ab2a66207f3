"""Deadlines, a least rate and retries for reads."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from random import uniform
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError
from twisted.python.failure import Failure
from urllib3.exceptions import HTTPError

from oci_registry.storage.drivers.s3.failures import Absent, BrokenOff, Busy, explain
from oci_registry.storage.drivers.s3.limits import ReadLimits
from oci_registry.storage.interfaces import StoreUnavailable
from oci_registry.streams.breaker import doubled

BLOCK = 256 * 1024

T = TypeVar("T")
Now = Callable[[], float]


class Pace:
    """The deadline and the least rate of one response, from its request on. *now*: monotonic seconds."""

    def __init__(self, limits: ReadLimits, deadline: float, now: Now) -> None:
        self._limits = limits
        self._now = now
        self._window = now()
        self._end = self._window + deadline
        self._count = 0

    def received(self, count: int) -> bool:
        """Count received bytes; return whether they arrive fast enough."""
        now = self._now()
        if now >= self._end:
            return False
        self._count += count
        elapsed = now - self._window
        if elapsed >= self._limits.rate_window:
            if self._count < self._limits.least_rate * elapsed:
                return False
            self._window, self._count = now, 0
        return True


def read_body(body: Any, count: int, pace: Pace, place: str) -> bytes:
    """Read *count* bytes of a response's body and close it.

    Raises `BrokenOff` if there are fewer, StoreUnavailable if they arrive too slowly.
    """
    # boto3 has no read that returns what has arrived: its own waits for all requested bytes.
    read = body._raw_stream.read1
    blocks: list[bytes] = []
    left = count
    try:
        while left:
            block = read(min(left, BLOCK))
            if not block:
                raise BrokenOff(f"{place}: the server closed the connection")
            blocks.append(block)
            left -= len(block)
            if not pace.received(len(block)) and left:
                raise StoreUnavailable(f"{place}: the server sends too slowly")
    except (BotoCoreError, HTTPError, OSError) as error:
        raise BrokenOff(str(explain(error, place))) from error
    finally:
        # A connection whose body was read to its end is in the pool again; any other is closed.
        body.close()
    return b"".join(blocks)


class Retries:
    """Makes reads, and repeats those that may succeed the next time. Blocks."""

    def __init__(
        self,
        limits: ReadLimits,
        now: Now = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._limits = limits
        self._now = now
        self._sleep = sleep

    def pace(self, deadline: float | None = None) -> Pace:
        """Return the pace of the response to a request that is made now."""
        return Pace(self._limits, deadline or self._limits.deadline, self._now)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Make a call; repeat it after a pause if the server is overloaded, at once if it gave no response."""
        over = self._now() + self._limits.patience
        attempt = 1
        while True:
            try:
                return call(*arguments)
            except (Busy, StoreUnavailable) as error:
                most = self._limits.attempts if isinstance(error, Busy) else 2
                if attempt >= most or self._now() >= over:
                    raise
                pause = self._limits.pause if isinstance(error, Busy) else 0.0
            pause = doubled(pause, self._limits.patience, attempt - 1)
            self._sleep(uniform(0.5, 1.0) * pause)  # noqa: S311 - no secret
            attempt += 1


class ReadHistory:
    """When reads have last failed and succeeded. *now*: the reactor's seconds."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._failed = -math.inf
        self._succeeded = -math.inf

    def record_failure(self, failure: Failure) -> Failure:
        """Record a failed read, and return the failure; a missing object is no failure."""
        if failure.check(Absent) is None:
            self._failed, self._succeeded = self._now(), -math.inf
        return failure

    def record_success(self) -> None:
        """Record that bytes of an object have been read."""
        self._succeeded = self._now()

    def failed_within(self, seconds: float) -> bool:
        """Whether a read has failed in the last so many seconds."""
        return self._now() - self._failed < seconds

    def succeeded_within(self, seconds: float) -> bool:
        """Whether a read has succeeded in the last so many seconds, and none has failed since."""
        return self._now() - self._succeeded < seconds
