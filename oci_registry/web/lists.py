"""``/v2/<name>/tags/list`` and ``/v2/<name>/referrers/<digest>``."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

from oci_registry.pullthrough.lists import Lists
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.links import format_next_link
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.routes import ReferrersRoute, TagsRoute
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.respond import resolve, send_bytes, set_content
from oci_registry.web.site import RegistryRequest


class TagsHandler:
    """List tags under the name that the client used, with links that lead back here."""

    def __init__(self, table: UpstreamTable, lists: Lists) -> None:
        self._table = table
        self._lists = lists

    async def __call__(self, request: RegistryRequest, route: TagsRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        served = await self._lists.tags(target, route.n, route.last)
        page = served.page
        request.outcome = Outcome.STALE if served.from_store else Outcome.MISS
        if served.from_store:
            request.setHeader(
                b"Warning",
                f'299 - "{target.upstream.namespace} cannot be asked; '
                'these are the tags that are stored here"'.encode("ascii", "replace"),
            )
        if page.last is not None:
            known = (("n", route.n), ("last", page.last), ("ns", route.ns))
            query = urlencode([(key, value) for key, value in known if value is not None])
            path = quote(f"{route.name.path}/tags/list", safe="/:[]")
            request.setHeader(b"Link", format_next_link(f"{path}?{query}").encode("ascii"))
        body = json.dumps({"name": route.name.text, "tags": list(page.tags)}).encode()
        set_content(request, "application/json", len(body))
        send_bytes(request, body)


class ReferrersHandler:
    """List what refers to a manifest."""

    def __init__(self, table: UpstreamTable, lists: Lists) -> None:
        self._table = table
        self._lists = lists

    async def __call__(self, request: RegistryRequest, route: ReferrersRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        served = await self._lists.referrers(target, route.digest, route.artifact_type)
        request.outcome = Outcome.MISS
        if served.filtered:
            request.setHeader(b"OCI-Filters-Applied", b"artifactType")
        set_content(request, OCI_INDEX, len(served.body))
        send_bytes(request, served.body)
