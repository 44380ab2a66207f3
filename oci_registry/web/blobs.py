"""``GET`` and ``HEAD`` of ``/v2/<name>/blobs/<digest>``, whole or in ranges."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial as again_of
from types import MappingProxyType

from attrs import evolve

from oci_registry.pullthrough.background import PATIENCE, Background
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RangeInvalid
from oci_registry.spec.mediatypes import OCTET_STREAM
from oci_registry.spec.ranges import RequestedRange, parse_range
from oci_registry.spec.routes import BlobRoute
from oci_registry.streams.send import CHUNK
from oci_registry.upstream.table import Target
from oci_registry.web.cache_status import of_blob, of_outcome
from oci_registry.web.priority import is_background
from oci_registry.web.reply import (
    Reply,
    RequestInfo,
    Stream,
    conditional,
    content,
    error_reply,
    matches,
    partial,
    redirect,
)


class BlobHandler:
    """Serves blobs, from the store or while they are downloaded.

    *redirect*: redirect clients to the bucket for stored blobs; *redirect_ranges*: for ranges too.
    """

    def __init__(
        self,
        blobs: BlobCache,
        background: Background,
        *,
        redirect: bool = False,
        redirect_ranges: bool = False,
    ) -> None:
        self._blobs = blobs
        self._background = background
        self._redirect = redirect
        self._redirect_ranges = redirect_ranges

    async def __call__(self, target: Target, route: BlobRoute, request: RequestInfo) -> Reply:
        """Return the blob or the requested part; raises `RegistryError`."""
        digest = route.digest
        unless = request.header("if-none-match")
        if matches(unless, f'"{digest}"', exists=False):
            # The client has this content already: neither store nor upstream is needed.
            return conditional(_about(digest, None), unless)
        if request.head:
            told = await self._blobs.size(target, digest)
            about = _about(digest, told.size, told.outcome, of_outcome(told.outcome))
            return conditional(about, unless)
        if is_background(request.header("priority")):
            await self._background.turn(target, digest, patience=PATIENCE)
        asked = _requested_range(request, digest)
        if self._redirect if asked is None else self._redirect_ranges:
            url = await self._blobs.link(target, digest)
            if url is not None:
                return redirect(url, digest)
        return await self._open(target, digest, asked, unless)

    async def _open(
        self, target: Target, digest: Digest, asked: RequestedRange | None, unless: str | None
    ) -> Reply:
        """Return the blob or a part of it, with a source of its bytes."""
        start, stop = (0, None) if asked is None else asked.expected
        head = CHUNK if stop is None else min(CHUNK, stop - start)
        blob = await self._blobs.open(target, digest, head, asked)
        try:
            whole = conditional(_about(digest, blob.size, blob.outcome, of_blob(blob)), unless)
            if whole.status == 304:
                blob.close()
                return whole
            part = blob.part(asked)
            again = again_of(self._blobs.hit, target, blob)
            if part is None:
                body = Stream(blob.source(0, blob.size), blob.size, blob.waited)
                return evolve(whole, body=body, again=again)
            body = Stream(blob.source(part.start, part.stop), part.length, blob.waited)
            return evolve(partial(whole, part, blob.size or 0), body=body, again=again)
        except RangeInvalid as error:
            blob.close()
            return error_reply(error, blob.outcome, of_blob(blob))
        except BaseException:
            blob.close()
            raise


def _about(
    digest: Digest,
    size: int | None,
    outcome: Outcome | None = None,
    cache_status: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """Return the reply for a blob, without a body."""
    headers = {"Accept-Ranges": "bytes", **cache_status, **content(OCTET_STREAM, size, digest)}
    return Reply(200, headers, outcome=outcome)


def _requested_range(request: RequestInfo, digest: Digest) -> RequestedRange | None:
    """Return the requested range, None if If-Range names other content (RFC 9110 section 13.1.5)."""
    condition = request.header("if-range")
    if condition is not None and condition != f'"{digest}"':
        return None
    return parse_range(request.header("range"))
