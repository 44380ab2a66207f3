"""``GET`` and ``HEAD`` of ``/v2/<name>/manifests/<reference>``."""

from __future__ import annotations

from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.spec.durations import format_duration
from oci_registry.spec.routes import ManifestRoute
from oci_registry.streams.send import CHUNK, BytesSource
from oci_registry.upstream.table import UpstreamTable
from oci_registry.web.patience import Patience
from oci_registry.web.respond import not_modified, resolve, send_bytes, send_source, set_content
from oci_registry.web.site import RegistryRequest


class ManifestHandler:
    """Serve manifests byte for byte, whatever the client says it accepts."""

    def __init__(self, table: UpstreamTable, manifests: ManifestCache, patience: Patience) -> None:
        self._table = table
        self._manifests = manifests
        self._patience = patience

    async def __call__(self, request: RegistryRequest, route: ManifestRoute) -> None:
        """Answer the request; raises `RegistryError`."""
        target = resolve(self._table, request, route)
        served = await self._manifests.get(target, route.reference)
        request.outcome = served.outcome
        manifest = served.manifest
        if served.age is not None:
            age = int(served.age)
            request.setHeader(b"Age", b"%d" % age)
            if served.doubt is not None:
                shown = format_duration(age - age % 60 if age >= 60 else age)
                request.setHeader(
                    b"Warning",
                    f'299 - "{target.upstream.namespace} {served.doubt.value}; '
                    f'this tag was confirmed {shown} ago"'.encode("ascii", "replace"),
                )
        if not_modified(request, manifest.digest):
            return
        set_content(request, manifest.media_type, len(manifest.raw), manifest.digest)
        if request.method == b"HEAD" or len(manifest.raw) <= CHUNK:
            send_bytes(request, manifest.raw)
        else:
            # Written at once, it would be copied for each client that is slow to take it.
            source = BytesSource(manifest.raw)
            await send_source(request, source, len(manifest.raw), self._patience)
