"""The whole of the web room above a cache in memory and an upstream that is a dictionary."""

from __future__ import annotations

from oci_registry.config.settings import UpstreamSettings
from oci_registry.pullthrough.lists import TagLists
from oci_registry.spec.routes import (
    BlobRoute,
    HistoryRoute,
    ManifestRoute,
    ReferrersRoute,
    TagsRoute,
)
from oci_registry.storage.repositories import Repositories
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.blobs import BlobHandler
from oci_registry.web.catalog import CatalogHandler
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.history import HistoryHandler
from oci_registry.web.lists import ListLimits, ReferrersHandler, TagsHandler
from oci_registry.web.manifests import ManifestHandler
from oci_registry.web.reply import Handler
from oci_registry.web.v2 import V2
from tests.support.fake_upstream import FakeUpstream, fake_settings, no_catch_all
from tests.support.settings import upstream_settings
from tests.unit.pullthrough.support import CacheTestCase
from tests.unit.web.support import Answer, WebTestCase


class HandlerTestCase(WebTestCase, CacheTestCase):
    """Requests to a mirror whose default registry is `upstream`, docker.io."""

    list_limits = ListLimits()

    def setUp(self) -> None:
        WebTestCase.setUp(self)
        CacheTestCase.setUp(self)
        self.upstream.change(namespace="docker.io")
        self.upstream.manual = True
        self.others: dict[str, FakeUpstream] = {}
        self.serve_all()

    def serve_all(self, *, dynamic: bool = True, **options: bool) -> None:
        """Serve everything, with what can be told to the handler of blobs."""
        table = UpstreamTable(
            (upstream_settings("docker.io", "registry-1.docker.io"),),
            self.upstream_for,
            no_catch_all,
            default_namespace="docker.io",
            dynamic=dynamic,
        )
        tags = TagLists(self.tag_store, self.health, self.repeats)
        handlers: dict[type, Handler] = {
            ManifestRoute: ManifestHandler(self.manifests, self.background),
            BlobRoute: BlobHandler(self.blobs, self.background, **options),
            TagsRoute: TagsHandler(tags, self.list_limits),
            ReferrersRoute: ReferrersHandler(self.referrers),
            HistoryRoute: HistoryHandler(self.control),
        }
        catalog = CatalogHandler(Repositories(self.driver), table.mirrors)
        self.watch = ClientWatch(self.clock)
        self.serve(V2(handlers, table, self.watch, self.clock, self.metrics, catalog=catalog))

    def upstream_for(self, settings: UpstreamSettings) -> FakeUpstream:
        if settings.namespace == "docker.io":
            return self.upstream
        return self.others.setdefault(
            settings.namespace, FakeUpstream(fake_settings(settings.namespace))
        )

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Return the answer to a request for something below the repository ``library/app``."""
        connection = self.ask(f"/v2/library/app/{path}", method, **headers)
        self.finish()
        return connection.answer(method)

    def finish(self) -> None:
        """Let the downloads under way continue to their end, as a network does: after the question."""
        for body in self.upstream.bodies:
            if not (body.done.called or body.abandoned):
                body.send(body.data)
                body.end()
