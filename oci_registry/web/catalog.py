"""``/v2/_catalog``: the repositories that have stored tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import urlencode

from oci_registry.config.names import fold_alias
from oci_registry.spec.errors import NameUnknown, Unavailable
from oci_registry.spec.links import format_next_link
from oci_registry.spec.routes import CatalogRoute
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.repositories import Repositories, after
from oci_registry.web.reply import Reply, content

LARGEST = 1000
"""Repositories on a page, unless the client wants fewer."""
_LEAST = 100
"""The minimum number of repositories that are read from the store at once."""
_STEPS = 10
"""The maximum number of pages of the store that are read for one page, which may then be shorter."""


class CatalogHandler:
    """Lists repositories as clients pull them from this mirror, page by page.

    *mirrored*: whether requests for a registry are served.
    """

    def __init__(self, repositories: Repositories, mirrored: Callable[[str], bool]) -> None:
        self._repositories = repositories
        self._mirrored = mirrored

    async def __call__(self, route: CatalogRoute) -> Reply:
        """Return a page of all registries, or of the one that the request names; raises `RegistryError`."""
        host = None if route.host is None else fold_alias(route.host)
        if host is not None and not self._mirrored(host):
            raise NameUnknown(f"the registry {host} is not configured in this mirror")
        n = LARGEST if route.n is None else min(route.n, LARGEST)
        names, following = await self._names(host, route.last or "", n)
        body = json.dumps({"repositories": names}).encode()
        headers = content("application/json", len(body))
        if following is not None:
            known = (("n", n), ("last", following), ("ns", route.ns))
            query = urlencode([(key, value) for key, value in known if value is not None])
            headers["Link"] = format_next_link(f"{route.path}?{query}")
        return Reply(200, headers, body)

    async def _names(self, host: str | None, last: str, n: int) -> tuple[list[str], str | None]:
        """Return at most *n* names after *last*, and the one after which there may be more."""
        names: list[str] = []
        place, more = after(last), n > 0
        for _ in range(_STEPS):
            if not more or len(names) == n:
                break
            try:
                page = await self._repositories.page(host, place, max(n - len(names), _LEAST))
            except StoreError:
                raise Unavailable("the store cannot be read") from None
            for registry, repository in page.repositories:
                if len(names) == n:
                    return names, last
                last = repository if host is not None else f"{registry}/{repository}"
                if self._mirrored(registry):
                    names.append(last)
            more, place = page.more, page.last
        if not more:
            return names, None
        # A folder that is not a repository has no name, but may be a place to continue from.
        go_on = len(names) < n and after(place) == place
        return names, place if go_on else last
