"""What the packages above use of an upstream."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.upstream.errors import WrongAnswer
from oci_registry.upstream.health import HostHealth


class UpstreamBlob(Protocol):
    """A download whose headers have arrived, and whose body is read later."""

    size: int | None
    """The whole blob's length in bytes, if upstream said it, even where only a part is sent."""

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that have sent bytes of it so far; before any bytes, the host that has responded."""

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*, at its pace; return the number of bytes.

        If a connection breaks, the body continues on another, to the same or another host;
        *consumer* has one producer all the time. Raises a `RegistryError` with the reason.
        Cancelling closes the connection.
        """

    def abandon(self) -> None:
        """Cancel the download and close the connection."""

    def switch_decoding(self) -> bool:
        """Record that the bytes did not match the digest; return whether the other decoding may.

        That is possible if a host has sent a ``Content-Encoding``: the next download inflates a
        body that was not inflated, and the other way round.
        """


@frozen
class Page:
    """A page of a list of tags, and where the next page begins: after *last*, or with *query*.

    *query* is that of the upstream's link, clean and without ``ns``. With None for both, this is
    the last page. *warning*: the ``Warning`` that upstream sent with it, as a mirror with a stored
    list does.
    """

    tags: tuple[str, ...]
    last: str | None
    query: str | None = None
    warning: str | None = None


@frozen
class Referrers:
    """The descriptors, as JSON objects, of everything that refers to a manifest.

    *listed*: they are from a list of referrers; a host without any may not support such lists.
    *warning*: as in `Page`.
    """

    manifests: tuple[dict[str, object], ...]
    listed: bool = field(default=True, eq=False)
    warning: str | None = None


class Capacity(Enum):
    """Whether a request may be sent that no client waits for."""

    FREE = "free"
    BUSY = "busy"
    """Clients need the connections, or the host is rate limited for a moment: ask again soon."""
    RESERVED = "reserved"
    """The host is rate limited, or the rest of its limit is reserved for clients."""


@frozen
class Spare:
    """The capacity of an upstream beside its clients; *why* is a sentence about the host if it is reserved."""

    capacity: Capacity
    why: str = ""


FREE = Spare(Capacity.FREE)
BUSY = Spare(Capacity.BUSY)


class NoHostLeft(BadGateway):
    """All hosts have failed, or are excluded."""


class IncompleteList(WrongAnswer):
    """A list has more pages that cannot be requested, so what is known of it is not the whole."""


class Upstream(Protocol):
    """One remote registry.

    Every method has a deadline for the headers of the response, and raises `RegistryError`s that
    name the registry: ...Unknown for a 404, Denied for 401 and 403, TooManyRequests for 429,
    BadGateway and GatewayTimeout if there is no usable response.
    """

    @property
    def namespace(self) -> str:
        """The source host that it serves; its name in keys, metrics and messages."""

    @property
    def settings(self) -> UpstreamSettings:
        """Its settings.

        *offline* is whether it is never asked: everything stored is served whatever its age, and every
        method fails.
        """

    def spare(self, repository: str, *, blob: bool, under_way: int = 0) -> Spare:
        """Return whether a manifest, or a *blob*, may be requested that no client waits for.

        *under_way*: such requests that have not been answered yet.
        """

    @property
    def max_age(self) -> float:
        """The max age of tags in seconds: that of the settings, longer while little is left of a rate limit."""

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a manifest that matches the requested digest and the one that upstream sent.

        *patient*: retry for a while if all hosts fail; the caller has nothing else to serve.
        """

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest of a tag (HEAD), None if upstream sends none."""

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> UpstreamBlob:
        """Begin to download a blob, from none of the hosts *excluded*.

        *size*: its size in bytes from another source, so that a body without a length is not taken
        for complete too early. Raises `NoHostLeft` if no other hosts exist.
        """

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> UpstreamBlob:
        """Begin to download the bytes from *start* to *stop* of a blob.

        Raises `BadGateway` if upstream sends the whole blob.
        """

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        """Ask these hosts last for *digest* for a while, since they have sent wrong bytes."""

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return the size of a blob in bytes (HEAD), None if upstream sends none."""

    async def tags(
        self,
        repository: str,
        n: int | None,
        last: str | None,
        query: str | None = None,
        *,
        wait: bool = False,
    ) -> Page:
        """Return tags of a repository, in upstream's order.

        *query*: that of a link to this page, in place of *n* and *last*. *wait*: the caller has
        nothing else to serve, so hosts with an open breaker are asked too, and failed requests are
        repeated. Raises `IncompleteList` if the next page cannot be requested.
        """

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return the referrers of a manifest; none if upstream does not support such lists."""

    def health(self) -> tuple[HostHealth, ...]:
        """Return how each host is doing, in order of preference; none if it is never asked."""

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""
