"""``/v2/<name>/tags/list`` and ``/v2/<name>/referrers/<digest>``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from urllib.parse import quote, urlencode

from attrs import frozen

from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.pullthrough.served import StaleReason
from oci_registry.spec.errors import Unavailable
from oci_registry.spec.links import format_next_link
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.routes import ReferrersRoute, TagsRoute
from oci_registry.upstream.interfaces import Page
from oci_registry.upstream.table import Target
from oci_registry.web.cache_status import HIT, IF_ERROR, OFFLINE, header, of_outcome
from oci_registry.web.reply import Reply, RequestInfo, Stream, age_shown, content, warning

_PIECE = 5000


@frozen
class ListLimits:
    """Limits in bytes: larger lists than *large* are streamed; *unsent* limits all of them together."""

    large: int = 1024 * 1024
    unsent: int = 256 * 1024 * 1024


class TagsHandler:
    """Lists tags, under the name that the client used and with links to this mirror."""

    def __init__(
        self,
        lists: TagLists,
        limits: ListLimits = ListLimits(),
    ) -> None:
        self._lists = lists
        self._limits = limits
        self._unsent = 0

    async def __call__(self, target: Target, route: TagsRoute, request: RequestInfo) -> Reply:
        """Return the list; raises `RegistryError`."""
        served = await self._lists.get(target, route.n, route.last, route.query)
        headers: dict[str, str] = {}
        outcome = Outcome.MISS if served.asked else None
        if served.from_store:
            outcome = Outcome.STALE
            headers |= header(HIT, OFFLINE if served.offline else IF_ERROR)
            headers |= warning(f"{_why(target)}; these are the tags stored here")
        elif served.page.warning is not None:
            headers |= warning(served.page.warning)
        if outcome is Outcome.MISS:
            headers |= of_outcome(outcome)
        query = _next_query(served.page, route)
        if query is not None:
            path = quote(f"{route.name.path}/tags/list", safe="/:[]")
            headers["Link"] = format_next_link(f"{path}?{query}")
        pieces = _pieces(route.name.text, served.page.tags)
        length = sum(map(len, pieces))
        headers |= content("application/json", length)
        if request.head:
            return Reply(200, headers, outcome=outcome)
        return Reply(200, headers, self._body(pieces, length), outcome)

    def _body(self, pieces: list[bytes], length: int) -> bytes | Stream:
        if length <= self._limits.large:
            return b"".join(pieces)
        if self._unsent + length > self._limits.unsent:
            raise Unavailable(
                "too many long lists of tags are being sent", headers={"Retry-After": "10"}
            )
        self._unsent += length
        return Stream(_Pieces(pieces, lambda: self._sent(length)), length)

    def _sent(self, length: int) -> None:
        self._unsent -= length


class ReferrersHandler:
    """Lists the referrers of a manifest."""

    def __init__(self, lists: ReferrersLists) -> None:
        self._lists = lists

    async def __call__(self, target: Target, route: ReferrersRoute, _request: RequestInfo) -> Reply:
        """Return the list; raises `RegistryError`."""
        served = await self._lists.get(target, route.digest, route.artifact_type)
        headers = content(OCI_INDEX, len(served.body))
        if served.age is not None:
            detail = OFFLINE if target.upstream.settings.offline else IF_ERROR
            headers["Age"] = str(int(served.age))
            headers |= warning(
                f"{_why(target)}; this list was received {age_shown(served.age)} ago"
            )
            # Upstream is asked each time, so a stored list is stale from the start.
            headers |= header(HIT, f"ttl={-int(served.age)}", detail)
            outcome = Outcome.STALE
        else:
            outcome = Outcome.MISS
            headers |= of_outcome(outcome)
            if served.warning is not None:
                headers |= warning(served.warning)
        if served.filtered:
            headers["OCI-Filters-Applied"] = "artifactType"
        return Reply(200, headers, served.body, outcome)


def _why(target: Target) -> str:
    """Return why a list is not from upstream."""
    reason = StaleReason.OFFLINE if target.upstream.settings.offline else StaleReason.UNREACHABLE
    return f"{target.upstream.namespace} {reason.value}"


def _next_query(page: Page, route: TagsRoute) -> str | None:
    """Return the query of the client's next request; None if there is no more."""
    if page.query is not None:
        return page.query + ("" if route.ns is None else f"&{urlencode({'ns': route.ns})}")
    if page.last is None:
        return None
    known = (("n", route.n), ("last", page.last), ("ns", route.ns))
    return urlencode([(key, value) for key, value in known if value is not None])


def _pieces(name: str, tags: Sequence[str]) -> list[bytes]:
    """Return the JSON of a list in pieces, since it may be long."""
    pieces = [f'{{"name": {json.dumps(name)}, "tags": ['.encode()]
    for start in range(0, len(tags), _PIECE):
        comma = ", " if start else ""
        pieces.append((comma + json.dumps(tags[start : start + _PIECE])[1:-1]).encode())
    return [*pieces, b"]}"]


class _Pieces:
    """Pieces of a body as a `Source`; the memory of each is freed when it has been read.

    *closed* is called once, on closing.
    """

    def __init__(self, pieces: list[bytes], closed: Callable[[], None]) -> None:
        self._pieces = pieces[::-1]
        self._closed: Callable[[], None] | None = closed

    def read(self, limit: int) -> bytes:
        """Return the next bytes."""
        if not self._pieces:
            return b""
        piece = self._pieces.pop()
        if len(piece) > limit:
            self._pieces.append(piece[limit:])
        return piece[:limit]

    def close(self) -> None:
        """Free the rest."""
        self._pieces.clear()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()
