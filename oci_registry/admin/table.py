"""The table of all routes, from which the documentation is generated too."""

from __future__ import annotations

import json
from collections.abc import Iterable

from oci_registry.admin.answers import DaemonStatus, ErrorList, SweepStatus, Top, UpstreamPage
from oci_registry.admin.daemon import DaemonHandlers
from oci_registry.admin.fields import Choice, Parameter, Several, Text, Truth, Values, Whole
from oci_registry.admin.images import ImageHandlers
from oci_registry.admin.requests import AdminRequest
from oci_registry.admin.routes import AnyRoute, Route, RouteTable, Served
from oci_registry.admin.stream import MEDIA_TYPE, EventStreams
from oci_registry.events import KINDS, SUMMARY
from oci_registry.management.answers import (
    DiskUse,
    ImageDetails,
    ImagePage,
    PinChange,
    PinList,
    Refreshed,
    Removal,
    Why,
)
from oci_registry.management.source import MOST, PAGE, Order
from oci_registry.web.reply import Reply, content
from oci_registry.web.respond import write

_DAEMON, _IMAGES, _PINS = "Daemon", "Images", "Pins"
_AFTER = Parameter("after", Text(), "`next` of the page before")
_IMAGE = Parameter(
    "image",
    Text(),
    "the image as clients name it: `docker.io/library/x:1`, `x:1`, `...@sha256:...`; or "
    "`REGISTRY@DIGEST`",
    required=True,
)


def _limit(default: int, most: int) -> Parameter:
    return Parameter("limit", Whole(1, most), "the most of them", default=default)


def events_query() -> list[Parameter]:
    """Return the parameters of the stream of events."""
    kind = Several(Choice((*KINDS, SUMMARY)), len(KINDS) + 1)
    text = "only events of this kind; repeatable; all but `summary` if it is not given"
    return [
        Parameter("kind", kind, text, default=()),
        Parameter("recent", Whole(0, 1000), "so many of the latest events come first", default=0),
    ]


def daemon_routes(daemon: DaemonHandlers, streams: EventStreams) -> list[AnyRoute]:
    """Return the routes about the daemon itself."""
    return [
        Route(
            "GET",
            "/status",
            "status",
            _DAEMON,
            "How the daemon and its store are doing",
            DaemonStatus,
            daemon.status,
        ),
        Route("GET", "/top", "top", _DAEMON, "The running downloads", Top, daemon.top),
        Route(
            "GET",
            "/upstreams",
            "upstreams",
            _DAEMON,
            "Health, rate limits and latest errors of the registries",
            UpstreamPage,
            daemon.upstreams,
            query=[_limit(100, 1000), _AFTER],
        ),
        Route(
            "GET",
            "/errors",
            "errors",
            _DAEMON,
            "The latest warnings and errors of the log",
            ErrorList,
            daemon.errors,
            query=[_limit(100, 100)],
        ),
        Served(
            "/events",
            "events",
            _DAEMON,
            "What happens from now on, as server-sent events",
            MEDIA_TYPE,
            streams.serve,
            query=events_query(),
        ),
        Route("GET", "/sweep", "sweep", _DAEMON, "The latest sweep", SweepStatus, daemon.sweep),
        Route(
            "POST",
            "/sweep",
            "start_sweep",
            _DAEMON,
            "Start a sweep, unless one runs",
            SweepStatus,
            daemon.start_sweep,
            status=202,
        ),
    ]


def image_routes(images: ImageHandlers) -> list[AnyRoute]:
    """Return the routes about the content of the store."""
    return [
        Route(
            "GET",
            "/images",
            "list_images",
            _IMAGES,
            "The stored images",
            ImagePage,
            images.list,
            query=[
                Parameter(
                    "pattern",
                    Several(Text(512), 20),
                    "only images whose name matches one of these, with `*` and `?`; repeatable",
                    default=(),
                ),
                Parameter("registry", Text(255), "only images of this registry"),
                Parameter(
                    "order",
                    Choice([str(each) for each in Order]),
                    "the order",
                    default=str(Order.NAME),
                ),
                Parameter("reverse", Truth(), "in the opposite order", default=False),
                _limit(PAGE, MOST),
                _AFTER,
            ],
            large=True,
        ),
        Route(
            "GET",
            "/image",
            "show_image",
            _IMAGES,
            "All that is stored of an image",
            ImageDetails,
            images.show,
            query=[_IMAGE],
            errors=[404],
        ),
        Route(
            "DELETE",
            "/image",
            "remove_image",
            _IMAGES,
            "Remove a tag; or a manifest by its digest, with the tags that name it",
            Removal,
            images.remove,
            query=[
                _IMAGE,
                Parameter("blobs", Truth(), "also what no other image needs", default=False),
            ],
            errors=[404, 409],
        ),
        Route(
            "DELETE",
            "/blob",
            "remove_blob",
            _IMAGES,
            "Remove a blob, whoever needs it: it is downloaded again",
            Removal,
            images.remove_blob,
            query=[Parameter("digest", Text(160), "the digest of the blob", required=True)],
            errors=[404, 409],
        ),
        Route(
            "POST",
            "/refresh",
            "refresh_image",
            _IMAGES,
            "Have the next pull of a tag ask the registry first",
            Refreshed,
            images.refresh,
            body=[_IMAGE],
            errors=[404],
        ),
        Route(
            "GET",
            "/usage",
            "disk_use",
            _IMAGES,
            "How much is stored, by registry and repository",
            DiskUse,
            images.du,
            large=True,
        ),
        Route(
            "GET",
            "/why",
            "why_image",
            _IMAGES,
            "Why an image is kept, how fresh it is, and how its registry is doing",
            Why,
            images.why,
            query=[_IMAGE],
            errors=[404],
        ),
        Route("GET", "/pins", "list_pins", _PINS, "The pinned images", PinList, images.pins),
        Route(
            "POST",
            "/pins",
            "pin_image",
            _PINS,
            "Never evict an image, whether it is stored or not",
            PinChange,
            images.pin,
            body=[_IMAGE],
            errors=[409],
        ),
        Route(
            "DELETE",
            "/pins",
            "unpin_image",
            _PINS,
            "Treat an image as all others again",
            PinChange,
            images.unpin,
            query=[_IMAGE],
        ),
    ]


def make_table(routes: Iterable[AnyRoute]) -> RouteTable:
    """Return the table of these routes and of the document that describes them all."""
    pages: list[Reply] = []

    async def serve(request: AdminRequest, _: Values) -> None:
        if not pages:
            # Rarely requested, and its modules are needed for nothing else.
            from oci_registry.admin.openapi import document  # noqa: PLC0415

            body = json.dumps(document(table)).encode()
            pages.append(Reply(200, content("application/json", len(body)), body))
        write(request, pages[0])

    described = Served(
        "/openapi.json",
        "openapi",
        _DAEMON,
        "The description of this API (OpenAPI 3.1)",
        "application/json",
        serve,
    )
    table = RouteTable([*routes, described])
    return table
