"""The two requests of mcronce/oci-registry that remove content."""

from __future__ import annotations

from oci_registry.admin.api import ApiParts, Guarded
from oci_registry.admin.gate import Gate
from oci_registry.admin.images import ImageHandlers
from oci_registry.admin.problems import NotFound
from oci_registry.admin.requests import AdminRequest
from oci_registry.management.subjects import Subject
from oci_registry.spec.errors import Unsupported
from oci_registry.spec.routes import BlobRoute, ManifestRoute, parse_route
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.reply import Reply, content
from oci_registry.web.respond import write

NAME = b"_admin"
"""The first segment of the path."""
_METHODS = ("DELETE",)
_DONE = Reply(200, content("text/plain", 0))


class Original(Guarded):
    """``DELETE /_admin/IMAGE/manifests/REFERENCE`` and ``/_admin/IMAGE/blobs/DIGEST``.

    An image is named as on the port for clients, with ``ns`` if needed. The response has no body.
    """

    def __init__(
        self, images: ImageHandlers, table: UpstreamTable, gate: Gate, parts: ApiParts
    ) -> None:
        super().__init__(gate, parts)
        self._images = images
        self._table = table

    async def handle(self, request: AdminRequest) -> None:
        """Remove what the path names."""
        path, _, query = request.uri.partition(b"?")
        behind = path.lstrip(b"/").removeprefix(NAME)
        route = parse_route(b"/v2" + behind, query)
        if not isinstance(route, ManifestRoute | BlobRoute):
            raise NotFound("there is nothing at this path; see /api/v1/openapi.json")
        if request.method != b"DELETE":
            raise Unsupported.for_method(request.method.decode("latin-1"), _METHODS)
        if isinstance(route, BlobRoute):
            await self.change(self._images.forget_blob(route.digest))
        else:
            target = self._table.resolve(route.name, route.ns)
            subject = Subject(target.upstream.namespace, target.repository, route.reference)
            await self.change(self._images.forget(subject, blobs=False))
        write(request, _DONE)
