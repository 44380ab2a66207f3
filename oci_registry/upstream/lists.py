"""Lists that an upstream gives in pages: tags and referrers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from typing import Protocol
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestUnknown, NameUnknown, RegistryError
from oci_registry.spec.links import parse_next_link
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.reference import parse_tag
from oci_registry.streams.body import abandon
from oci_registry.upstream.encoding import read_document
from oci_registry.upstream.failures import WrongAnswer, refuse
from oci_registry.upstream.interfaces import Page, Referrers

MAX_LIST = 8 * 1024 * 1024
"""Bytes of a page of tags."""
MAX_REFERRERS = 4 * 1024 * 1024
"""Bytes of all referrers together; clients refuse more (containerd's limit)."""
MAX_PAGES = 64
"""Pages that are put together before we say that there is more."""
_PAGE_TIMEOUT = 20.0


def url_of(base: str, path: str) -> str:
    """Return the URL of *path*, which is below ``/v2/`` or a URL of the upstream at *base* already."""
    return path if path.startswith(base + "/") else f"{base}/v2/{path}"


class Ask(Protocol):
    """Send a request to the upstream; *path* is below ``/v2/`` or a full URL of the same upstream."""

    def __call__(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> Awaitable[IResponse]:
        """Return the answer, whatever its status."""


class _Lister:
    """Go through the pages of a list."""

    def __init__(self, host: str, clock: IReactorTime, repository: str, url: str) -> None:
        self._host = host
        self._clock = clock
        self._repository = repository
        self._url = url

    async def _page(
        self, ask: Ask, path: str, limit: int, unknown: type[RegistryError], what: str
    ) -> tuple[dict[str, object], str | None, int]:
        """Return a page's JSON object, the URL of the next page, and the page's length in bytes."""
        headers = {"Accept": f"{OCI_INDEX}, application/json"}
        response = await ask("GET", self._repository, path, headers)
        if response.code != 200:
            abandon(response, self._clock)
            raise refuse(response, self._host, unknown, what, self._clock.seconds())
        body = await read_document(response, limit, self._clock, _PAGE_TIMEOUT)
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise WrongAnswer(f"upstream {self._host} sent something that is not {what}")
        return value, self._next(path, response), len(body)

    def _next(self, path: str, response: IResponse) -> str | None:
        """Return the URL of the next page, if it is one of the same upstream."""
        links = response.headers.getRawHeaders(b"Link") or []
        target = parse_next_link(link.decode("utf-8", "replace") for link in links)
        if target is None:
            return None
        here = url_of(self._url, path)
        there = urljoin(here, target)
        return there if there.startswith(self._url + "/v2/") else None


class TagsLister(_Lister):
    """The tags of a repository."""

    async def fetch(self, ask: Ask, n: int | None, last: str | None) -> Page:
        """Return a page as the client asked for it.

        Where upstream's next page does not begin at a tag (its link is opaque), a client could not be
        told where to go on, so the pages are put together here.
        """
        query = urlencode([(k, v) for k, v in (("n", n), ("last", last)) if v is not None])
        path = f"{self._repository}/tags/list" + (f"?{query}" if query else "")
        tags: list[str] = []
        left = MAX_LIST
        for _ in range(MAX_PAGES):
            what = f"the tags of {self._repository}"
            value, following, length = await self._page(ask, path, left, NameUnknown, what)
            left -= length
            tags.extend(_tags_of(value))
            if following is None:
                return _paged(tags, n, last)
            begins = parse_qs(urlsplit(following).query).get("last", [""])[0]
            if _is_tag(begins):
                return Page(tuple(tags), begins)
            path = following
        return Page(tuple(tags), tags[-1] if tags else None)


def _paged(tags: list[str], n: int | None, last: str | None) -> Page:
    """Return the page asked for where upstream has sent more, not knowing ``n`` or ``last``.

    That it has is certain only when the list holds *last* itself: upstreams sort in their own ways.
    """
    if last is not None and last in tags:
        tags = sorted(tag for tag in tags if tag > last)
    if n is not None and len(tags) > n:
        tags = sorted(tags)[:n]
        return Page(tuple(tags), tags[-1])
    return Page(tuple(tags), None)


def _is_tag(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(parse_tag(text))
    except RegistryError:
        return False


def _tags_of(value: dict[str, object]) -> list[str]:
    tags = value.get("tags")
    return [tag for tag in tags if _is_tag(tag)] if isinstance(tags, list) else []


class ReferrersLister(_Lister):
    """What refers to a manifest (OCI distribution spec, "Listing Referrers")."""

    async def fetch(self, ask: Ask, digest: Digest) -> Referrers:
        """Return all referrers, by the API or, where upstream has none, by the referrers tag."""
        try:
            return await self._from_api(ask, digest)
        except ManifestUnknown:
            return await self._from_tag(ask, digest)

    async def _from_api(self, ask: Ask, digest: Digest) -> Referrers:
        """Put the pages together: clients do not follow their links (containerd)."""
        manifests: list[dict[str, object]] = []
        left = MAX_REFERRERS
        following: str | None = f"{self._repository}/referrers/{digest}"
        for _ in range(MAX_PAGES):
            if following is None:
                break
            value, following, length = await self._page(
                ask, following, left, ManifestUnknown, "a list of referrers"
            )
            left -= length
            manifests.extend(_descriptors_of(value, self._host))
        if following is not None:
            raise WrongAnswer(f"upstream {self._host} has more referrers than are read")
        return Referrers(tuple(manifests))

    async def _from_tag(self, ask: Ask, digest: Digest) -> Referrers:
        """Read the referrers tag (OCI distribution spec, "Referrers Tag Schema")."""
        # The specification cuts the hex short, for tags end at 128 characters.
        tag = f"{digest.algorithm}-{digest.encoded[:64]}"
        try:
            value, _, _ = await self._page(
                ask,
                f"{self._repository}/manifests/{tag}",
                MAX_REFERRERS,
                ManifestUnknown,
                "a list of referrers",
            )
        except ManifestUnknown:
            return Referrers(())
        return Referrers(tuple(_descriptors_of(value, self._host)))


def _descriptors_of(value: dict[str, object], host: str) -> list[dict[str, object]]:
    manifests = value.get("manifests")
    if not isinstance(manifests, list):
        raise WrongAnswer(f"upstream {host} sent a list of referrers without manifests")
    return [manifest for manifest in manifests if isinstance(manifest, dict)]
