"""Requests of the soak's clients: what fails is sent again, what arrives is compared."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from oci_registry.spec.digest import Digest
from tests.support.client import Client, Response

RETRIES = 5
"""How often a request is sent again."""
PATIENCE = 120.0
"""Seconds until a response must have ended."""
FOUND_WITHIN = 300.0
"""Seconds until a scrub must have found what is damaged."""
_WRONG = "wrong bytes"
_LENGTH = "the length "


class PullFailed(Exception):
    """A request has failed each time."""


class Compared:
    """A body that is compared with what it should be while it arrives, and not kept."""

    def __init__(self, expected: memoryview) -> None:
        self.right = True
        self._expected = expected
        self._length = 0

    def __iadd__(self, data: bytes) -> Compared:
        stop = self._length + len(data)
        self.right = self.right and self._expected[self._length : stop] == data
        self._length = stop
        return self

    def __len__(self) -> int:
        return self._length


class Harmed(Protocol):
    """Knows which stored blobs have been damaged, and not been found by a scrub yet."""

    def excuses(self, digest: Digest, began: float) -> bool:
        """Whether a response that began at a time may have wrong bytes of a blob."""

    async def healed(self, digest: Digest) -> None:
        """Wait until a scrub has found the damage."""


class NotHarmed:
    """Nobody damages what is stored."""

    def excuses(self, digest: Digest, began: float) -> bool:
        """Return False."""
        return False

    async def healed(self, digest: Digest) -> None:
        """Return at once."""


class Getter:
    """Gets what one client wants from a port; what it sees is counted in *seen*."""

    def __init__(
        self, reactor: Any, port: int, random: Random, seen: Counter[str], harmed: Harmed
    ) -> None:
        self.failures: list[str] = []
        self.seen = seen
        self.client = Client(reactor, port)
        self._reactor = reactor
        self._random = random
        self._harmed = harmed

    async def abort(self, path: str, content: bytes) -> None:
        """Ask for *content*, and leave before all of it has come."""
        leave_at = self._random.randrange(1, len(content))
        try:
            response = await self.client.begin(path, leave_at=leave_at)
            response.body = Compared(memoryview(content))
            await response.done.addTimeout(PATIENCE, self._reactor)
        except (ConnectError, DeferredTimeout) as error:
            self.seen[type(error).__name__] += 1
            return
        self.client.responses.remove(response)
        self.seen["aborted"] += not response.complete

    async def get(
        self,
        path: str,
        content: bytes,
        method: str = "GET",
        start: int = 0,
        stop: int | None = None,
        blob: Digest | None = None,
    ) -> Response:
        """Get the bytes of *content* from *start* to *stop*, in as many responses as it takes.

        *blob*: its digest, if it is a blob. Returns the last response.
        """
        have, end, why = start, len(content) if stop is None else stop, ""
        attempt = 0
        while attempt <= RETRIES:
            if attempt:
                self.seen["retries"] += 1
                await deferLater(self._reactor, float(attempt))
            ranged = have > 0 or stop is not None
            headers = (
                {"Range": f"bytes={have}-{'' if stop is None else stop - 1}"} if ranged else {}
            )
            body = Compared(memoryview(content)[have:end])
            began = self._reactor.seconds()
            try:
                response = await self.answer(path, method, body, **headers)
            except (ConnectError, DeferredTimeout) as error:
                self.seen[type(error).__name__] += 1
                why = repr(error)
                attempt += 1
                continue
            excused = blob is not None and self._harmed.excuses(blob, began)
            why = self._judge(response, method, body, end - have, 206 if ranged else 200)
            if not why:
                self.seen["bytes"] += len(body)
                return response
            if blob is not None and excused and self._is_stale(response, why):
                self.seen["stale corruption"] += 1
                await self._healed(blob)
                have = start
                continue
            self._note(why, response, f"{path} {headers}", whole=end == len(content))
            if response.status in (200, 206):
                # Whoever has wrong bytes can only begin again.
                have = have + len(body) if body.right else start
            attempt += 1
        self.seen["failed requests"] += 1
        raise PullFailed(f"{method} {path}: {why}")

    async def digest(self, path: str) -> str:
        """Return the digest that a tag has, by a HEAD request."""
        why = ""
        for attempt in range(RETRIES + 1):
            if attempt:
                self.seen["retries"] += 1
                await deferLater(self._reactor, float(attempt))
            try:
                response = await self.answer(path, "HEAD", bytearray())
            except (ConnectError, DeferredTimeout) as error:
                self.seen[type(error).__name__] += 1
                why = repr(error)
                continue
            if response.status == 200:
                return response.headers["docker-content-digest"]
            self.seen[f"status {response.status}"] += 1
            why = f"status {response.status}"
        self.seen["failed requests"] += 1
        raise PullFailed(f"HEAD {path}: {why}")

    async def answer(self, path: str, method: str, body: Any, **headers: str) -> Response:
        """Send one request, and return its response when that has ended. *body*: takes its bytes."""
        response = await self.client.begin(path, method, None, **headers)
        response.body = body
        try:
            await response.done.addTimeout(PATIENCE, self._reactor)
        except DeferredTimeout:
            response.close()
            raise
        finally:
            self.client.responses.remove(response)
        if response.ended is None and response.transport is not None:
            response.transport.loseConnection()
        return response

    async def _healed(self, blob: Digest) -> None:
        healed = Deferred.fromCoroutine(self._harmed.healed(blob))
        try:
            await healed.addTimeout(FOUND_WITHIN, self._reactor)
        except DeferredTimeout:
            raise PullFailed(f"no scrub has found the damage of {blob}") from None

    def _is_stale(self, response: Response, why: str) -> bool:
        """Whether a damaged file explains a response: wrong bytes, a shorter file, or no such part of it."""
        return (why == _WRONG and response.complete) or (
            response.status in (200, 206, 416) and why.startswith((_LENGTH, "status 416"))
        )

    def _note(self, why: str, response: Response, what: str, *, whole: bool) -> None:
        """Count what is wrong; *whole*: the end of the blob was among what was asked for."""
        if why.startswith(_LENGTH):
            self.seen["wrong lengths"] += 1
        elif why == _WRONG and not response.complete:
            self.seen["wrong bytes, closed short"] += 1
        elif why == _WRONG:
            # A part that does not reach the end is served before the blob is verified.
            self.seen["wrong bytes" if whole else "wrong parts"] += 1
            self.failures.append(f"{_WRONG}: {what}")

    def _judge(
        self, response: Response, method: str, body: Compared, length: int, status: int
    ) -> str:
        """Return what is wrong with a response; nothing if it is what was asked for."""
        self.seen["connections reset"] += response.ended not in (None, "closed")
        if response.status != status:
            self.seen[f"status {response.status}"] += 1
            return f"status {response.status} {response.raw[-200:]!r}"
        if response.length != length:
            return f"{_LENGTH}{response.length} in place of {length}"
        if method == "HEAD":
            return "" if response.complete else "cut"
        if not body.right:
            return _WRONG
        if not response.complete:
            self.seen["closed short"] += 1
            return f"closed short after {len(body)} of {length} bytes"
        return ""
