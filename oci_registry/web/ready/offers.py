"""Which replies become ready answers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from cachetools import LRUCache

from oci_registry.pullthrough.hits import BlobHit, ManifestHit
from oci_registry.upstream.interfaces import Upstream
from oci_registry.upstream.table import Target, UpstreamTable
from oci_registry.web.ready.table import ReadyAnswers, Repeatable, RepeatableBlob
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.site import RegistryRequest

_UPSTREAMS = 1000
"""Upstreams that are remembered."""


def _nothing() -> None:
    """Offer nothing."""


@frozen(eq=False)
class _Same:
    """Whether *table* is of this *generation* and has the *upstream*."""

    _table: UpstreamTable
    upstream: Upstream
    generation: int

    def holds(self) -> bool:
        table = self._table
        return table.generation == self.generation and table.has(self.upstream)


class Offers:
    """Offers replies as ready answers (*ready*; None: there are none), while *table* resolves the same."""

    def __init__(self, ready: ReadyAnswers | None, table: UpstreamTable) -> None:
        self._ready = ready
        self._table = table
        # One for all answers from an upstream, since the garbage collector looks at each.
        self._same: LRUCache[str, tuple[_Same, Callable[[], bool]]] = LRUCache(_UPSTREAMS)

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
        holds = self._holds(target.upstream, generation)
        if isinstance(hit, ManifestHit) and isinstance(reply.body, bytes):
            body = reply.body
            hit.route, hit.is_valid = route, holds
            return lambda: ready.offer(request, body, hit)
        if isinstance(hit, BlobHit):
            blob = RepeatableBlob(route, holds, hit.part, hit.size)
            return lambda: ready.offer_blob(request, blob)
        return _nothing

    def _holds(self, upstream: Upstream, generation: int) -> Callable[[], bool]:
        """Return what says whether the table still has the upstream, and is of the same generation."""
        known = self._same.get(upstream.namespace)
        if known is not None:
            same, holds = known
            if same.upstream is upstream and same.generation == generation:
                return holds
        same = _Same(self._table, upstream, generation)
        self._same[upstream.namespace] = same, same.holds
        return same.holds


def _length(reply: Reply) -> int:
    if isinstance(reply.body, Stream):
        return reply.body.length or 0
    return len(reply.body)
