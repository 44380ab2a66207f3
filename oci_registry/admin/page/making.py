"""Makes the status page; imported when it is first requested."""

from __future__ import annotations

from oci_registry.admin.api import ApiParts
from oci_registry.admin.gate import Gate
from oci_registry.admin.late import MakePages, Pages
from oci_registry.admin.page.calls import Calls
from oci_registry.admin.page.overview import Overview
from oci_registry.admin.page.resource import PAGES, ROOT, StatusPage
from oci_registry.admin.routes import RouteTable


def make_status_pages(routes: RouteTable, parts: ApiParts) -> MakePages:
    """Return what makes the pages behind a gate; what is kept for a moment is common to all."""
    calls = Calls(routes)
    overview = Overview(calls, parts.clock)

    def pages(gate: Gate) -> Pages:
        page = StatusPage(calls, overview, gate, parts)
        return {ROOT: page, PAGES: page}

    return pages
