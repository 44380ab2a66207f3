"""A remote registry: its hosts, its negative cache, and the quarantine of hosts that sent wrong bytes."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from attrs import evolve
from cachetools import TTLCache
from twisted.internet.defer import Deferred

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream import operations
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.decodings import Decodings
from oci_registry.upstream.errors import ANSWERS, Limited, LocalFailure, NoReferrers
from oci_registry.upstream.exchange import Exchange
from oci_registry.upstream.group import Answer, HostGroup
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.host import Operation
from oci_registry.upstream.interfaces import Page, Referrers, Spare
from oci_registry.upstream.negative_cache import NegativeCache
from oci_registry.upstream.operations import Wanted
from oci_registry.upstream.referrers import ReferrersLister
from oci_registry.upstream.requests import IMPATIENT, PATIENT, ApiRequest, Kind, Routing
from oci_registry.upstream.resume import ResumingBlob
from oci_registry.upstream.tags import TagsLister

T = TypeVar("T")

QUARANTINE = 600.0
"""Seconds for which a host that has sent wrong bytes of a blob is tried last for that blob."""
STRETCH = 4.0
"""The factor by which the max age of tags grows while little is left of a host's budget,"""
STRETCHED = 600.0
"""and its minimum then, in seconds."""
_REMEMBERED = 1024


