"""All routes of the admin API, for tests and for the reference; nothing can be asked of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock

from oci_registry.admin.daemon import DaemonHandlers
from oci_registry.admin.figures import FigureHandlers, figure_routes
from oci_registry.admin.images import ImageHandlers
from oci_registry.admin.openapi import document
from oci_registry.admin.routes import RouteTable
from oci_registry.admin.scrubbing import ScrubHandlers, scrub_routes
from oci_registry.admin.stream import EventStreams
from oci_registry.admin.table import daemon_routes, image_routes, make_table
from oci_registry.admin.tagging import TagHandlers, tag_routes
from oci_registry.events import EventLog
from oci_registry.spec.image import parse_image
from oci_registry.web.client_watch import ClientWatch

FILE = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"


def all_routes() -> RouteTable:
    """Return the table of a daemon without its parts."""
    nothing = cast(Any, None)
    clock = Clock()
    events = EventLog(clock)
    streams = EventStreams(events, ClientWatch(clock), clock)
    images = ImageHandlers(nothing, parse_image, events)
    tags = TagHandlers(nothing, parse_image, Exception, events)
    return make_table(
        [
            *daemon_routes(DaemonHandlers(nothing), streams),
            *figure_routes(FigureHandlers(nothing)),
            *image_routes(images),
            *tag_routes(tags),
            *scrub_routes(ScrubHandlers(nothing)),
        ]
    )


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(all_routes()), indent=2) + "\n", "utf-8")
