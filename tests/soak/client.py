"""A client of the soak: it pulls as containerd does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate
from random import Random
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore

from oci_registry.spec.digest import Digest
from tests.soak.getting import Getter, Harmed, NotHarmed, PullFailed
from tests.soak.images import EDGE, Image, Images

_PARALLEL = 3
_RANGES = 0.1


@frozen
class Habits:
    """How often a client does what. *moving*: pulls a tag that moves; *by_digest*, *by_tag*: gets the manifest
    by digest without a tag, or by tag; *aborts*: leaves a blob before its end, and gets it again.

    *popular*: some images are pulled more often than others, else all are pulled equally often.
    """

    moving: float = 0.0
    by_digest: float = 0.0
    by_tag: float = 0.0
    aborts: float = 0.0
    popular: bool = False


Held = Mapping[str, Digest]
"""What the moving tags of repositories are held at."""


class Puller:
    """One client; what it sees is counted in *seen*."""

    def __init__(
        self,
        reactor: Any,
        port: int,
        images: Images,
        random: Random,
        seen: Counter[str],
        habits: Habits = Habits(),
        harmed: Harmed | None = None,
        held: Held | None = None,
    ) -> None:
        self._reactor = reactor
        self._images = images
        self._random = random
        self._seen = seen
        self._habits = habits
        self._held: Held = {} if held is None else held
        self._getter = Getter(reactor, port, random, seen, harmed or NotHarmed())
        self.failures = self._getter.failures
        self._weights = list(accumulate(1 / (place + 5) for place in range(len(images.images))))

    async def run(self, going_on: Callable[[], bool]) -> None:
        """Pull images as long as it shall continue."""
        order: list[Image] = []
        while going_on():
            order = order or self._order()
            await self.pull(order.pop())

    def _order(self) -> list[Image]:
        images = self._images.images
        if self._habits.popular:
            return self._random.choices(images, cum_weights=self._weights, k=len(images))
        return self._random.sample(images, len(images))

    async def pull(self, image: Image) -> None:
        """Pull an image, or, as its habits are, the one that its moving tag means."""
        try:
            await self._pull(image)
        except PullFailed as error:
            self._seen["failed pulls"] += 1
            self.failures.append(f"failed: {error}")
        self._seen["pulls"] += 1

    async def _pull(self, image: Image) -> None:
        moving = self._images.edge(image.repository, 0.0) is not None
        if moving and self._random.random() < self._habits.moving:
            image = await self.moving(image)
        base, get = f"/v2/{image.repository}/manifests", self._getter.get
        chance = self._random.random() - self._habits.by_digest
        if image.tag == EDGE or chance < 0:
            await get(f"{base}/{image.digest}", image.manifest)
        elif chance < self._habits.by_tag:
            await get(f"{base}/{image.tag}", image.manifest)
        else:
            await get(f"{base}/{image.tag}", image.manifest, "HEAD")
            await get(f"{base}/{image.digest}", image.manifest)
        await self.blobs(image)

    async def moving(self, image: Image) -> Image:
        """Return what the moving tag of a repository means to clients."""
        path, held = f"/v2/{image.repository}/manifests/{EDGE}", self._held.get(image.repository)
        digest = Digest.parse(await self._getter.digest(path))
        found = self._images.by_digest(digest)
        if found is None:
            raise PullFailed(f"{path}: {digest} is of none of the images")
        if held is not None and self._held.get(image.repository) is held and held != digest:
            self._seen["wrong digests of held tags"] += 1
            self.failures.append(f"{path}: {digest}, but it is held at {held}")
        self._seen["pulls of moving tags"] += 1
        return Image(image.repository, EDGE, found.manifest, digest, found.blobs)

    async def blobs(self, image: Image) -> None:
        """Get the blobs of an image, some at a time."""
        parallel = DeferredSemaphore(_PARALLEL)

        def begin(blob: Digest) -> Deferred[None]:
            return Deferred.fromCoroutine(self._blob(f"/v2/{image.repository}/blobs/{blob}", blob))

        work = [parallel.run(begin, blob) for blob in image.blobs]
        outcomes: list[tuple[bool, Any]] = await DeferredList(work, consumeErrors=True)
        for good, outcome in outcomes:
            if not good:
                outcome.raiseException()

    async def _blob(self, path: str, digest: Digest) -> None:
        content, random = self._images.content(digest), self._random
        if self._habits.aborts and random.random() < self._habits.aborts and len(content) > 1:
            await self._getter.abort(path, content)
        if random.random() < _RANGES and len(content) > 1:
            start = random.randrange(len(content) - 1)
            stop = random.randrange(start + 1, len(content))
            await self._getter.get(path, content, start=start, stop=stop, blob=digest)
        await self._getter.get(path, content, blob=digest)
