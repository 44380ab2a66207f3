"""Which replies become ready answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from attrs import frozen

from oci_registry.pullthrough.hits import BlobHits, ManifestHit, ManifestHits
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.table import Target, UpstreamTable
from oci_registry.web.ready.entries import Repeatable, RepeatableBlob, Sources, Subject
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.site import RegistryRequest

H = TypeVar("H")


def _nothing() -> None:
    """Offer nothing."""


@frozen(eq=False)
class _OfUpstream(Generic[H]):
    """A source of an *upstream*, as long as *table* is of this *generation* and has the upstream."""

    _table: UpstreamTable
    upstream: Upstream
    generation: int
    hits: H
    count: Callable[[], None]

    def is_valid(self) -> bool:
        """Whether a target still means the same upstream with the same settings."""
        table = self._table
        return table.generation == self.generation and table.has(self.upstream)


@frozen(eq=False)
class _Manifests(_OfUpstream[ManifestHits]):
    """A `Source`."""

    def holds(self, subject: Subject) -> bool:
        return self.is_valid() and self.hits.holds(subject)

    def serve(self, subject: Subject) -> Subject | None:
        table = self._table
        # The same as `is_valid`, inlined to save a call for each answer.
        if table.generation != self.generation or not table.has(self.upstream):
            return None
        served = self.hits.repeat(subject)
        if served is not None:
            self.count()
        return served


@frozen(eq=False)
class _Blobs(_OfUpstream[BlobHits]):
    """A `BlobSource`."""

    def holds(self) -> bool:
        return self.is_valid()

    def part(self, subject: Subject, start: int, stop: int) -> bytes | None:
        data = self.hits.part(subject, start, stop)
        if data is not None:
            self.count()
        return data


class Offers:
    """Offers replies as ready answers (*ready*; None: there are none), while *table* resolves the same."""

    def __init__(self, ready: ReadyAnswers | None, table: UpstreamTable) -> None:
        self._ready = ready
        self._table = table

    def prepare(
        self,
        request: RegistryRequest,
        reply: Reply,
        route: str,
        target: Target | None,
        generation: int,
    ) -> Callable[[], None]:
        """Return a function to call after a reply was sent, which offers the reply if it can be sent again.

        *route*: its label in the metrics. *generation*: that of the table, when it gave the *target*;
        None if the reply does not depend on an upstream.
        """
        ready = self._ready
        if ready is None or not ready.wants(request, reply.status):
            return _nothing
        if target is None:
            body = reply.body if isinstance(reply.body, bytes) else b""
            return lambda: ready.offer(request, body, Repeatable(route))
        if reply.again is None or not ready.has_room_for(_length(reply)):
            return _nothing
        hit = reply.again()
        upstream = target.upstream
        if hit is None or generation != self._table.generation or not self._table.has(upstream):
            return _nothing
        if isinstance(hit, ManifestHit):
            if not isinstance(reply.body, bytes):
                return _nothing
            body = reply.body
            one = _Manifests(self._table, upstream, generation, hit.hits, hit.count)
            number = _number(ready.sources, one)
            again = Repeatable(route, number, hit.packed, hit.confirmed, hit.max_age)
            return lambda: ready.offer(request, body, again)
        blobs = _Blobs(self._table, upstream, generation, hit.hits, hit.count)
        blob = RepeatableBlob(route, _number(ready.blob_sources, blobs), hit.packed, hit.size)
        return lambda: ready.offer_blob(request, blob)


def _number(sources: Sources[Any], one: _OfUpstream[Any]) -> int:
    """Return the number of the source of the upstream; *one* becomes that source if the present one differs."""
    namespace = one.upstream.namespace
    known = sources.named(namespace)
    if known is not None:
        number, other = known
        if (
            other.upstream is one.upstream
            and other.generation == one.generation
            and other.hits is one.hits
        ):
            return number
    return sources.put(namespace, one)


def _length(reply: Reply) -> int:
    if isinstance(reply.body, Stream):
        return reply.body.length or 0
    return len(reply.body)
