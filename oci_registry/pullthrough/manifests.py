"""Manifests and tags: from the store while they are fresh, else revalidated with upstream."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.freshness import Freshness, judge, may_serve_on_error
from oci_registry.pullthrough.hits import ManifestHit
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.repeats import Group, RepeatLog, without_names
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
"""A request to upstream: namespace, repository, reference."""

REVALIDATION_TIMEOUT = 25.0
"""Seconds for HEAD and GET of a tag together; containerd waits 30."""
MAX_BACKGROUND = 64
"""Tags that are revalidated in the background at the same time."""

_UNKNOWN = (ManifestUnknown, NameUnknown)


class StaleReason(Enum):
    """Why a tag is served that upstream has not confirmed."""

    UNREACHABLE = "is unavailable"
    UNKNOWN = "no longer has it"
    OFFLINE = "is offline in this mirror"


@frozen
class ServedManifest:
    """A manifest to serve.

    *ttl*: the seconds that the tag stays fresh, negative if it is stale; None if a digest was requested.
    *age*: the seconds since upstream confirmed the tag, if it is served stale; else None. *stale_reason*:
    why upstream has not confirmed it again; None while a revalidation is under way. *refreshed*: a
    manifest of the tag was known, but stale. *joined*: another client's request to upstream gave it.
    """

    manifest: Manifest
    outcome: Outcome
    ttl: float | None = None
    age: float | None = None
    stale_reason: StaleReason | None = None
    refreshed: bool = False
    joined: bool = False

    @property
    def cached(self) -> bool:
        """Whether it did not come from upstream."""
        return self.outcome not in (Outcome.MISS, Outcome.JOINED)

    def shared(self) -> ServedManifest:
        """Return the same for a client that waited for another client's request to upstream."""
        outcome = Outcome.JOINED if self.outcome is Outcome.MISS else self.outcome
        return evolve(self, outcome=outcome, joined=True)


Ask = Callable[[], Coroutine[Any, Any, ServedManifest]]


