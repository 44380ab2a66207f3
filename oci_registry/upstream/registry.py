"""A remote registry: all its hosts, what it has said no to, and who has sent wrong bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.client import RegistryClient
from oci_registry.upstream.group import Answer, HostGroup
from oci_registry.upstream.host import NO, Host
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.upstream.noes import MANIFEST, Noes
from oci_registry.upstream.readings import Readings
from oci_registry.upstream.resume import ResumingBlob, Wanted
from oci_registry.upstream.slots import Turn

T = TypeVar("T")

DISTRUSTED = 600.0
"""Seconds that a host is asked last for what it has sent wrong."""
STRETCH = 4.0
"""How much longer tags are believed while little is left of a host's budget,"""
STRETCHED = 600.0
"""and the least seconds that they are then."""
_REMEMBERED = 1024


class RemoteRegistry:
    """An `interfaces.Upstream` of one or more hosts."""

    def __init__(self, settings: UpstreamSettings, group: HostGroup) -> None:
        self.namespace = settings.namespace
        self.configured = settings.configured
        self.blob_invalidation_time = settings.blob_invalidation_time
        self.stale_while_revalidate = settings.stale_while_revalidate
        self.stale_if_error = settings.stale_if_error
        self.believe_not_found = settings.believe_not_found
        self._believed = settings.manifest_invalidation_time
        self._retries = settings.retries
        self._group = group
        self._clock = group.clock
        self._noes = Noes(
            group.clock, not_found=settings.remember_not_found, denied=settings.remember_denied
        )
        self._distrusted: OrderedDict[tuple[Digest, str], float] = OrderedDict()
        self._readings = Readings()

    @property
    def manifest_invalidation_time(self) -> float:
        """Seconds that a tag is believed; more while little is left of the first host's budget."""
        if self._group.hosts[0].client.limit.low:
            return max(self._believed * STRETCH, STRETCHED)
        return self._believed

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a manifest whose bytes have been checked against its digest, asked for and claimed."""
        return await self._ask(
            repository,
            f"{MANIFEST}{reference}",
            lambda client, within: client.manifest(repository, reference, within),
            patient=patient,
        )

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest that upstream says a tag has (HEAD), None if it does not say."""
        return await self._ask(
            repository,
            f"{MANIFEST}{tag}",
            lambda client, within: client.manifest_digest(repository, tag, within),
            patient=False,
        )

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        avoiding: frozenset[str] = frozenset(),
    ) -> ResumingBlob:
        """Begin to download a blob, of *size* bytes if that is known, from none of the hosts *avoiding*."""
        wanted = Wanted(repository, digest, size=size)
        doubtful = self._doubtful(digest)
        answer = await self._open(wanted, avoiding, doubtful, patient=True)
        return ResumingBlob(
            self._group, wanted, answer, self._retries, self._readings, avoiding, doubtful
        )

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> ResumingBlob:
        """Begin to download the bytes from *start* to *stop* of a blob."""
        wanted = Wanted(repository, digest, start, stop)
        answer = await self._open(wanted, frozenset(), self._doubtful(digest), patient=False)
        body = ResumingBlob(self._group, wanted, answer, self._retries, self._readings)
        if not answer.value.partial:
            body.abandon()
            raise BadGateway(f"upstream {answer.host.name} sends {digest} as a whole only")
        return body

    async def _open(
        self, wanted: Wanted, avoiding: frozenset[str], last: frozenset[str], *, patient: bool
    ) -> Answer[HttpBlob]:
        return await self._answer(
            wanted.repository,
            f"blob {wanted.digest}",
            lambda client, within: client.blob(
                wanted.repository,
                wanted.digest,
                wanted.start,
                wanted.stop,
                None,
                within,
                size=wanted.size,
                inflate=self._readings.of(wanted.digest, client.name),
            ),
            Turn.BLOB,
            patient=patient,
            avoiding=avoiding,
            last=last,
        )

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return a blob's size in bytes (HEAD), None if upstream does not say."""
        return await self._ask(
            repository,
            f"blob {digest}",
            lambda client, within: client.blob_size(repository, digest, within),
            Turn.SIZE,
        )

    async def tags(self, repository: str, n: int | None, last: str | None) -> Page:
        """Return tags of a repository, in upstream's order."""
        return await self._ask(
            repository,
            f"tags {n} {last}",
            lambda client, within: client.tags(repository, n, last, within),
            patient=False,
        )

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return what refers to a manifest."""
        return await self._ask(
            repository,
            f"referrers {digest}",
            lambda client, within: client.referrers(repository, digest, within),
        )

    def distrust(self, digest: Digest, hosts: frozenset[str]) -> None:
        """These hosts have sent wrong bytes for *digest*: ask others first for a while."""
        for host in hosts:
            self._distrusted[digest, host] = self._clock.seconds() + DISTRUSTED
        while len(self._distrusted) > _REMEMBERED:
            self._distrusted.popitem(last=False)

    def _doubtful(self, digest: Digest) -> frozenset[str]:
        now = self._clock.seconds()
        names = (host.name for host in self._group.hosts)
        return frozenset(n for n in names if self._distrusted.get((digest, n), 0.0) > now)

    def close(self) -> Deferred[None]:
        """Close idle connections; what is under way goes on."""
        return Deferred.fromCoroutine(self._group.close())

    async def _ask(
        self,
        repository: str,
        what: str,
        question: Callable[[RegistryClient, float], Awaitable[T]],
        turn: Turn = Turn.MANIFEST,
        *,
        patient: bool = True,
    ) -> T:
        """Ask for something that is there as a whole when it is answered."""
        answer = await self._answer(repository, what, question, turn, patient=patient)
        answer.slot.release()
        return answer.value

    async def _answer(
        self,
        repository: str,
        what: str,
        question: Callable[[RegistryClient, float], Awaitable[T]],
        turn: Turn,
        *,
        patient: bool,
        avoiding: frozenset[str] = frozenset(),
        last: frozenset[str] = frozenset(),
    ) -> Answer[T]:
        """Ask the hosts, unless they have said no to *what* a moment ago."""
        self._noes.check(repository, what)

        def put(host: Host, within: float) -> Awaitable[T]:
            return question(host.client, within)

        try:
            return await self._group.ask(
                turn, repository, put, patient=patient, avoiding=avoiding, last=last
            )
        except RegistryError as error:
            if isinstance(error, NO) and not avoiding:
                self._noes.remember(repository, what, error)
            raise
