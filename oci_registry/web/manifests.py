"""``GET`` and ``HEAD`` of ``/v2/<name>/manifests/<reference>``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from oci_registry.pull_counts import PullCounts
from oci_registry.pullthrough.background import PATIENCE, Background
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.routes import ManifestRoute
from oci_registry.upstream.table import Target
from oci_registry.web.cache_status import of_manifest
from oci_registry.web.priority import is_background
from oci_registry.web.reply import (
    Reply,
    RequestInfo,
    age_shown,
    conditional,
    content,
    paced,
    warning,
)

Pulled = Callable[[Target, Manifest], None]
"""Called with each manifest that a client waits for, unless it is a ready answer."""


def _ignore(_: Target, __: Manifest) -> None:
    """Do nothing."""


class ManifestHandler:
    """Serves manifests byte for byte; the client's Accept header is ignored. *counts*: counts pulls."""

    def __init__(
        self,
        manifests: ManifestCache,
        background: Background,
        pulled: Pulled = _ignore,
        counts: PullCounts | None = None,
    ) -> None:
        self._manifests = manifests
        self._background = background
        self._pulled = pulled
        self._counts = PullCounts() if counts is None else counts

    async def __call__(self, target: Target, route: ManifestRoute, request: RequestInfo) -> Reply:
        """Return the manifest; raises `RegistryError`."""
        served = None
        background = is_background(request.header("priority"))
        if background:
            _, served = await self._background.manifest(target, route.reference, PATIENCE)
        if served is None:
            served = await self._manifests.get(target, route.reference)
        manifest = served.manifest
        headers = content(manifest.media_type, len(manifest.raw), manifest.digest)
        headers["Cache-Status"] = of_manifest(served)
        if served.age is not None:
            headers["Age"] = str(int(served.age))
            if served.stale_reason is not None:
                why = f"{target.upstream.namespace} {served.stale_reason.value}"
                shown = age_shown(served.age)
                headers |= warning(f"{why}; this tag was confirmed {shown} ago")
        again = partial(self._manifests.hit, target, route.reference, served)
        counts, namespace = self._counts, target.upstream.namespace
        counts.served(namespace, target.repository, manifest, cached=served.cached)
        label = counts.route(namespace, manifest)
        body = paced(manifest.raw)
        reply = Reply(200, headers, body, served.outcome, again=again, route=label)
        if not (request.head or background):
            self._pulled(target, manifest)
        return conditional(reply, request.header("if-none-match"))
