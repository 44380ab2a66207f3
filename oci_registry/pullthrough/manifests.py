"""Manifests and tags: from the store while they are fresh, revalidated with upstream when they are not."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.freshness import Freshness, judge, may_serve_on_error
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
)
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.tags import TagRecord
from oci_registry.streams.flight import SingleFlight
from oci_registry.upstream.table import Target

T = TypeVar("T")
Question = tuple[str, str, Tag | Digest]
"""What upstream is asked: namespace, repository, reference."""

REVALIDATION_TIMEOUT = 25.0
"""Seconds for both questions about a tag, HEAD and GET; containerd waits 30 for the answer."""
MAX_BACKGROUND = 64
"""Tags that are asked at once while nobody waits for the answer."""

_UNKNOWN = (ManifestUnknown, NameUnknown)


class StaleReason(Enum):
    """Why a tag is served that upstream has not confirmed."""

    UNREACHABLE = "cannot be asked"
    UNKNOWN = "does not know it any more"


@frozen
class ServedManifest:
    """A manifest to serve, with *cached*: it did not have to come from upstream.

    *age*: None, or the seconds since upstream confirmed what the tag means, if it is stale.
    *stale_reason*: why upstream has not confirmed it again; None while a revalidation is under way.
    """

    manifest: Manifest
    cached: bool
    age: float | None = None
    stale_reason: StaleReason | None = None

    @property
    def outcome(self) -> Outcome:
        """What the store was good for."""
        if not self.cached:
            return Outcome.MISS
        return Outcome.HIT if self.age is None else Outcome.STALE


class ManifestCache:
    """Every manifest of every registry."""

    _log = Logger()

    def __init__(
        self, known: KnownManifests, sizes: KnownSizes, clock: IReactorTime, metrics: Metrics
    ) -> None:
        self._known = known
        self._sizes = sizes
        self._clock = clock
        self._metrics = metrics
        self._asking: SingleFlight[Question, ServedManifest] = SingleFlight()
        self._background: set[Question] = set()
        self._stopped = False

    async def get(self, target: Target, reference: Tag | Digest) -> ServedManifest:
        """Return a manifest by digest or tag. Raises upstream's `RegistryError`.

        A digest that is stored is not asked upstream. A tag is asked at most once at a time, and only
        when it was last confirmed longer ago than the upstream's ``manifest_invalidation_time``.
        """
        host = target.upstream.namespace
        if isinstance(reference, Digest):
            served = await self._by_digest(target, reference)
        else:
            served = await self._by_tag(target, reference)
        self._sizes.learn(host, target.repository, served.manifest)
        if served.cached:
            self._metrics.hit("manifest", host)
        else:
            self._metrics.miss("manifest", host)
        if served.stale_reason is not None:
            self._metrics.stale(host)
        return served

    async def stop(self) -> None:
        """Break off all questions to upstream, and wait until they have ended."""
        self._stopped = True
        await self._asking.stop()

    async def _by_digest(self, target: Target, digest: Digest) -> ServedManifest:
        manifest = await self._known.manifest(target, digest)
        if manifest is not None:
            return ServedManifest(manifest, cached=True)
        question = _question(target, digest)
        return await self._asking.run(question, lambda: self._obtain(target, digest))

    async def _by_tag(self, target: Target, tag: Tag) -> ServedManifest:
        """Return what a tag means: from the store if it is fresh or stale, else as upstream says."""
        record = await self._known.tag(target, tag)
        known = None if record is None else await self._known.manifest(target, record.digest)
        if record is not None and known is not None:
            freshness = self._judge(target, tag, record)
            if freshness is Freshness.FRESH:
                return ServedManifest(known, cached=True)
            if freshness is Freshness.STALE:
                self._ask_in_background(target, tag, known)
                return ServedManifest(known, cached=True, age=self._age(record))
        return await self._ask(target, tag, known)

    def _ask(self, target: Target, tag: Tag, known: Manifest | None) -> Deferred[ServedManifest]:
        question = _question(target, tag)
        return self._asking.run(question, lambda: self._refresh(target, tag, known))

    def _judge(self, target: Target, tag: Tag, record: TagRecord) -> Freshness:
        upstream = target.upstream
        if self._known.is_negative(target, tag):
            return Freshness.REVALIDATE
        return judge(
            self._clock.seconds() - record.checked,
            upstream.manifest_invalidation_time,
            upstream.stale_while_revalidate,
        )

    def _age(self, record: TagRecord) -> float:
        return max(0.0, self._clock.seconds() - record.checked)

    def _ask_in_background(self, target: Target, tag: Tag, known: Manifest) -> None:
        """Ask what a tag means for those who come later, unless that or too much is asked already."""
        question = _question(target, tag)
        if question in self._background or len(self._background) >= MAX_BACKGROUND:
            return
        self._background.add(question)

        def over(_: object) -> None:
            self._background.discard(question)

        asked = self._ask(target, tag, known).addErrback(self._not_confirmed, target, tag)
        asked.addBoth(over)

    def _not_confirmed(self, failure: Failure, target: Target, tag: Tag) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(RegistryError):
            self._log.failure("a tag could not be confirmed", failure)
            return
        self._log.warn(
            "{host}/{repository}:{tag} is not confirmed: {error}",
            host=target.upstream.namespace,
            repository=target.repository,
            tag=tag.name,
            error=failure.getErrorMessage(),
        )

    async def _refresh(self, target: Target, tag: Tag, known: Manifest | None) -> ServedManifest:
        """Ask upstream what a tag means; if it cannot say, return what is known, if that may be.

        *known*: the manifest that was found in the store. The record of the tag is in memory.
        """
        upstream = target.upstream
        record = self._known.recall_tag(target, tag)
        if record is None:
            return await self._fetch(target, tag)
        if known is None or known.digest != record.digest:
            known = self._known.recall(target, record.digest)
        if known is not None and self._judge(target, tag, record) is Freshness.FRESH:
            # Somebody else has asked while we looked in the store.
            return ServedManifest(known, cached=True)
        may_be_stale = known is not None and may_serve_on_error(
            self._clock.seconds() - record.checked,
            upstream.manifest_invalidation_time,
            upstream.stale_if_error,
        )
        try:
            if known is None:
                return await self._fetch(target, tag)
            return await self._revalidate(target, tag, known, patient=not may_be_stale)
        except RegistryError as error:
            unknown = isinstance(error, _UNKNOWN)
            final = isinstance(error, Denied) or (unknown and upstream.believe_not_found)
            if known is None or not may_be_stale or final:
                if unknown or final:
                    self._known.set_negative(target, tag, gone=unknown)
                raise
            self._log.warn(
                "{host}/{repository}:{tag} is served stale: {error}",
                host=upstream.namespace,
                repository=target.repository,
                tag=tag.name,
                error=str(error),
            )
            self._metrics.error("stale")
            reason = StaleReason.UNKNOWN if unknown else StaleReason.UNREACHABLE
            return ServedManifest(known, cached=True, age=self._age(record), stale_reason=reason)

    async def _revalidate(
        self, target: Target, tag: Tag, known: Manifest, *, patient: bool
    ) -> ServedManifest:
        """Ask with HEAD, and with GET if what we have is not what the tag means.

        Whatever HEAD is answered but a digest, GET has the last word: there are registries that do not
        offer HEAD, or not properly. Not where upstream limits requests or does not answer in time,
        unless *patient*: then only GET can still help.
        """
        deadline = self._clock.seconds() + REVALIDATION_TIMEOUT
        upstream, repository = target.upstream, target.repository
        try:
            digest = await self._before(deadline, upstream.manifest_digest(repository, tag))
        except (TooManyRequests, GatewayTimeout):
            if not patient:
                raise
            digest = None
        except RegistryError:
            digest = None
        if digest is not None:
            current = (
                known if digest == known.digest else await self._known.manifest(target, digest)
            )
            if current is not None:
                self._known.confirm(target, tag, current)
                return ServedManifest(current, cached=True)
        return await self._before(deadline, self._fetch(target, tag, patient=patient))

    async def _before(self, deadline: float, work: Coroutine[Any, Any, T]) -> T:
        """Give up on *work* with a GatewayTimeout at *deadline*."""
        left = max(deadline - self._clock.seconds(), 0.1)
        try:
            return await Deferred.fromCoroutine(work).addTimeout(left, self._clock)
        except DeferredTimeout:
            raise GatewayTimeout("upstream did not answer in time") from None
        except RegistryError:
            if self._stopped:
                # It was broken off, which upstream calls by other names: nothing shall follow.
                raise CancelledError from None
            raise

    async def _obtain(self, target: Target, digest: Digest) -> ServedManifest:
        """Fetch a manifest by digest, unless somebody else has while we looked in the store."""
        recent = self._known.recall(target, digest)
        if recent is not None:
            return ServedManifest(recent, cached=True)
        return await self._fetch(target, digest)

    async def _fetch(
        self, target: Target, reference: Tag | Digest, *, patient: bool = True
    ) -> ServedManifest:
        manifest = await target.upstream.manifest(target.repository, reference, patient=patient)
        self._known.keep(target, manifest)
        if isinstance(reference, Tag):
            self._known.confirm(target, reference, manifest)
        return ServedManifest(manifest, cached=False)


def _question(target: Target, reference: Tag | Digest) -> Question:
    return target.upstream.namespace, target.repository, reference
