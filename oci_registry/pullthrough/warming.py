"""The warming of some images: all that they consist of is fetched into the store."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from oci_registry.pullthrough.background import Background, Reserved
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.served import ServedManifest, StaleReason
from oci_registry.pullthrough.task_queue import Order, Task, TaskQueue
from oci_registry.pullthrough.warm_state import ImageState, WarmImage, WarmLimits
from oci_registry.spec.contents import DEEPEST, Child, Unreadable, is_elsewhere
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BlobUnknown, RegistryError, TooManyRequests
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.platforms import Platform
from oci_registry.spec.reference import Tag
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.recent import RecentValues
from oci_registry.streams.steps import Pause
from oci_registry.streams.waiters import Waiters
from oci_registry.upstream.errors import RateLimited
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.table import Target

T = TypeVar("T")

_EVICTED = (
    "it is not stored any more: the limit of the store may have no room for all of these images, "
    "or the store could not be written"
)
Changed = Callable[[WarmImage], None]
"""Is called when something of an image has changed."""


@frozen
class WarmParts:
    """What all warmings work with. *upstream* returns that of a registry, or raises `NameUnknown`."""

    upstream: Callable[[str], Upstream]
    background: Background
    blobs: BlobCache
    reader: ManifestReader
    clock: IReactorTime
    pause: Pause
    limits: WarmLimits


class Warming:
    """The warming of some images: manifests first, then config and layers, in the order of the images.

    Where very many layers wait, they come before the manifests of further images.

    What is stored is skipped, so it can be begun again after it was cancelled or has failed. A download that
    has begun goes on when this is cancelled. Once an upstream is rate limited, or the rest of its limit is
    reserved, no more is requested from it.
    """

    _log = Logger()

    def __init__(
        self,
        number: int,
        parts: WarmParts,
        names: Sequence[ImageName],
        platforms: Sequence[Platform],
        jobs: int,
    ) -> None:
        self.number = number
        self.images = tuple(WarmImage(name) for name in names)
        self.platforms = tuple(platforms)
        self.jobs = jobs
        self.cancelled = False
        self.ended = False
        self.began = parts.clock.seconds()
        """When it has begun, in seconds since the epoch."""
        self.end: float | None = None
        """When it has ended."""
        self._parts = parts
        self._queue = TaskQueue(jobs, parts.pause, self._finish, parts.limits.blobs)
        self._waiters: Waiters[None] = Waiters()
        self._downloads: dict[Digest, Target] = {}
        self._reserved: dict[str, str] = {}
        self._watchers: list[Changed] = []
        # Blobs that are known to be stored, for images that share them.
        self._stored: RecentValues[bool] = RecentValues(20_000)

    def start(self) -> None:
        """Begin. To be called once."""
        count = len(self.images)
        self._log.info(
            "warming {count} {noun}", count=count, noun="image" if count == 1 else "images"
        )
        for image in self.images:
            image.manifests += 1
            self._add(image, lambda image=image: self._image(image), Order.NEXT)  # type: ignore[misc]
        self._queue.start()

    def watch(self, changed: Changed) -> Callable[[], None]:
        """Have *changed* called for each image that changes; return what ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def wait(self) -> Deferred[None]:
        """Return a Deferred of the end; cancelling it does not cancel the warming."""
        if self.ended:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        return self._waiters.wait()

    def cancel(self) -> None:
        """Request nothing more. Idempotent."""
        if not self.ended:
            self.cancelled = True
            self._queue.cancel()

    @property
    def bytes_received(self) -> int:
        """How many bytes have been received of blobs that are being downloaded."""
        return sum(self._parts.blobs.received(t, d) for d, t in self._downloads.items())

    @property
    def reserved(self) -> Mapping[str, str]:
        """Why nothing more was requested of some registries: they are rate limited."""
        return MappingProxyType(self._reserved)

    def count(self, state: ImageState) -> int:
        """Return how many images are in this state."""
        return sum(image.state is state for image in self.images)

    # -- tasks

    def _add(self, image: WarmImage, task: Task, order: Order) -> None:
        image.tasks += 1
        self._queue.add(lambda: self._do(image, task), order)

    async def _do(self, image: WarmImage, task: Task) -> None:
        """Do a task, and note what is missing."""
        namespace = image.name.registry
        try:
            image.becomes(ImageState.RUNNING)
            await task()
        except (Reserved, RateLimited) as error:
            image.reserved = True
            image.problem(str(error))
            self._reserved.setdefault(namespace, str(error))
        except (RegistryError, Unreadable) as error:
            image.problem(str(error))
        except CancelledError:
            raise
        except Exception:
            self._log.failure("warming {image} failed", image=str(image.name))
            image.problem("internal error of the mirror; see its log")
        image.tasks -= 1
        if not image.tasks:
            self._end(image)
        self._changed(image)

    def _end(self, image: WarmImage) -> None:
        """Decide the final state of an image."""
        image.becomes(_outcome(image))
        self._log_failure(image)
        if image.state is ImageState.DONE:
            # After all others are stored, since these may have evicted parts of it.
            self._queue.add(lambda: self._check(image), Order.FINALLY)

    async def _check(self, image: WarmImage) -> None:
        """Check whether a complete image is still stored."""
        try:
            namespace = self._parts.upstream(image.name.registry).namespace
            for digest in image.found:
                if not await self._parts.background.is_stored(namespace, digest):
                    image.problem(_EVICTED)
                    self._end(image)
                    self._changed(image)
                    return
        except (RegistryError, CancelledError):
            # Its registry is not mirrored any more, or this is cancelled.
            return
        except Exception:
            self._log.failure("looking at {image} failed", image=str(image.name))
        image.found.clear()

    def _log_failure(self, image: WarmImage) -> None:
        if (
            image.state is ImageState.FAILED
            and self.count(image.state) <= self._parts.limits.logged
        ):
            self._log.info(
                "{image} is not warmed: {problem}", image=str(image.name), problem=image.problems[0]
            )

    def _finish(self) -> None:
        self.ended = True
        self.end = self._parts.clock.seconds()
        for image in self.images:
            if not image.state.final:
                image.becomes(ImageState.CANCELLED)
                self._changed(image)
        self._log.info(
            "warmed {done} of {images} images: {failed} failed, {left} left because of rate limits, "
            "{cancelled} cancelled",
            images=len(self.images),
            **{state.value: self.count(state) for state in ImageState if state.final},
        )
        self._waiters.fire(None)

    def _changed(self, image: WarmImage) -> None:
        for changed in list(self._watchers):
            changed(image)

    # -- what an image consists of

    async def _image(self, image: WarmImage) -> None:
        target = Target(self._parts.upstream(image.name.registry), image.name.repository)
        manifest = await self._manifest(image, target, image.name.reference)
        image.digest = manifest.digest
        await self._contents(image, target, manifest, DEEPEST)

    async def _manifest(
        self, image: WarmImage, target: Target, reference: Tag | Digest
    ) -> Manifest:
        async def fetch() -> Manifest:
            manifest, served = await self._parts.background.manifest(target, reference)
            if served is not None:
                image.fetched += not served.cached
                note = _note(target, served)
                if note is not None:
                    image.note(note)
            return manifest

        manifest = await self._patiently(fetch)
        image.found.append(manifest.digest)
        return manifest

    async def _contents(
        self, image: WarmImage, target: Target, manifest: Manifest, depth: int
    ) -> None:
        """Add tasks for what a manifest consists of."""
        children = await self._parts.reader.children(manifest)
        if children is None:
            for blob in await self._parts.reader.layers(manifest):
                if blob.digest not in image.known:
                    image.known.add(blob.digest)
                    image.blobs += 1
                    image.bytes += blob.size or 0
                    self._add(image, lambda blob=blob: self._blob(image, target, blob), Order.LAST)  # type: ignore[misc]
            return
        if not depth:
            raise Unreadable(f"the index {manifest.digest} has too many levels")
        wanted = [child for child in children if self._wants(child)]
        if children and not wanted:
            there = sorted({str(c.platform) for c in children if c.platform is not None})
            raise Unreadable(f"it has no such platform, only {', '.join(there) or 'others'}")
        image.manifests += len(wanted)
        if image.manifests > self._parts.limits.manifests:
            raise Unreadable(f"it has more than {self._parts.limits.manifests} manifests")
        for child in wanted:
            if child.platform is not None:
                image.has_platform(str(child.platform))
            self._add(
                image,
                lambda child=child: self._child(image, target, child, depth - 1),  # type: ignore[misc]
                Order.FIRST,
            )

    def _wants(self, child: Child) -> bool:
        """Whether a manifest of an index is fetched: one without a platform may be for any."""
        if not self.platforms:
            return True
        if child.platform is None:
            return not child.other
        return any(platform.includes(child.platform) for platform in self.platforms)

    async def _child(self, image: WarmImage, target: Target, child: Child, depth: int) -> None:
        manifest = await self._manifest(image, target, child.descriptor.digest)
        await self._contents(image, target, manifest, depth)

    async def _blob(self, image: WarmImage, target: Target, blob: Descriptor) -> None:
        if not self._stored.get(str(blob.digest)):
            await self._fetch(image, target, blob)
        image.blobs_stored += 1
        image.bytes_stored += blob.size or 0

    async def _fetch(self, image: WarmImage, target: Target, blob: Descriptor) -> None:
        first = blob.digest not in self._downloads
        self._downloads[blob.digest] = target
        try:
            fetched = await self._patiently(lambda: self._parts.background.blob(target, blob))
        except BlobUnknown:
            if not is_elsewhere(blob):
                raise
            # Clients get it from where its manifest says.
            image.note(f"the registry does not distribute the layer {blob.digest}")
            return
        finally:
            self._downloads.pop(blob.digest, None)
        if fetched.not_stored is not None:
            raise _NotStored(f"the blob {blob.digest} is not stored: {fetched.not_stored}")
        image.fetched += first and not fetched.stored
        self._stored.put(str(blob.digest), True)

    async def _patiently(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what *work* does, and repeat it while the mirror itself has too much to do."""
        for _ in range(self._parts.limits.attempts):
            try:
                return await work()
            except (RateLimited, Reserved):
                raise
            except TooManyRequests:
                await deferLater(self._parts.clock, self._parts.limits.again)
        return await work()


def _note(target: Target, served: ServedManifest) -> str | None:
    """Return a note about a stale tag."""
    if served.age is None or served.stale_reason is StaleReason.OFFLINE:
        return None
    if served.stale_reason is None:
        return "the tag is stale, and is being revalidated: warm the image again"
    return f"the tag is stale, since {target.upstream.namespace} {served.stale_reason.value}"


class _NotStored(Unreadable):
    """A blob was downloaded, but is not stored."""


def _outcome(image: WarmImage) -> ImageState:
    if image.reserved:
        return ImageState.LEFT
    return ImageState.FAILED if image.problems else ImageState.DONE
