"""Reading from a server that may be slow: how long an answer may take, and when to ask once more."""

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
from oci_registry.storage.drivers.s3.limits import S3Limits
from oci_registry.storage.interfaces import StoreUnavailable

_BLOCK = 256 * 1024

T = TypeVar("T")
Now = Callable[[], float]


class Pace:
    """How fast an answer must come; begins with the request. *now*: monotonic seconds."""

    def __init__(self, limits: S3Limits, deadline: float, now: Now) -> None:
        self._limits = limits
        self._now = now
        self._window = now()
        self._end = self._window + deadline
        self._count = 0

    def received(self, count: int) -> bool:
        """Note bytes that have come; return whether they come fast enough."""
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

    Raises `BrokenOff` if there are fewer, StoreUnavailable if they come too slowly.
    """
    # boto3 has no name for a read of what is there already: its own waits for all that is asked for.
    read = body._raw_stream.read1
    blocks: list[bytes] = []
    left = count
    try:
        while left:
            block = read(min(left, _BLOCK))
            if not block:
                raise BrokenOff(f"{place}: the server broke off the connection")
            blocks.append(block)
            left -= len(block)
            if not pace.received(len(block)) and left:
                raise StoreUnavailable(f"{place}: the server sends too slowly")
    except (BotoCoreError, HTTPError, OSError) as error:
        raise BrokenOff(str(explain(error, place))) from error
    finally:
        # Read to its end, it has gone back to the pool; else the connection is of no more use.
        body.close()
    return b"".join(blocks)


class Retries:
    """Makes calls that read, and makes them again where that may help. Blocks."""

    def __init__(
        self,
        limits: S3Limits,
        now: Now = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._limits = limits
        self._now = now
        self._sleep = sleep

    def pace(self, deadline: float | None = None) -> Pace:
        """Return the pace of an answer that is asked for now."""
        return Pace(self._limits, deadline or self._limits.deadline, self._now)

    def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Make a call; again after a pause if the server could not cope, at once if it broke off."""
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
            self._sleep(uniform(0.5, 1.0) * pause * 2 ** (attempt - 1))  # noqa: S311 - no secret
            attempt += 1


class ReadHistory:
    """Whether reads have worked of late. *now*: the reactor's seconds."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._failed = -math.inf
        self._worked = -math.inf

    def failed(self, failure: Failure) -> Failure:
        """A read has failed, or nobody would wait for it any longer."""
        if failure.check(Absent) is None:
            self._failed, self._worked = self._now(), -math.inf
        return failure

    def worked(self) -> None:
        """An object's bytes have been read."""
        self._worked = self._now()

    def failed_within(self, seconds: float) -> bool:
        """Whether a read has failed in the last so many seconds."""
        return self._now() - self._failed < seconds

    def worked_within(self, seconds: float) -> bool:
        """Whether one has worked in the last so many seconds, and none failed since."""
        return self._now() - self._worked < seconds
