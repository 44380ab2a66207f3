"""Everything below ``/v2``: parse once, dispatch by the type of the route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import Unsupported
from oci_registry.spec.routes import (
    BaseRoute,
    BlobRoute,
    ManifestRoute,
    ReferrersRoute,
    TagsRoute,
    parse_route,
)
from oci_registry.web.errors import respond_error
from oci_registry.web.pace import Pace
from oci_registry.web.respond import send_bytes, set_content
from oci_registry.web.site import RegistryRequest

ALLOWED = ("GET", "HEAD")
_METHODS = frozenset(method.encode() for method in ALLOWED)
_LABELS = {
    BaseRoute: "base",
    ManifestRoute: "manifest",
    BlobRoute: "blob",
    TagsRoute: "tags",
    ReferrersRoute: "referrers",
}

Handler = Callable[[RegistryRequest, Any], Awaitable[None]]


class V2(Resource):
    """The distribution API. *handlers*: who answers each type of route but the base."""

    isLeaf = True

    def __init__(
        self, handlers: dict[type, Handler], clock: IReactorTime, metrics: Metrics
    ) -> None:
        super().__init__()
        self._handlers: dict[type, Handler] = {BaseRoute: _base, **handlers}
        self._clock = clock
        self._metrics = metrics
        self._pace = Pace(clock)

    def render(self, request: Any) -> int:
        """Answer a request, now or later."""
        answering = Deferred.fromCoroutine(self._answer(request))
        if not answering.called:
            # The client may leave before there is an answer: what it waited for goes on without it.
            request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    async def _answer(self, request: RegistryRequest) -> None:
        request.setHeader(b"Docker-Distribution-Api-Version", b"registry/2.0")
        label = "none"
        try:
            if request.method not in _METHODS:
                raise Unsupported.for_method(request.method.decode("latin-1"), ALLOWED)
            path, _, query = request.uri.partition(b"?")
            route = parse_route(path, query)
            label = _LABELS[type(route)]
            await self._pace.turn()
            await self._handlers[type(route)](request, route)
        except Exception as error:
            if not request.gone:
                with suppress(CancelledError):
                    await self._pace.turn()
            respond_error(request, error)
        finally:
            self._count(request, label)

    def _count(self, request: RegistryRequest, label: str) -> None:
        method = request.method.decode() if request.method in _METHODS else "other"
        status = str(request.code) if request.finished else "gone"
        self._metrics.response(label, method, status, self._clock.seconds() - request.began)


async def _base(request: RegistryRequest, _route: BaseRoute) -> None:
    """``/v2/``: this is a registry, whatever the upstreams do."""
    set_content(request, "application/json", 2)
    send_bytes(request, b"{}")
