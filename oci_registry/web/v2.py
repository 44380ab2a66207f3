"""The distribution API below ``/v2``: parse, resolve the upstream, dispatch, write the reply."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import NameUnknown
from oci_registry.spec.routes import (
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    HistoryRoute,
    ManifestRoute,
    NamedRoute,
    ReferrersRoute,
    TagsRoute,
)
from oci_registry.upstream.table import Target, UpstreamTable
from oci_registry.web.answering import METHODS, Answering, check_method
from oci_registry.web.catalog import CatalogHandler
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.errors import respond_error
from oci_registry.web.pace import Pace
from oci_registry.web.ready.offers import Offers
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.recent_routes import recent_route
from oci_registry.web.reply import Handler, Reply, RequestInfo, content
from oci_registry.web.respond import respond, write
from oci_registry.web.site import RegistryRequest

_LABELS = {
    BaseRoute: "base",
    ManifestRoute: "manifest",
    BlobRoute: "blob",
    TagsRoute: "tags",
    ReferrersRoute: "referrers",
    HistoryRoute: "history",
    CatalogRoute: "catalog",
}
_BASE = Reply(200, content("application/json", 2), b"{}")
"""The reply at ``/v2/``, which does not depend on any upstream."""


class V2(Answering):
    """The distribution API.

    *handlers*: one for each type of route with a name. *ready*: answers to further requests. *catalog*:
    lists the repositories.
    """

    def __init__(
        self,
        handlers: Mapping[type, Handler],
        table: UpstreamTable,
        watch: ClientWatch,
        clock: IReactorTime,
        metrics: Metrics,
        ready: ReadyAnswers | None = None,
        catalog: CatalogHandler | None = None,
    ) -> None:
        super().__init__()
        self._handlers = handlers
        self._catalog = catalog
        self._table = table
        self._watch = watch
        self._clock = clock
        self._metrics = metrics
        self._blob_bytes = metrics.client_bytes.labels("blob")
        self._pace = Pace(clock)
        self._offers = Offers(ready, table)

    async def answer(self, request: RegistryRequest) -> None:
        """Respond with a reply or an error, and count the request."""
        request.setHeader(b"Docker-Distribution-Api-Version", b"registry/2.0")
        label = "none"
        try:
            check_method(request)
            path, _, query = request.uri.partition(b"?")
            route = recent_route(path, query)
            label = _LABELS[type(route)]
            await self._pace.turn()
            generation = self._table.generation
            target = None
            if isinstance(route, BaseRoute):
                reply = _BASE
            elif isinstance(route, CatalogRoute):
                reply = await self._list_repositories(route)
            else:
                target = self._resolve(request, route)
                info = RequestInfo(request.method == b"HEAD", request.getHeader)
                reply = await self._handlers[type(route)](target, route, info)
                label = reply.route or label
            request.outcome = reply.outcome
            # The list of repositories changes with every pull.
            offer = (
                self._offers.prepare(request, reply, label, target, generation)
                if not isinstance(route, CatalogRoute)
                else None
            )
            if isinstance(reply.body, bytes):
                write(request, reply)
            else:
                count = self._blob_bytes.inc if label == "blob" else None
                await respond(request, reply, self._watch, count)
            if offer is not None:
                offer()
        except Exception as error:
            if not request.gone:
                with suppress(CancelledError):
                    await self._pace.turn()
            respond_error(request, error)
        finally:
            self._count(request, label)

    async def _list_repositories(self, route: CatalogRoute) -> Reply:
        if self._catalog is None:
            raise NameUnknown("there is no list of repositories")
        return await self._catalog(route)

    def _resolve(self, request: RegistryRequest, route: NamedRoute) -> Target:
        """Return the upstream and repository of a request, and note the registry for the access log.

        Every response, errors included, names the registry in OCI-Namespace: the client's ``ns`` if it
        gave one. Raises `NameUnknown`.
        """
        target = self._table.resolve(route.name, route.ns)
        request.namespace = target.upstream.namespace
        request.setHeader(b"OCI-Namespace", (route.ns or request.namespace).encode())
        return target

    def _count(self, request: RegistryRequest, label: str) -> None:
        method = request.method.decode() if request.method in METHODS else "other"
        status = str(request.code) if request.finished else "gone"
        self._metrics.response(label, method, status, self._clock.seconds() - request.began)
