"""Manifests and tags: what is stored, kept true by asking upstream when it may have changed."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.freshness import Fallback, Freshness, fall_back, judge
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.trouble import READ, WRITTEN, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
)
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.streams.flight import SingleFlight
from oci_registry.upstream.table import Target

T = TypeVar("T")

REVALIDATION_TIMEOUT = 25.0
"""Seconds for both questions about a tag, HEAD and GET; containerd waits 30 for the answer."""


@frozen
class ServedManifest:
    """A manifest to serve. *stale*: None, or the seconds since upstream confirmed what the tag means."""

    manifest: Manifest
    cached: bool
    stale: float | None = None


class ManifestCache:
    """Every manifest of every registry."""

    _log = Logger()

    def __init__(
        self,
        manifests: ManifestStore,
        tags: TagStore,
        sizes: KnownSizes,
        clock: IReactorTime,
        trouble: StoreTrouble,
        metrics: Metrics,
    ) -> None:
        self._manifests = manifests
        self._tags = tags
        self._sizes = sizes
        self._clock = clock
        self._trouble = trouble
        self._metrics = metrics
        self._asking: SingleFlight[tuple[str, str, Tag | Digest], ServedManifest] = SingleFlight()

    async def get(self, target: Target, reference: Tag | Digest) -> ServedManifest:
        """Return a manifest by digest or tag. Raises upstream's `RegistryError`.

        A digest that is stored is not asked upstream. A tag is asked at most once at a time, and only
        when it was last confirmed longer ago than the upstream's ``manifest_invalidation_time``.
        """
        host = target.upstream.namespace
        if isinstance(reference, Digest):
            manifest = await self._stored(target, reference)
            served = None if manifest is None else ServedManifest(manifest, cached=True)
        else:
            served = await self._believed(target, reference)
        if served is None:
            key = (host, target.repository, reference)
            if isinstance(reference, Digest):
                served = await self._asking.run(key, lambda: self._obtain(target, reference))
            else:
                served = await self._asking.run(key, lambda: self._refresh(target, reference))
        if served.cached:
            self._metrics.hit("manifest", host)
        else:
            self._metrics.miss("manifest", host)
        return served

    async def _believed(self, target: Target, tag: Tag) -> ServedManifest | None:
        """Return what a tag means if that need not be asked."""
        record = await self._record(target, tag)
        if record is None:
            return None
        age = self._clock.seconds() - record.checked
        if judge(age, target.upstream.manifest_invalidation_time) is not Freshness.FRESH:
            return None
        manifest = await self._stored(target, record.digest)
        return None if manifest is None else ServedManifest(manifest, cached=True)

    async def _refresh(self, target: Target, tag: Tag) -> ServedManifest:
        """Ask upstream what a tag means: HEAD if we know something, GET if that has changed."""
        record = await self._record(target, tag)
        known = None if record is None else await self._stored(target, record.digest)
        if record is None or known is None:
            return await self._fetch(target, tag)
        began = self._clock.seconds()
        if judge(began - record.checked, target.upstream.manifest_invalidation_time) is (
            Freshness.FRESH
        ):
            # Somebody else has asked while we looked in the store.
            return ServedManifest(known, cached=True)
        try:
            digest = await target.upstream.manifest_digest(target.repository, tag)
            if digest is not None:
                current = known if digest == known.digest else await self._stored(target, digest)
                if current is not None:
                    await self._keep_tag(target, tag, current)
                    return ServedManifest(current, cached=True)
            left = REVALIDATION_TIMEOUT - (self._clock.seconds() - began)
            return await self._within(left, self._fetch(target, tag))
        except RegistryError as error:
            age = self._clock.seconds() - record.checked
            definite = isinstance(error, ManifestUnknown | NameUnknown | Denied)
            believed = target.upstream.manifest_invalidation_time
            if fall_back(age, believed, definite=definite) is Fallback.GONE:
                if isinstance(error, ManifestUnknown):
                    host = target.upstream.namespace
                    await self._trouble.despite(
                        WRITTEN, self._tags.delete(host, target.repository, tag.name), False
                    )
                raise
            self._log.warn(
                "{host}/{repository}:{tag} is served stale: {error}",
                host=target.upstream.namespace,
                repository=target.repository,
                tag=tag.name,
                error=str(error),
            )
            self._metrics.error("stale")
            return ServedManifest(known, cached=True, stale=age)

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Give up on *work* with a GatewayTimeout after so long."""
        try:
            return await Deferred.fromCoroutine(work).addTimeout(max(seconds, 0.1), self._clock)
        except DeferredTimeout:
            raise GatewayTimeout("upstream did not answer in time") from None

    async def _obtain(self, target: Target, digest: Digest) -> ServedManifest:
        """Fetch a manifest by digest, unless somebody else has while we looked in the store."""
        recent = self._manifests.recall(target.upstream.namespace, digest)
        if recent is not None:
            return ServedManifest(recent, cached=True)
        return await self._fetch(target, digest)

    async def _fetch(self, target: Target, reference: Tag | Digest) -> ServedManifest:
        manifest = await target.upstream.manifest(target.repository, reference)
        host = target.upstream.namespace
        self._sizes.learn(host, target.repository, manifest)
        await self._trouble.despite(WRITTEN, self._manifests.put(host, manifest), None)
        if isinstance(reference, Tag):
            await self._keep_tag(target, reference, manifest)
        return ServedManifest(manifest, cached=False)

    async def _keep_tag(self, target: Target, tag: Tag, manifest: Manifest) -> None:
        record = TagRecord(manifest.digest, manifest.media_type, self._clock.seconds())
        host = target.upstream.namespace
        await self._trouble.despite(
            WRITTEN, self._tags.put(host, target.repository, tag.name, record), None
        )

    async def _record(self, target: Target, tag: Tag) -> TagRecord | None:
        host = target.upstream.namespace
        recent = self._tags.recall(host, target.repository, tag.name)
        if recent is not None:
            return recent
        return await self._trouble.despite(
            READ, self._tags.get(host, target.repository, tag.name), None
        )

    async def _stored(self, target: Target, digest: Digest) -> Manifest | None:
        host = target.upstream.namespace
        recent = self._manifests.recall(host, digest)
        if recent is not None:
            return recent
        manifest = await self._trouble.despite(READ, self._manifests.get(host, digest), None)
        if manifest is not None:
            self._sizes.learn(host, target.repository, manifest)
        return manifest
