"""A client of the soak: it pulls as containerd does, and sends again what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater

from oci_registry.spec.digest import Digest
from tests.soak.images import Image, Images
from tests.support.client import Client, Response

RETRIES = 5
"""How often a request is sent again."""
PATIENCE = 120.0
"""Seconds until a response must have ended."""
_PARALLEL = 3
_WRONG = "wrong bytes"
_RANGES = 0.1


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


class Puller:
    """One client; what it sees is counted in *seen*."""

    def __init__(
        self, reactor: Any, port: int, images: Images, random: Random, seen: Counter[str]
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._images = images
        self._random = random
        self._seen = seen
        self.failures: list[str] = []

    async def run(self, going_on: Callable[[], bool]) -> None:
        """Pull images, each as often as the others, as long as it shall go on."""
        order: list[Image] = []
        while going_on():
            order = order or self._random.sample(self._images.images, len(self._images.images))
            try:
                await self._pull(order.pop())
            except PullFailed as error:
                self._seen["failed pulls"] += 1
                self.failures.append(f"failed: {error}")
            self._seen["pulls"] += 1

    async def _pull(self, image: Image) -> None:
        client, base = Client(self._reactor, self._port), f"/v2/{image.repository}"
        await self._get(client, f"{base}/manifests/{image.tag}", image.manifest, "HEAD")
        await self._get(client, f"{base}/manifests/{image.digest}", image.manifest)
        parallel = DeferredSemaphore(_PARALLEL)

        def begin(blob: Digest) -> Deferred[None]:
            return Deferred.fromCoroutine(self._blob(client, f"{base}/blobs/{blob}", blob))

        work = [parallel.run(begin, blob) for blob in image.blobs]
        outcomes: list[tuple[bool, Any]] = await DeferredList(work, consumeErrors=True)
        for good, outcome in outcomes:
            if not good:
                outcome.raiseException()

    async def _blob(self, client: Client, path: str, digest: Digest) -> None:
        content = self._images.content(digest)
        if self._random.random() < _RANGES and len(content) > 1:
            start = self._random.randrange(len(content) - 1)
            stop = self._random.randrange(start + 1, len(content))
            await self._get(client, path, content, start=start, stop=stop)
        await self._get(client, path, content)

    async def _get(
        self,
        client: Client,
        path: str,
        content: bytes,
        method: str = "GET",
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Get the bytes of *content* from *start* to *stop*, in as many responses as it takes."""
        have, end, why = start, len(content) if stop is None else stop, ""
        for attempt in range(RETRIES + 1):
            if attempt:
                self._seen["retries"] += 1
                await deferLater(self._reactor, float(attempt))
            ranged = have > 0 or stop is not None
            headers = (
                {"Range": f"bytes={have}-{'' if stop is None else stop - 1}"} if ranged else {}
            )
            body = Compared(memoryview(content)[have:end])
            try:
                response = await self._response(client, path, method, headers, body)
            except (ConnectError, DeferredTimeout) as error:
                self._seen[type(error).__name__] += 1
                why = repr(error)
                continue
            why = self._judge(response, method, body, end - have, 206 if ranged else 200)
            if why == _WRONG:
                self._note_wrong(response, f"{path} {headers}", whole=end == len(content))
            if not why:
                self._seen["bytes"] += len(body)
                return
            if response.status in (200, 206):
                # Whoever has wrong bytes can only begin again.
                have = have + len(body) if body.right else start
        self._seen["failed requests"] += 1
        raise PullFailed(f"{method} {path}: {why}")

    async def _response(
        self, client: Client, path: str, method: str, headers: dict[str, str], body: Compared
    ) -> Response:
        response = await client.begin(path, method, None, **headers)
        response.body = body
        try:
            await response.done.addTimeout(PATIENCE, self._reactor)
        except DeferredTimeout:
            response.close()
            raise
        finally:
            client.responses.remove(response)
        if response.ended is None and response.transport is not None:
            response.transport.loseConnection()
        return response

    def _note_wrong(self, response: Response, what: str, *, whole: bool) -> None:
        """Count wrong bytes; *whole*: the end of the blob was among what was asked for."""
        if not response.complete:
            self._seen["wrong bytes, closed short"] += 1
            return
        # A part that does not reach the end is served before the blob is verified.
        self._seen["wrong bytes" if whole else "wrong parts"] += 1
        self.failures.append(f"{_WRONG}: {what}")

    def _judge(
        self, response: Response, method: str, body: Compared, length: int, status: int
    ) -> str:
        """Return what is wrong with a response; nothing if it is what was asked for."""
        self._seen["connections reset"] += response.ended not in (None, "closed")
        if response.status != status:
            self._seen[f"status {response.status}"] += 1
            return f"status {response.status} {response.raw[-200:]!r}"
        if response.length != length:
            self._seen["wrong lengths"] += 1
            return f"the length {response.length} in place of {length}"
        if method == "HEAD":
            return "" if response.complete else "cut"
        if not body.right:
            return _WRONG
        if not response.complete:
            self._seen["closed short"] += 1
            return f"closed short after {len(body)} of {length} bytes"
        return ""
