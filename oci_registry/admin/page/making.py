"""Makes the status page; imported when it is first requested."""

from __future__ import annotations

from oci_registry.admin.api import ApiParts
from oci_registry.admin.gate import Gate
from oci_registry.admin.late import MakePages, Pages
from oci_registry.admin.page.calls import Calls
from oci_registry.admin.page.overview import Overview
from oci_registry.admin.page.resource import PAGES, ROOT, StatusPage
from oci_registry.admin.routes import RouteTable
from oci_registry.streams.steps import Pause


def make_status_pages(routes: RouteTable, parts: ApiParts, pause: Pause) -> MakePages:
    """Return a function that makes the pages behind a gate; all share the cached answers.

    *pause*: between parts of the page, so that other requests are served meanwhile.
    """
    calls = Calls(routes)
    overview = Overview(calls, parts.clock, pause)

    def pages(gate: Gate) -> Pages:
        page = StatusPage(calls, overview, gate, parts)
        return {ROOT: page, PAGES: page}

    return pages
