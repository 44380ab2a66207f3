"""An upstream that is never asked: what is not stored does not exist here."""

from __future__ import annotations

import math
from typing import NoReturn

from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BlobUnknown, ManifestUnknown, NameUnknown
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.interfaces import FREE, Page, Referrers, Spare, UpstreamBlob


class NotStored:
    """What these errors have in common: something is not stored, and its upstream is offline.

    The status is 404 and not 503: clients try their next host after either, but podman repeats a
    request that got a 503, and containerd reports only the number.
    """


class ManifestNotStored(NotStored, ManifestUnknown):
    """A manifest, a tag or a list of referrers is not stored."""


class BlobNotStored(NotStored, BlobUnknown):
    """A blob is not stored."""


class TagsNotStored(NotStored, NameUnknown):
    """No tag of a repository is stored."""


class OfflineUpstream:
    """An `interfaces.Upstream` without any host: it sends nothing and has no connections."""

    def __init__(self, settings: UpstreamSettings) -> None:
        self.namespace = settings.namespace
        self.settings = evolve(
            settings,
            offline=True,
            stale_while_revalidate=0.0,
            stale_if_error=math.inf,
            trust_not_found=False,
            prefetch=False,
        )

    @property
    def max_age(self) -> float:
        """The max age of tags in seconds."""
        return self.settings.manifest_invalidation_time

    def spare(self, repository: str, *, blob: bool, under_way: int = 0) -> Spare:
        """Return that there is room: what is requested fails at once."""
        return FREE

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Raise `ManifestNotStored`."""
        raise self._no_manifest(repository, reference)

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Raise `ManifestNotStored`."""
        raise self._no_manifest(repository, tag)

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> UpstreamBlob:
        """Raise `BlobNotStored`."""
        self._no_blob(digest)

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> UpstreamBlob:
        """Raise `BlobNotStored`."""
        self._no_blob(digest)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Raise `BlobNotStored`."""
        self._no_blob(digest)

    async def tags(
        self,
        repository: str,
        n: int | None,
        last: str | None,
        query: str | None = None,
        *,
        wait: bool = False,
    ) -> Page:
        """Raise `TagsNotStored`."""
        raise TagsNotStored(f"no tag of {repository} is stored, and {self._is_offline}")

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Raise `ManifestNotStored`: that there are none is not known."""
        raise ManifestNotStored(
            f"the referrers of {digest} in {repository} are not stored, and {self._is_offline}"
        )

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        """Do nothing: there are no hosts."""

    def health(self) -> tuple[HostHealth, ...]:
        """Return nothing: there are no hosts."""
        return ()

    def close(self) -> Deferred[None]:
        """Do nothing: there are no connections."""
        return succeed(None)

    @property
    def _is_offline(self) -> str:
        return f"{self.namespace} is offline in this mirror"

    def _no_manifest(self, repository: str, reference: Tag | Digest) -> ManifestNotStored:
        separator = ":" if isinstance(reference, Tag) else "@"
        return ManifestNotStored(
            f"{repository}{separator}{reference} is not stored, and {self._is_offline}"
        )

    def _no_blob(self, digest: Digest) -> NoReturn:
        raise BlobNotStored(f"the blob {digest} is not stored, and {self._is_offline}")
