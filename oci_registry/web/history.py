"""``/v2/<name>/_oci-registry/history/<tag>``: the digests of a tag that this mirror has seen."""

from __future__ import annotations

import json

from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.spec.errors import Unavailable
from oci_registry.spec.routes import HistoryRoute
from oci_registry.storage.interfaces import StoreError
from oci_registry.upstream.table import Target
from oci_registry.web.reply import Reply, RequestInfo, content


class HistoryHandler:
    """Serves the history of a tag, without asking a registry."""

    def __init__(self, control: TagControl) -> None:
        self._control = control

    async def __call__(self, target: Target, route: HistoryRoute, _request: RequestInfo) -> Reply:
        """Return the history as JSON; raises `RegistryError`."""
        names = (target.upstream.namespace, target.repository, route.tag.name)
        try:
            status = await self._control.history(*names)
        except StoreError:
            raise Unavailable("the store cannot be read") from None
        document = {"name": route.name.text, "tag": route.tag.name, **status.to_json()}
        body = json.dumps(document).encode()
        return Reply(200, content("application/json", len(body)), body)
