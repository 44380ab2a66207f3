"""Lists of tags, page by page as clients ask for them."""

from __future__ import annotations

from itertools import pairwise
from urllib.parse import urlencode

from attrs import evolve
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from oci_registry.spec.errors import NameUnknown, RegistryError
from oci_registry.spec.paging import page_begin
from oci_registry.spec.reference import parse_tag
from oci_registry.upstream.interfaces import Page
from oci_registry.upstream.lists import Ask, Pages, warning_of

MAX_LIST = 16 * 1024 * 1024
"""Bytes of a page of tags."""
MAX_TAG = 255
"""Characters of a tag in a list. Longer ones, and those with control characters, are left out."""
_STEP = 20_000


class TagsLister:
    """The tags of a repository."""

    def __init__(self, host: str, clock: IReactorTime, repository: str) -> None:
        self._host = host
        self._clock = clock
        self._repository = repository
        self._what = f"the tags of {repository}"
        self._warning: str | None = None

    async def fetch(
        self, ask: Ask, n: int | None, last: str | None, query: str | None = None
    ) -> Page:
        """Return a page as the client requested it, without duplicates, in upstream's order.

        If upstream sends the whole list although the client requested a part, it is cut here in
        lexical order, as the specification requires, and *last* is the next page's start. *query*:
        that of a link of this upstream, in place of *n* and *last*. Raises `IncompleteList` if the
        next page cannot be requested.
        """
        found = await self._fetch(ask, n, last, query)
        return evolve(found, warning=self._warning)

    async def _fetch(self, ask: Ask, n: int | None, last: str | None, query: str | None) -> Page:
        pages = Pages(self._host, self._clock, self._repository, ask)
        sent = _query(n, last) if query is None else query
        tags, following = await self._page(pages, sent)
        if following is not None:
            begin = page_begin(following)
            if [key for key, _ in begin] == ["last"] and _is_tag(begin[0][1]):
                return Page(tuple(tags), begin[0][1])
            return Page(tuple(tags), None, following)
        if query is not None:
            return Page(tuple(tags), None)
        if last is not None and tags:
            tags = await self._after(pages, tags, n, last)
        return _cut(tags, n)

    async def _page(self, pages: Pages, query: str) -> tuple[list[str], str | None]:
        """Return the tags of a page and the query of the next."""
        response = await pages.get("tags/list", query)
        if response.code != 200:
            raise pages.refuse(response, NameUnknown, self._what)
        self._warning = warning_of(response) or self._warning
        body = await pages.read(response, MAX_LIST)
        found = await pages.parse(body, "tags", self._what)
        tags: dict[str, None] = {}
        elements = found.elements or []
        for start in range(0, len(elements), _STEP):
            if start:
                await deferLater(self._clock, 0)
            for element in elements[start : start + _STEP]:
                if isinstance(element, str) and _is_shown(element):
                    tags[element] = None
        return list(tags), pages.following(response, query, self._what)

    async def _after(self, pages: Pages, tags: list[str], n: int | None, last: str) -> list[str]:
        """Return the tags after *last*, if upstream may have ignored ``last``."""
        if last in tags:
            return _beyond(tags, last)
        in_order = all(one < other for one, other in pairwise(tags))
        if in_order and tags[0] > last:
            return tags
        # Either the tag no longer exists, or upstream has its own order. The first page tells: a list
        # that begins after a tag does not begin with the same tag as the whole list.
        first, _ = await self._page(pages, _query(n, None))
        return _beyond(tags, last) if first[:1] == tags[:1] else tags


def _query(n: int | None, last: str | None) -> str:
    return urlencode(
        [(key, value) for key, value in (("n", n), ("last", last)) if value is not None]
    )


def _cut(tags: list[str], n: int | None) -> Page:
    """Return the first *n* of the tags, and where the next page begins."""
    if n is None or len(tags) <= n:
        return Page(tuple(tags), None)
    tags = sorted(tags)
    # A client must be able to name the start of the next page.
    stops = [*range(n, 0, -1), *range(n + 1, len(tags))]
    stop = next((stop for stop in stops if tags[stop - 1].isascii()), len(tags))
    return Page(tuple(tags[:stop]), tags[stop - 1] if stop < len(tags) else None)


def _beyond(tags: list[str], last: str) -> list[str]:
    """Return the tags after *last* in lexical order (OCI distribution spec, "Listing Tags")."""
    return sorted(tag for tag in tags if tag > last)


def _is_shown(text: str) -> bool:
    return 0 < len(text) <= MAX_TAG and text.isprintable()


def _is_tag(text: str) -> bool:
    try:
        return bool(parse_tag(text))
    except RegistryError:
        return False
