"""Lists of referrers: from upstream each time, and from the store if upstream fails."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.freshness import may_serve_on_error
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.storage.keys import referrers_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import (
    KeptReferrers,
    ReferrersStore,
    entries_of,
    index_of,
)
from oci_registry.upstream.interfaces import IncompleteList
from oci_registry.upstream.table import Target


@frozen
class ServedReferrers:
    """An image index of referrers, as JSON. *filtered*: only those of the artifact type asked for.

    *age*: the seconds since upstream gave the list, if it is served stale; else None. *warning*: the
    text of upstream's Warning header.
    """

    body: bytes
    filtered: bool
    age: float | None = None
    warning: str | None = None


class ReferrersLists:
    """The lists of referrers of all registries."""

    def __init__(
        self,
        kept: ReferrersStore,
        manifests: ManifestStore,
        writer: RecordWriter,
        clock: IReactorTime,
        health: StoreHealth,
        repeats: RepeatLog,
    ) -> None:
        self._kept = kept
        self._manifests = manifests
        self._writer = writer
        self._clock = clock
        self._health = health
        self._repeats = repeats

    async def get(
        self, target: Target, digest: Digest, artifact_type: str | None
    ) -> ServedReferrers:
        """Return the referrers of a manifest. Raises upstream's `RegistryError`.

        If upstream fails, its last list is served, for as long as a tag would be.
        """
        try:
            found = await target.upstream.referrers(target.repository, digest)
        except (Denied, IncompleteList):
            raise
        except RegistryError as error:
            kept = await self._stale(target, digest)
            if kept is None:
                raise
            if not target.upstream.settings.offline:
                self._warn(target, digest, error)
            age = max(0.0, self._clock.seconds() - kept.checked)
            if artifact_type is None:
                return ServedReferrers(kept.index, filtered=False, age=age)
            body = index_of(_of_type(entries_of(kept.index), artifact_type))
            return ServedReferrers(body, filtered=True, age=age)
        index = index_of(found.manifests)
        if found.warning is None:
            # A list with a warning is stale already: it must not be stored as fresh.
            self._keep(target, digest, index, empty=not found.manifests)
        if artifact_type is None:
            return ServedReferrers(index, filtered=False, warning=found.warning)
        body = index_of(_of_type(found.manifests, artifact_type))
        return ServedReferrers(body, filtered=True, warning=found.warning)

    def _warn(self, target: Target, digest: Digest, error: RegistryError) -> None:
        upstream, repository = target.upstream, target.repository
        self._repeats.warn(
            Group.of(upstream.namespace, "lists", configured=upstream.settings.configured),
            (upstream.namespace, "referrers", without_names(error.message, repository)),
            "referrers of {digest} in {host}/{repository} are served stale: {error}",
            digest=str(digest),
            host=upstream.namespace,
            repository=repository,
            error=error.message,
        )

    async def _stale(self, target: Target, digest: Digest) -> KeptReferrers | None:
        upstream = target.upstream
        if upstream.settings.stale_if_error <= 0:
            return None
        stored = self._kept.get(upstream.namespace, target.repository, digest)
        kept = await self._health.or_default(READ, stored, None)
        if kept is None or not may_serve_on_error(
            self._clock.seconds() - kept.checked,
            upstream.max_age,
            upstream.settings.stale_if_error,
        ):
            return None
        return kept

    def _keep(self, target: Target, digest: Digest, index: bytes, *, empty: bool) -> None:
        """Store a list in the background."""
        kept = KeptReferrers(index, self._clock.seconds())
        host, repository = target.upstream.namespace, target.repository
        if self._kept.is_kept(host, repository, digest, kept):
            return

        async def subject_is_stored() -> bool:
            known = self._manifests.peek(host, digest)
            return await self._health.or_default(READ, known, None) is not None

        self._writer.write(
            referrers_key(host, repository, digest),
            lambda: self._kept.put(host, repository, digest, kept),
            size=len(index),
            # Clients may ask for the referrers of any digest: empty lists must not fill the store.
            when=subject_is_stored if empty else None,
        )


def _of_type(manifests: Iterable[dict[str, object]], kind: str) -> list[dict[str, object]]:
    return [manifest for manifest in manifests if manifest.get("artifactType") == kind]
