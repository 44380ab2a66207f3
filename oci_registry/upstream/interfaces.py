"""What the registry room asks of an upstream."""

from __future__ import annotations

from typing import Protocol

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.upstream.errors import WrongAnswer


class UpstreamBlob(Protocol):
    """An open download: headers have arrived, the body waits."""

    size: int | None
    """The whole blob's length in bytes, if upstream said it, even where only a part is sent."""

    @property
    def hosts(self) -> frozenset[str]:
        """Which of the upstream's hosts have sent bytes of it so far; before the first, which has answered."""

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Write the body to *consumer*, at its pace; return the number of bytes.

        A connection that breaks is replaced by another, to the same or to another host, and the body
        goes on where it ended; *consumer* has one producer from beginning to end. Fails with a
        `RegistryError` that says what happened; cancelling closes the connection.
        """

    def abandon(self) -> None:
        """Cancel the download and close the connection."""

    def switch_decoding(self) -> bool:
        """The bytes did not match the digest: return whether another download from the same hosts may.

        They may where a host has sent a ``Content-Encoding``: a body that was inflated is taken as it
        is the next time, and one that was not is inflated.
        """


@frozen
class Page:
    """A part of a list of tags, and where the next part begins: after the tag *last*, or by *query*.

    *query* is that of upstream's link to it, clean and without ``ns``. There is no more if both are None.
    *warning*: the ``Warning`` that upstream sent with it, as a mirror does that lists what it has stored.
    """

    tags: tuple[str, ...]
    last: str | None
    query: str | None = None
    warning: str | None = None


@frozen
class Referrers:
    """The descriptors, as JSON objects, of everything that refers to a manifest.

    *listed*: they are from a list of referrers; a host without any may be one without such lists.
    *warning*: as of a `Page`.
    """

    manifests: tuple[dict[str, object], ...]
    listed: bool = field(default=True, eq=False)
    warning: str | None = None


class NoHostLeft(BadGateway):
    """All hosts have been tried, or are excluded."""


class IncompleteList(WrongAnswer):
    """There is more of a list than upstream shows a way to: what there is must not pass for all."""


class Upstream(Protocol):
    """One remote registry.

    Every method is bounded in time until the headers are there and raises `RegistryError`s that name
    the registry: ...Unknown for a 404, Denied for 401 and 403, TooManyRequests for 429, BadGateway
    and GatewayTimeout for all that is not an answer.
    """

    namespace: str
    """The source host that it answers for; the name it has in keys, metrics and messages."""

    configured: bool
    """Whether it is in the configuration; if not, a client named it."""

    @property
    def manifest_invalidation_time(self) -> float:
        """The max age of tags in seconds; longer while little is left of a host's rate limit."""

    stale_while_revalidate: float
    """Seconds beyond that that a tag is served while upstream is asked in the background."""

    stale_if_error: float
    """Seconds beyond the first that a tag is served when upstream cannot be asked."""

    believe_not_found: bool
    """Whether a 404 ends the serving of a tag that is in the store."""

    blob_invalidation_time: float
    """Seconds that an object may lie unused."""

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        """Return a manifest whose bytes have been verified against the requested and the claimed digest.

        *patient*: ask again for a while if no host can say at the moment; the caller has nothing else.
        """

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        """Return the digest that upstream says a tag has (HEAD), None if it does not say."""

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> UpstreamBlob:
        """Begin to download a blob, from none of the hosts *excluded*.

        *size*: its length in bytes if another source says it, so that a body of unannounced length is
        not over before. Raises `NoHostLeft` when these are all there are.
        """

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> UpstreamBlob:
        """Begin to download the bytes from *start* to *stop* of a blob.

        Raises `BadGateway` when upstream would send the whole.
        """

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        """Ask these hosts last for *digest* for a while: they have sent wrong bytes."""

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        """Return a blob's size in bytes (HEAD), None if upstream does not say."""

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

        *query*: that of an earlier page's next one, in place of *n* and *last*. *wait*: the caller has
        nothing else to show, so no host is refused because it failed a moment ago, and one that
        fails is asked again. Raises `IncompleteList` when what comes after cannot be had.
        """

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        """Return the referrers of a manifest; none if upstream has no such lists."""

    def close(self) -> Deferred[None]:
        """Close idle connections; downloads in flight continue."""
