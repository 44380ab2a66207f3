"""Manifests and tags: from the store while they are fresh, else revalidated with upstream."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.freshness import Freshness, judge, may_serve_on_error
from oci_registry.pullthrough.hits import ManifestHit, ManifestHits
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.served import OlderReason, ServedManifest, StaleReason
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.tag_policy import Decision, effective_max_age
from oci_registry.pullthrough.tag_reports import TagReports
from oci_registry.repeats import RepeatLog
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
from oci_registry.storage.holds import Hold
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
        self._reports = TagReports(metrics, repeats)
        self._known = known
        self._sizes = sizes
        self._hits = ManifestHits(known, sizes)
        self._clock = clock
        self._metrics = metrics
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
        """Return the manifest that `get` would return without asking upstream; else None."""
        if isinstance(reference, Digest):
            return await self._known.manifest(target, reference)
        hold = await self._known.hold(target, reference)
        record = None if hold is not None else await self._known.tag(target, reference)
        hold = self._known.recall_hold(target, reference)
        if hold is not None:
            return await self._known.manifest(target, hold.digest)
        if record is None:
            return None
        if self._judge(target, reference, record)[0] is not Freshness.FRESH:
            return None
        return await self._known.manifest(target, record.digest)

    async def is_stored(self, namespace: str, digest: Digest) -> bool:
        """Whether a manifest is stored, without counting as a use; true if the store cannot be read."""
        return await self._known.is_stored(namespace, digest)

    def hit(
        self, target: Target, reference: Tag | Digest, served: ServedManifest
    ) -> ManifestHit | None:
        """Return a `ManifestHit` that repeats what has just been served, if that can be repeated."""
        manifest, tagged, confirmed, max_age = served.manifest, None, 0.0, inf
        if served.older_reason is OlderReason.HOLD:
            return None
        if isinstance(reference, Tag):
            if self._known.recall_hold(target, reference) is not None:
                # It was held after this answer was decided on.
                return None
            record = self._known.recall_tag(target, reference)
            if record is None or record.digest != manifest.digest:
                return None
            tagged, confirmed = (reference, record), record.checked
            max_age = self._max_age(target, reference, record)
        if served.outcome is not Outcome.HIT or served.age is not None:
            return None
        packed = self._hits.pack(target, manifest, tagged)
        if packed is None:
            return None
        count = self._metrics.hits("manifest", target.upstream.namespace)
        return ManifestHit(self._hits, packed, count, confirmed, max_age)

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
        was_held = await self._known.hold(target, tag) is not None
        record, known = await self._known.tag(target, tag), None
        if record is not None and not was_held:
            known = await self._known.manifest(target, record.digest)
        # It may have been held or released while we looked in the store.
        hold = self._known.recall_hold(target, tag)
        if hold is not None:
            return await self._held(target, tag, hold, record)
        if record is not None and was_held:
            known = await self._known.manifest(target, record.digest)
        if record is not None and known is not None:
            freshness, ttl = self._judge(target, tag, record)
            older = _older_reason(record)
            if freshness is Freshness.FRESH:
                return ServedManifest(known, Outcome.HIT, ttl, older_reason=older)
            if freshness is Freshness.STALE:
                self._ask_in_background(target, tag, known)
                age = self._age(record)
                return ServedManifest(known, Outcome.STALE, ttl, age, older_reason=older)
            if target.upstream.settings.offline:
                ttl, reason = min(ttl, 0.0), StaleReason.OFFLINE
                return ServedManifest(known, Outcome.STALE, ttl, self._age(record), reason)
        if target.upstream.settings.offline:
            # The upstream is never asked, and raises an error that says so.
            return await self._fetch(target, tag)
        question = _question(target, tag)
        return await self._join(question, lambda: self._refresh(target, tag, known))

    async def _held(
        self, target: Target, tag: Tag, hold: Hold, record: TagRecord | None
    ) -> ServedManifest:
        """Return the manifest at which a tag is held; what upstream says is recorded in the background."""
        try:
            served = await self._by_digest(target, hold.digest)
        except _UNKNOWN as error:
            raise ManifestUnknown(
                f"the tag {tag} is held here at {hold.digest}, which is not stored: {error.message}"
            ) from None
        fresh = record is not None and self._judge(target, tag, record)[0] is Freshness.FRESH
        if not fresh and not target.upstream.settings.offline:
            self._ask_in_background(target, tag, None)
        return evolve(served, older_reason=OlderReason.HOLD)

    async def _join(self, question: Question, ask: Ask) -> ServedManifest:
        """Ask upstream, or wait for another client's request that asks the same."""
        joined = question in self._asking
        served = await self._asking.run(question, ask)
        return served.shared() if joined else served

    def _judge(self, target: Target, tag: Tag, record: TagRecord) -> tuple[Freshness, float]:
        """Return whether a tag is fresh, and the seconds that it stays so."""
        upstream = target.upstream
        age = self._clock.seconds() - record.checked
        max_age = self._max_age(target, tag, record)
        unconfirmed = record.imported and not upstream.settings.offline
        if unconfirmed or self._known.is_negative(target, tag):
            return Freshness.REVALIDATE, max_age - age
        return judge(age, max_age, upstream.settings.stale_while_revalidate), max_age - age

    def _max_age(self, target: Target, tag: Tag, record: TagRecord) -> float:
        """Return for how long after its confirmation a tag is fresh: until a waiting digest is adopted."""
        max_age = target.upstream.max_age
        if record.waiting is None:
            return max_age
        min_age = target.upstream.settings.min_age.of(target.repository, tag.name)
        return effective_max_age(record, max_age, min_age)

    def _age(self, record: TagRecord) -> float:
        return max(0.0, self._clock.seconds() - record.checked)

    def _ask_in_background(self, target: Target, tag: Tag, known: Manifest | None) -> None:
        """Revalidate a tag in the background, unless that is running or too many others are."""
        question = _question(target, tag)
        if question in self._background or len(self._background) >= MAX_BACKGROUND:
            return
        self._background.add(question)

        def over(_: object) -> None:
            self._background.discard(question)

        asked = self._asking.run(question, lambda: self._look_and_refresh(target, tag, known))
        asked.addErrback(self._not_confirmed, target, tag)
        asked.addBoth(over)

    async def _look_and_refresh(
        self, target: Target, tag: Tag, known: Manifest | None
    ) -> ServedManifest:
        """As `_refresh`, with the manifest in the store if *known* is None: it was not looked for."""
        record = self._known.recall_tag(target, tag)
        if known is None and record is not None:
            known = await self._known.manifest(target, record.digest)
        return await self._refresh(target, tag, known)

    def _not_confirmed(self, failure: Failure, target: Target, tag: Tag) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(RegistryError):
            self._log.failure("the revalidation of a tag failed", failure)
            return
        self._reports.warn(target, tag, "could not be revalidated", failure.getErrorMessage())

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
            return ServedManifest(known, Outcome.HIT, ttl, older_reason=_older_reason(record))
        may_be_stale = known is not None and may_serve_on_error(
            self._clock.seconds() - record.checked,
            upstream.max_age,
            upstream.settings.stale_if_error,
        )
        try:
            if known is None:
                return await self._fetch(target, tag)
            return await self._revalidate(target, tag, known, patient=not may_be_stale)
        except RegistryError as error:
            unknown = isinstance(error, _UNKNOWN)
            final = isinstance(error, Denied) or (unknown and upstream.settings.trust_not_found)
            if known is None or not may_be_stale or final:
                if unknown or final:
                    self._known.set_negative(target, tag, gone=unknown)
                raise
            self._reports.warn(target, tag, "is served stale", str(error))
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
            decision = await self._known.decide(target, tag, digest)
            current = (
                known
                if decision.digest == known.digest
                else await self._known.manifest(target, decision.digest)
            )
            if current is not None:
                return self._settle(target, tag, current, decision, Outcome.REVALIDATED)
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
        self._metrics.pulls.fetched(target.upstream.namespace)
        self._known.keep(target, manifest)
        if isinstance(reference, Digest):
            return ServedManifest(manifest, Outcome.MISS)
        decision = await self._known.decide(target, reference, manifest.digest)
        if decision.digest != manifest.digest:
            previous = await self._previous(target, decision.digest)
            if previous is not None:
                return self._settle(target, reference, previous, decision, Outcome.REVALIDATED)
            self._reports.previous_is_gone(target, reference, decision)
            decision = decision.adopted()
        return self._settle(target, reference, manifest, decision, Outcome.MISS)

    async def _previous(self, target: Target, digest: Digest) -> Manifest | None:
        """Return the manifest that a tag named before; None if it exists nowhere any more."""
        try:
            return (await self._by_digest(target, digest)).manifest
        except _UNKNOWN:
            return None

    def _settle(
        self, target: Target, tag: Tag, manifest: Manifest, decision: Decision, outcome: Outcome
    ) -> ServedManifest:
        """Record what upstream has said of a tag, and what was decided; return what is served."""
        self._reports.decided(target, tag, decision, self._known.recall_tag(target, tag))
        self._known.confirm(target, tag, manifest, decision)
        record = self._known.recall_tag(target, tag)
        assert record is not None
        max_age = self._max_age(target, tag, record)
        return ServedManifest(manifest, outcome, max_age, older_reason=_older_reason(record))


def _older_reason(record: TagRecord) -> OlderReason | None:
    return None if record.waiting is None else OlderReason.MIN_AGE


def _question(target: Target, reference: Tag | Digest) -> Question:
    return target.upstream.namespace, target.repository, reference
