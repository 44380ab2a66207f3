"""Which replies become ready answers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from oci_registry.pullthrough.hits import BlobHit, ManifestHit
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.table import Target, UpstreamTable
from oci_registry.web.ready.table import ReadyAnswers, Repeatable, RepeatableBlob
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.site import RegistryRequest


def _nothing() -> None:
    """Offer nothing."""


@frozen(eq=False)
class _Again:
    """A *hit* again, while the *table* has this *generation* and the upstream: a `Repeats`.

    One object in place of six functions, since there are thousands that the garbage collector traverses.
    """

    route: str
    _hit: ManifestHit
    _table: UpstreamTable
    _upstream: Upstream
    _generation: int

    @property
    def confirmed(self) -> float:
        return self._hit.confirmed

    @property
    def max_age(self) -> float:
        return self._hit.max_age

    def serve(self) -> bool:
        # The same as `holds`, inlined to save a call for each hit.
        table = self._table
        return (
            table.generation == self._generation
            and table.has(self._upstream)
            and self._hit.repeat()
        )

    def holds(self) -> bool:
        table = self._table
        same = table.generation == self._generation and table.has(self._upstream)
        return same and self._hit.holds()

    def count(self) -> None:
        self._hit.count()


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
        table, upstream = self._table, target.upstream

        def holds() -> bool:
            return table.generation == generation and table.has(upstream)

        if isinstance(hit, ManifestHit) and isinstance(reply.body, bytes):
            body = reply.body
            again = _Again(route, hit, table, upstream, generation)
            return lambda: ready.offer(request, body, again)
        if isinstance(hit, BlobHit):
            blob = RepeatableBlob(route, holds, hit.part, hit.size)
            return lambda: ready.offer_blob(request, blob)
        return _nothing


def _length(reply: Reply) -> int:
    if isinstance(reply.body, Stream):
        return reply.body.length or 0
    return len(reply.body)