class ManifestCache:
    """The manifests and tags of all registries."""

    _log = Logger()

    def __init__(
        self,
        known: KnownManifests,
        sizes: KnownSizes,
        clock: IReactorTime,
        metrics: Metrics,
        repeats: RepeatLog,
    ) -> None:
        self._known = known
        self._sizes = sizes
        self._clock = clock
        self._metrics = metrics
        self._repeats = repeats
        self._asking: SingleFlight[Question, ServedManifest] = SingleFlight()
        self._background: set[Question] = set()
        self._stopped = False

    async def get(self, target: Target, reference: Tag | Digest) -> ServedManifest:
        """Return a manifest by digest or tag. Raises upstream's `RegistryError`.

        A stored digest is served without asking upstream. A tag is revalidated if upstream has not
        confirmed it within ``manifest_invalidation_time``, once for all clients that ask meanwhile.
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
        if served.stale_reason not in (None, StaleReason.OFFLINE):
            self._metrics.stale(host)
        return served

    async def stored(self, target: Target, reference: Tag | Digest) -> Manifest | None:
        """Return the manifest that `get` would, if it would not ask upstream before; else None."""
        if isinstance(reference, Digest):
            return await self._known.manifest(target, reference)
        record = await self._known.tag(target, reference)
        if record is None:
            return None
        if self._judge(target, reference, record)[0] is not Freshness.FRESH:
            return None
        return await self._known.manifest(target, record.digest)

    def hit(
        self, target: Target, reference: Tag | Digest, served: ServedManifest
    ) -> ManifestHit | None:
        """Return what repeats a hit that has just been served, if that can be repeated."""
        manifest, tagged = served.manifest, None
        if isinstance(reference, Tag):
            record = self._known.recall_tag(target, reference)
            if record is None or record.digest != manifest.digest:
                return None
            tagged = reference, record
        if served.outcome is not Outcome.HIT or served.age is not None:
            return None
        count = self._metrics.hits("manifest", target.upstream.namespace)
        return ManifestHit(self._known, self._sizes, target, manifest, tagged, count)

    async def stop(self) -> None:
        """Cancel all requests to upstream, and wait until they have ended."""
        self._stopped = True
        await self._asking.stop()

    async def _by_digest(self, target: Target, digest: Digest) -> ServedManifest:
        manifest = await self._known.manifest(target, digest)
        if manifest is not None:
            return ServedManifest(manifest, Outcome.HIT)
        return await self._join(_question(target, digest), lambda: self._obtain(target, digest))

    async def _by_tag(self, target: Target, tag: Tag) -> ServedManifest:
        """Return the manifest of a tag: from the store if it is fresh or stale, else from upstream."""
        record = await self._known.tag(target, tag)
        known = None if record is None else await self._known.manifest(target, record.digest)
        if record is not None and known is not None:
            freshness, ttl = self._judge(target, tag, record)
            if freshness is Freshness.FRESH:
                return ServedManifest(known, Outcome.HIT, ttl)
            if freshness is Freshness.STALE:
                self._ask_in_background(target, tag, known)
                return ServedManifest(known, Outcome.STALE, ttl, self._age(record))
            if target.upstream.offline:
                ttl, reason = min(ttl, 0.0), StaleReason.OFFLINE
                return ServedManifest(known, Outcome.STALE, ttl, self._age(record), reason)
        if target.upstream.offline:
            # Raises: that the tag is not stored now says nothing about the registry.
            return await self._fetch(target, tag)
        question = _question(target, tag)
        return await self._join(question, lambda: self._refresh(target, tag, known))

    async def _join(self, question: Question, ask: Ask) -> ServedManifest:
        """Ask upstream, or wait for another client's request that asks the same."""
        joined = question in self._asking
        served = await self._asking.run(question, ask)
        return served.shared() if joined else served

    def _judge(self, target: Target, tag: Tag, record: TagRecord) -> tuple[Freshness, float]:
        """Return whether a tag is fresh, and the seconds that it stays so."""
        upstream = target.upstream
        age = self._clock.seconds() - record.checked
        max_age = upstream.manifest_invalidation_time
        unconfirmed = record.imported and not upstream.offline
        if unconfirmed or self._known.is_negative(target, tag):
            return Freshness.REVALIDATE, max_age - age
        return judge(age, max_age, upstream.stale_while_revalidate), max_age - age

    def _age(self, record: TagRecord) -> float:
        return max(0.0, self._clock.seconds() - record.checked)

    def _ask_in_background(self, target: Target, tag: Tag, known: Manifest) -> None:
        """Revalidate a tag in the background, unless that is running or too many others are."""
        question = _question(target, tag)
        if question in self._background or len(self._background) >= MAX_BACKGROUND:
            return
        self._background.add(question)

        def over(_: object) -> None:
            self._background.discard(question)

        asked = self._asking.run(question, lambda: self._refresh(target, tag, known))
        asked.addErrback(self._not_confirmed, target, tag)
        asked.addBoth(over)

    def _not_confirmed(self, failure: Failure, target: Target, tag: Tag) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(RegistryError):
            self._log.failure("the revalidation of a tag failed", failure)
            return
        self._warn(target, tag, "could not be revalidated", failure.getErrorMessage())

    def _warn(self, target: Target, tag: Tag, what: str, error: str) -> None:
        """Warn of what has become of a tag; with the same reason once a minute, whichever tag it is."""
        upstream, repository = target.upstream, target.repository
        self._repeats.warn(
            Group.of(upstream.namespace, "tags", configured=upstream.configured),
            (upstream.namespace, what, without_names(error, repository, tag.name)),
            "{host}/{repository}:{tag} {what}: {error}",
            host=upstream.namespace,
            repository=repository,
            tag=tag.name,
            what=what,
            error=error,
        )

    async def _refresh(self, target: Target, tag: Tag, known: Manifest | None) -> ServedManifest:
        """Ask upstream for the manifest of a tag; if that fails, return the stale one if it is allowed.

        *known*: the manifest that was found in the store. The record of the tag is in memory.
        """
        upstream = target.upstream
        record = self._known.recall_tag(target, tag)
        if record is None:
            return await self._fetch(target, tag)
        if known is None or known.digest != record.digest:
            known = self._known.recall(target, record.digest)
        freshness, ttl = self._judge(target, tag, record)
        if known is not None and freshness is Freshness.FRESH:
            # Another request has confirmed it while we looked in the store.
            return ServedManifest(known, Outcome.HIT, ttl)
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
            self._warn(target, tag, "is served stale", str(error))
            self._metrics.error("stale")
            reason = StaleReason.UNKNOWN if unknown else StaleReason.UNREACHABLE
            # It may be within its max age, if upstream has refused it meanwhile.
            ttl = min(self._judge(target, tag, record)[1], 0.0)
            return ServedManifest(known, Outcome.STALE, ttl, self._age(record), reason)

    async def _revalidate(
        self, target: Target, tag: Tag, known: Manifest, *, patient: bool
    ) -> ServedManifest:
        """Revalidate with HEAD, and with GET if the tag names a manifest that we do not have.

        If HEAD gives no digest, GET decides: some registries do not support HEAD, or not properly. After a
        rate limit or a timeout there is a GET only if *patient*, which means that nothing stale may be
        served.
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
                ttl = upstream.manifest_invalidation_time
                return ServedManifest(current, Outcome.REVALIDATED, ttl)
        served = await self._before(deadline, self._fetch(target, tag, patient=patient))
        return evolve(served, refreshed=True)

    async def _before(self, deadline: float, work: Coroutine[Any, Any, T]) -> T:
        """Give up on *work* with a GatewayTimeout at *deadline*."""
        left = max(deadline - self._clock.seconds(), 0.1)
        try:
            return await Deferred.fromCoroutine(work).addTimeout(left, self._clock)
        except DeferredTimeout:
            raise GatewayTimeout("upstream did not answer in time") from None
        except RegistryError:
            if self._stopped:
                # The request was cancelled; upstream reports that as an error of another type.
                raise CancelledError from None
            raise

    async def _obtain(self, target: Target, digest: Digest) -> ServedManifest:
        """Fetch a manifest by digest, unless another request has while we looked in the store."""
        recent = self._known.recall(target, digest)
        if recent is not None:
            return ServedManifest(recent, Outcome.HIT)
        return await self._fetch(target, digest)

    async def _fetch(
        self, target: Target, reference: Tag | Digest, *, patient: bool = True
    ) -> ServedManifest:
        manifest = await target.upstream.manifest(target.repository, reference, patient=patient)
        self._known.keep(target, manifest)
        if isinstance(reference, Digest):
            return ServedManifest(manifest, Outcome.MISS)
        self._known.confirm(target, reference, manifest)
        return ServedManifest(manifest, Outcome.MISS, target.upstream.manifest_invalidation_time)


def _question(target: Target, reference: Tag | Digest) -> Question:
    return target.upstream.namespace, target.repository, reference