class RemoteRegistry:
    """An `interfaces.Upstream` of one or more hosts."""

    def __init__(
        self, settings: UpstreamSettings, group: HostGroup, reader: ManifestReader
    ) -> None:
        self.namespace = settings.namespace
        self.settings = settings
        self._group = group
        self._reader = reader
        self._negative = NegativeCache(
            group.clock, not_found=settings.remember_not_found, denied=settings.remember_denied
        )
        self._decodings = Decodings()
        self._quarantined: TTLCache[tuple[Digest, str], None] = TTLCache(
            _REMEMBERED, QUARANTINE, timer=group.clock.seconds
        )

    @property
    def max_age(self) -> float:
        """The max age of tags in seconds; longer while little is left of the first host's budget."""
        max_age = self.settings.manifest_invalidation_time
        if self._group.hosts[0].limit.low:
            return max(max_age * STRETCH, STRETCHED)
        return max_age

    def spare(self, repository: str, *, blob: bool, under_way: int = 0) -> Spare:
        """Return whether a manifest, or a *blob*, may be requested that no client waits for."""
        return self._group.spare(
            ApiRequest(Kind.BLOB if blob else Kind.MANIFEST, repository, ""),
            self.settings.rate_limit_reserve / 100,
            under_way,
        )

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a manifest that matches the requested digest and the one that upstream sent."""
        return await self._ask(
            ApiRequest(Kind.MANIFEST, repository, str(reference)),
            lambda exchange: operations.fetch_manifest(
                exchange, repository, reference, self._reader
            ),
            PATIENT if patient else IMPATIENT,
        )

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest of a tag (HEAD), None if upstream sends none."""
        return await self._ask(
            ApiRequest(Kind.DIGEST, repository, str(tag)),
            lambda exchange: operations.head_manifest(exchange, repository, tag),
            IMPATIENT,
        )

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> ResumingBlob:
        """Begin to download a blob, of *size* bytes if that is known, from none of the hosts *excluded*."""
        wanted = Wanted(repository, digest, size=size)
        routing = evolve(PATIENT, excluded=excluded, last=self._suspects(digest))
        return self._resuming(wanted, await self._open(wanted, routing), routing)

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> ResumingBlob:
        """Begin to download the bytes from *start* to *stop* of a blob."""
        wanted = Wanted(repository, digest, start, stop)
        answer = await self._open(wanted, evolve(IMPATIENT, last=self._suspects(digest)))
        body = self._resuming(wanted, answer, IMPATIENT)
        if not answer.value.head.partial:
            body.abandon()
            raise BadGateway(f"upstream {answer.host.name} does not support ranges for {digest}")
        return body

    def _resuming(self, wanted: Wanted, answer: Answer[HttpBlob], routing: Routing) -> ResumingBlob:
        retries = self.settings.retries
        return ResumingBlob(self._group, wanted, answer, retries, self._decodings, routing)

    async def _open(self, wanted: Wanted, routing: Routing) -> Answer[HttpBlob]:
        def open_blob(exchange: Exchange) -> Coroutine[Any, Any, HttpBlob]:
            inflate = self._decodings.get(wanted.digest, exchange.host)
            return operations.open_blob(exchange, wanted, inflate=inflate)

        return await self._answer(wanted.request, open_blob, routing)

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob in bytes, None if upstream sends none.

        If the response to ``HEAD`` has no length, a ``GET`` is tried and its body discarded. A rate
        limited host gets no second request.
        """
        try:
            size = await self._ask(
                ApiRequest(Kind.SIZE, repository, str(digest)),
                lambda exchange: operations.head_blob(exchange, repository, digest),
                IMPATIENT,
            )
        except (Limited, LocalFailure):
            raise
        except RegistryError:
            size = None
        if size:
            return size
        size = await self._announced(Wanted(repository, digest), PATIENT)
        if size is None:
            # The response to a range request has the size of the blob, even if other responses have none.
            with suppress(RegistryError):
                size = await self._announced(Wanted(repository, digest, 0, 1), IMPATIENT)
        return size

    async def _announced(self, wanted: Wanted, routing: Routing) -> int | None:
        """Return the length of a blob that an answer to ``GET`` announces."""
        answer = await self._open(wanted, routing)
        answer.value.abandon()
        answer.permit.release()
        return answer.value.head.size

    async def tags(
        self,
        repository: str,
        n: int | None,
        last: str | None,
        query: str | None = None,
        *,
        wait: bool = False,
    ) -> Page:
        """Return tags of a repository, in upstream's order."""

        def fetch(exchange: Exchange) -> Coroutine[Any, Any, Page]:
            lister = TagsLister(exchange.host, self._group.clock, repository)
            return lister.fetch(exchange.ask, n, last, query)

        request = ApiRequest(Kind.TAGS, repository, f"{n} {last} {query}")
        return await self._ask(request, fetch, PATIENT if wait else IMPATIENT)

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return the referrers of a manifest; none if no host has a list.

        Some mirrors do not mirror these lists, so the next host is asked.
        """

        async def fetch(exchange: Exchange) -> Referrers:
            lister = ReferrersLister(exchange.host, self._group.clock, repository)
            found = await lister.fetch(exchange.ask, digest)
            if not found.listed:
                raise NoReferrers(f"upstream {exchange.host} has no list of referrers of {digest}")
            return found

        try:
            return await self._ask(
                ApiRequest(Kind.REFERRERS, repository, str(digest)), fetch, PATIENT
            )
        except NoReferrers:
            return Referrers((), listed=False)

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        """Ask these hosts last for *digest* for a while, since they have sent wrong bytes."""
        for host in hosts:
            self._quarantined[digest, host] = None

    def _suspects(self, digest: Digest) -> frozenset[str]:
        names = (host.name for host in self._group.hosts)
        return frozenset(name for name in names if (digest, name) in self._quarantined)

    def health(self) -> tuple[HostHealth, ...]:
        """Return how each host is doing, in order of preference."""
        return tuple(host.health for host in self._group.hosts)

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""
        return Deferred.fromCoroutine(self._group.close())

    async def _ask(self, request: ApiRequest, operation: Operation[T], routing: Routing) -> T:
        """Request something whose response is complete."""
        answer = await self._answer(request, operation, routing)
        answer.permit.release()
        return answer.value

    async def _answer(
        self, request: ApiRequest, operation: Operation[T], routing: Routing
    ) -> Answer[T]:
        """Ask the hosts, unless a negative response is cached."""
        self._negative.check(request)
        try:
            return await self._group.ask(request, lambda _: operation, routing)
        except RegistryError as error:
            lasting = isinstance(error, ANSWERS) and not isinstance(error, NoReferrers)
            if lasting and not routing.excluded:
                self._negative.remember(request, error)
            raise
