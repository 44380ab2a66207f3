"""``GET`` and ``HEAD`` of ``/v2/<name>/blobs/<digest>``, whole or in ranges."""

from __future__ import annotations

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.mediatypes import OCTET_STREAM
from oci_registry.spec.ranges import RequestedRange, parse_range
from oci_registry.spec.routes import BlobRoute
from oci_registry.streams.send import CHUNK
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.patience import Patience
from oci_registry.web.respond import (
    not_modified,
    redirect,
    resolve,
    send_bytes,
    send_source,
    set_content,
)
from oci_registry.web.site import RegistryRequest


class BlobHandler:
    """Serve blobs: from the store, or as they arrive.

    *redirect*: send clients to the store itself for what is there, *redirect_ranges* for parts too.
    """

    def __init__(
        self,
        table: UpstreamTable,
        blobs: BlobCache,
        patience: Patience,
        metrics: Metrics,
        *,
        redirect: bool = False,
        redirect_ranges: bool = False,
    ) -> None:
        self._table = table
        self._blobs = blobs
        self._patience = patience
        self._redirect = redirect
        self._redirect_ranges = redirect_ranges
        self._sent = metrics.client_bytes.labels("blob")

    async def __call__(self, request: RegistryRequest, route: BlobRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        if not_modified(request, route.digest, exists=False):
            # The client has these bytes, wherever it has them from: nobody need be asked.
            return
        if request.method == b"HEAD":
            told = await self._blobs.size(target, route.digest)
            request.outcome = told.outcome
            if not_modified(request, route.digest):
                return
            request.setHeader(b"Accept-Ranges", b"bytes")
            set_content(request, OCTET_STREAM, told.size, route.digest)
            send_bytes(request, b"")
            return
        asked = _requested_range(request, route)
        if self._redirect if asked is None else self._redirect_ranges:
            url = await self._blobs.link(target, route.digest)
            if url is not None:
                request.outcome = Outcome.HIT
                redirect(request, url, route.digest)
                return
        start, stop = (0, None) if asked is None else asked.expected
        head = CHUNK if stop is None else min(CHUNK, stop - start)
        blob = await self._blobs.open(target, route.digest, head, asked)
        request.outcome = blob.outcome
        try:
            if not_modified(request, route.digest):
                blob.close()
                return
            part = blob.part(asked)
            request.setHeader(b"Accept-Ranges", b"bytes")
            if part is None:
                set_content(request, OCTET_STREAM, blob.size, route.digest)
                source, count = blob.source(0, blob.size), blob.size
            else:
                request.setResponseCode(206)
                content_range = part.content_range(blob.size or 0)
                request.setHeader(b"Content-Range", content_range.encode())
                set_content(request, OCTET_STREAM, part.length, route.digest)
                source, count = blob.source(part.start, part.stop), part.length
        except BaseException:
            blob.close()
            raise
        try:
            await send_source(request, source, count, self._patience)
        finally:
            self._sent.inc(request.sentLength)


def _requested_range(request: RegistryRequest, route: BlobRoute) -> RequestedRange | None:
    """Return the range that is asked for, unless it is of another version (RFC 9110 section 13.1.5)."""
    condition = request.getHeader("if-range")
    if condition is not None and condition != f'"{route.digest}"':
        return None
    return parse_range(request.getHeader("range"))
