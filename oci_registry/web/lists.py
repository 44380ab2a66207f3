"""``/v2/<name>/tags/list`` and ``/v2/<name>/referrers/<digest>``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.spec.durations import format_duration
from oci_registry.spec.errors import Unavailable
from oci_registry.spec.links import format_next_link
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.routes import ReferrersRoute, TagsRoute
from oci_registry.upstream.interfaces import Page
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.patience import Patience
from oci_registry.web.respond import resolve, send_bytes, send_source, set_content
from oci_registry.web.site import RegistryRequest

LARGE = 1024 * 1024
"""Bytes of a list beyond which it is sent at the client's pace."""
MAX_UNSENT = 256 * 1024 * 1024
"""Bytes of such lists that clients may be taking at once."""
_PIECE = 5000


class TagsHandler:
    """List tags under the name that the client used, with links that lead back here."""

    def __init__(self, table: UpstreamTable, lists: TagLists, patience: Patience) -> None:
        self._table = table
        self._lists = lists
        self._patience = patience
        self._unsent = 0

    async def __call__(self, request: RegistryRequest, route: TagsRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        served = await self._lists.get(target, route.n, route.last, route.query)
        request.outcome = Outcome.STALE if served.from_store else Outcome.MISS
        if served.from_store:
            _warn(
                request,
                f"{target.upstream.namespace} cannot be asked; "
                "these are the tags that are stored here",
            )
        elif served.page.warning is not None:
            _warn(request, served.page.warning)
        query = _next_query(served.page, route)
        if query is not None:
            path = quote(f"{route.name.path}/tags/list", safe="/:[]")
            request.setHeader(b"Link", format_next_link(f"{path}?{query}").encode("ascii"))
        pieces = _pieces(route.name.text, served.page.tags)
        del served
        await self._send(request, pieces)

    async def _send(self, request: RegistryRequest, pieces: list[bytes]) -> None:
        length = sum(map(len, pieces))
        set_content(request, "application/json", length)
        if length <= LARGE or request.method == b"HEAD":
            send_bytes(request, b"".join(pieces))
            return
        if self._unsent + length > MAX_UNSENT:
            raise Unavailable(
                "too many long lists of tags are being sent", headers={"Retry-After": "10"}
            )
        self._unsent += length
        try:
            await send_source(request, _Pieces(pieces), length, self._patience)
        finally:
            self._unsent -= length


class ReferrersHandler:
    """List what refers to a manifest."""

    def __init__(self, table: UpstreamTable, lists: ReferrersLists) -> None:
        self._table = table
        self._lists = lists

    async def __call__(self, request: RegistryRequest, route: ReferrersRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        served = await self._lists.get(target, route.digest, route.artifact_type)
        request.outcome = Outcome.MISS if served.age is None else Outcome.STALE
        if served.age is not None:
            age = int(served.age)
            shown = format_duration(age - age % 60 if age >= 60 else age)
            request.setHeader(b"Age", b"%d" % age)
            _warn(
                request,
                f"{target.upstream.namespace} cannot be asked; this list was given {shown} ago",
            )
        elif served.warning is not None:
            _warn(request, served.warning)
        if served.filtered:
            request.setHeader(b"OCI-Filters-Applied", b"artifactType")
        set_content(request, OCI_INDEX, len(served.body))
        send_bytes(request, served.body)


def _warn(request: RegistryRequest, text: str) -> None:
    request.setHeader(b"Warning", f'299 - "{text}"'.encode("ascii", "replace"))


def _next_query(page: Page, route: TagsRoute) -> str | None:
    """Return the query of the client's next request; None if there is no more."""
    if page.query is not None:
        return page.query + ("" if route.ns is None else f"&{urlencode({'ns': route.ns})}")
    if page.last is None:
        return None
    known = (("n", route.n), ("last", page.last), ("ns", route.ns))
    return urlencode([(key, value) for key, value in known if value is not None])


def _pieces(name: str, tags: Sequence[str]) -> list[bytes]:
    """Return the JSON of a list, which may be long, in pieces."""
    pieces = [f'{{"name": {json.dumps(name)}, "tags": ['.encode()]
    for start in range(0, len(tags), _PIECE):
        comma = ", " if start else ""
        pieces.append((comma + json.dumps(tags[start : start + _PIECE])[1:-1]).encode())
    return [*pieces, b"]}"]


class _Pieces:
    """Pieces of a body as a `Source`; each is given back when it has been read."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces[::-1]

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        if not self._pieces:
            return b""
        piece = self._pieces.pop()
        if len(piece) > limit:
            self._pieces.append(piece[limit:])
        return piece[:limit]

    def close(self) -> None:
        """Give back what is left."""
        self._pieces.clear()
