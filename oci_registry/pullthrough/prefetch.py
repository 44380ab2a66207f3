"""Prefetch: the config and the layers of an image are downloaded when a client has pulled its manifest."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.background import Background, Reserved
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.remembered_platforms import RememberedPlatforms
from oci_registry.pullthrough.store_health import READ, WRITTEN, StoreHealth
from oci_registry.spec.contents import Child, Unreadable, children_of, is_elsewhere
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import content_key
from oci_registry.storage.room import Room, Unlimited
from oci_registry.streams.parsing import LARGE
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.steps import Pause
from oci_registry.streams.tally import Tally
from oci_registry.upstream.table import Target

STORED = "stored"
DROPPED = "dropped"
SKIPPED = "skipped"
FAILED = "failed"
"""The outcomes for a blob or a manifest, as labels in the metrics."""


@frozen
class PrefetchLimits:
    """Limits of prefetching, in numbers and seconds. *queue*: blobs and manifests that wait for one
    upstream; if there are more, the oldest is dropped. *at_once*: those of one upstream that are
    fetched at the same time, *most* of all upstreams together, *named* of those that clients have
    named. *blobs*: of one manifest. *again*: seconds in which a manifest that is pulled again, as by
    many nodes at once, changes nothing; *remembered* is how many of these are known.
    """

    queue: int = 256
    at_once: int = 3
    most: int = 24
    named: int = 8
    blobs: int = 128
    again: float = 60.0
    remembered: int = 2_000


@frozen
class _Item:
    """A blob, or with a digest alone a manifest, that is to be fetched."""

    target: Target
    wanted: Descriptor | Digest


class Prefetcher:
    """Fetches what clients will request next, from upstreams with ``prefetch``.

    Of an index these are the manifests of the platforms that clients have used of the same repository.
    What is stored, or is being fetched, is not fetched again. Nothing is fetched while the store fails,
    if something would be evicted for it, or from the reserve of a rate limit.
    """

    _log = Logger()

    def __init__(
        self,
        background: Background,
        blobs: BlobCache,
        platforms: RememberedPlatforms,
        health: StoreHealth,
        metrics: Metrics,
        clock: IReactorTime,
        pause: Pause,
        limits: PrefetchLimits = PrefetchLimits(),
    ) -> None:
        self.room: Room = Unlimited()
        """The room in the store."""
        self._background = background
        self._blobs = blobs
        self._platforms = platforms
        self._health = health
        self._metrics = metrics
        self._pause = pause
        self._limits = limits
        self._clock = clock
        # When each manifest was pulled, by its name.
        self._recent: RecentValues[float] = RecentValues(limits.remembered)
        self._queues: dict[str, deque[_Item]] = {}
        self._running: Tally[str] = Tally()
        self._named = 0
        self._work: set[Deferred[None]] = set()
        self._stopped = False

    def pulled(self, target: Target, manifest: Manifest) -> None:
        """A client was sent a manifest."""
        if not target.upstream.settings.prefetch or self._stopped:
            return
        repository = (target.upstream.namespace, target.repository)
        self._platforms.use(repository, manifest.digest)
        key, now = content_key(*repository, manifest.digest), self._clock.seconds()
        before = self._recent.peek(key)
        if before is not None and 0 <= now - before < self._limits.again:
            return
        self._recent.put(key, now)
        self._expand(target, manifest)
        self._begin()

    def stop(self) -> None:
        """Stop; downloads that have begun belong to the transfers and continue."""
        self._stopped = True
        self._platforms.stop()
        self._queues.clear()
        for work in list(self._work):
            work.cancel()

    def _expand(self, target: Target, manifest: Manifest) -> None:
        """Queue what a manifest consists of."""
        if len(manifest.raw) > LARGE:
            # It would have to be parsed in a thread. No index in use is so large.
            children = None
        else:
            try:
                children = children_of(manifest)
            except Unreadable:
                return
        if children is None:
            for blob in islice(manifest.blobs, self._limits.blobs):
                if not is_elsewhere(blob):
                    self._queue(_Item(target, blob))
            return
        repository = (target.upstream.namespace, target.repository)
        self._platforms.learn(repository, children)

        def chosen(found: Sequence[Child]) -> None:
            for child in found:
                self._queue(_Item(target, child.descriptor.digest))
            self._begin()

        self._platforms.choose(repository, children, chosen)

    def _queue(self, item: _Item) -> None:
        namespace = item.target.upstream.namespace
        queue = self._queues.setdefault(namespace, deque())
        if len(queue) >= self._limits.queue:
            queue.popleft()
            self._metrics.prefetched(namespace, DROPPED)
        queue.append(item)

    # -- fetching

    def _begin(self) -> None:
        """Begin to fetch as much as may be fetched at once."""
        for namespace, queue in list(self._queues.items()):
            while queue and self._may_begin(namespace, queue[0].target):
                self._start(namespace, queue.popleft())
            if not queue:
                self._queues.pop(namespace, None)

    def _may_begin(self, namespace: str, target: Target) -> bool:
        if self._running[namespace] >= self._limits.at_once or len(self._work) >= self._limits.most:
            return False
        return target.upstream.settings.configured or self._named < self._limits.named

    def _start(self, namespace: str, item: _Item) -> None:
        named = not item.target.upstream.settings.configured
        self._running[namespace] += 1
        self._named += named
        work = Deferred.fromCoroutine(self._run(item))
        self._work.add(work)

        def over(_: object) -> None:
            self._work.discard(work)
            self._named -= named
            self._running.end(namespace)
            self._begin()

        work.addBoth(over)

    async def _run(self, item: _Item) -> None:
        """Fetch an item, and count the outcome."""
        outcome: str | None = FAILED
        with suppress(CancelledError):
            # Never at once: the client that has caused this is served first.
            await self._pause()
            try:
                outcome = await self._fetch(item)
            except Reserved as error:
                outcome = SKIPPED
                self._tell(item, str(error))
            except RegistryError as error:
                self._tell(item, str(error))
            except CancelledError:
                raise
            except Exception:
                self._log.failure("the prefetch of {wanted} failed", wanted=_name(item))
            if outcome is not None:
                self._metrics.prefetched(item.target.upstream.namespace, outcome)

    async def _fetch(self, item: _Item) -> str | None:
        """Return the outcome; None if there was nothing to do."""
        target, wanted = item.target, item.wanted
        if isinstance(wanted, Digest):
            manifest, served = await self._background.manifest(target, wanted)
            if not self._stopped:
                self._expand(target, manifest)
            return None if served is None or served.cached else STORED
        if self._blobs.is_running(target, wanted.digest):
            return None
        if not self._may_store(wanted):
            return SKIPPED
        fetched = await self._background.blob(target, wanted)
        if fetched.not_stored is not None:
            self._tell(item, fetched.not_stored)
            return SKIPPED
        return None if fetched.stored else STORED

    def _may_store(self, blob: Descriptor) -> bool:
        works = self._health.works(READ) and self._health.works(WRITTEN)
        return works and self.room.has_room(blob.size or 0)

    def _tell(self, item: _Item, why: str) -> None:
        self._log.debug("not prefetched: {wanted}: {why}", wanted=_name(item), why=why)


def _name(item: _Item) -> str:
    digest = item.wanted if isinstance(item.wanted, Digest) else item.wanted.digest
    return f"{digest} from {item.target.upstream.namespace}/{item.target.repository}"
