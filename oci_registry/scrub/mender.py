"""Fetches corrupt content again, from registries that the account or memory names."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.account.account import Account
from oci_registry.account.database import AccountOff
from oci_registry.account.origins import Origin, origins
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.scrub.nouns import Kind, Subject
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import StoreError
from oci_registry.upstream.table import Target, UpstreamTable

T = TypeVar("T")

NAMED = 5
"""The maximum number of images that are named."""
_ATTEMPTS = 3
"""The maximum number of repositories that are asked for one object."""
_LONGEST = 3600.0
"""Seconds that a pass waits for one object; the download continues after that."""


class OriginMender:
    """Fetches an object from the repositories whose tags need it, or where clients have pulled it recently.

    *account*: None for a bucket.
    """

    _log = Logger()

    def __init__(
        self,
        account: Account | None,
        table: UpstreamTable,
        transfers: Transfers,
        manifests: ManifestCache,
        sizes: KnownSizes,
        blobs: BlobStore,
        clock: IReactorTime,
    ) -> None:
        self._account = account
        self._table = table
        self._transfers = transfers
        self._manifests = manifests
        self._sizes = sizes
        self._blobs = blobs
        self._clock = clock

    async def images(self, subject: Subject) -> tuple[str, ...]:
        """Return some of the images that need an object."""
        found = await self._origins(subject)
        names = [f"{each.host}/{each.repository}:{each.tag}" for each in found]
        more = len(names) - NAMED
        return (*names[:NAMED], *([f"{more} more"] if more > 0 else []))

    async def repository(self, subject: Subject) -> str | None:
        """Return a repository that a manifest was pulled from, if one is known."""
        found = await self._origins(subject)
        return found[0].repository if found else None

    async def fetch(self, subject: Subject) -> bool:
        """Fetch an object again from a repository; return whether it is stored."""
        if subject.digest is None:
            return False
        found = [(each.host, each.repository) for each in await self._origins(subject)]
        if subject.kind is Kind.BLOB:
            found += self._sizes.repositories(subject.digest)
        # Each once, in order.
        repositories = dict.fromkeys(found)
        for host, repository in list(repositories)[:_ATTEMPTS]:
            try:
                target = Target(self._table.upstream(host), repository)
                fetching = Deferred.fromCoroutine(self._fetch(target, subject.kind, subject.digest))
                if await fetching.addTimeout(_LONGEST, self._clock):
                    return True
            except (RegistryError, StoreError, DeferredTimeout) as error:
                self._log.info(
                    "{subject} could not be fetched again from {host}/{repository}: {error}",
                    subject=str(subject),
                    host=host,
                    repository=repository,
                    error=str(error),
                )
        return False

    async def _origins(self, subject: Subject) -> list[Origin]:
        if self._account is None or subject.digest is None or self._account.is_off:
            return []
        try:
            found = await self._account.ask(origins(subject.digest))
        except AccountOff:
            return []
        # A manifest belongs to its registry.
        return [each for each in found if subject.host in (None, each.host)]

    async def _fetch(self, target: Target, kind: Kind, digest: Digest) -> bool:
        if kind is Kind.MANIFEST:
            await self._manifests.get(target, digest)
            return True
        hint = self._sizes.get(target.upstream.namespace, target.repository, digest)
        await self._transfers.join(target, digest, hint)
        await self._transfers.ended(digest)
        return await self._blobs.size(digest) is not None
