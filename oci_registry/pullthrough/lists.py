"""Lists of tags and of referrers: upstream's, and what the store knows when upstream is down."""

from __future__ import annotations

import json

from attrs import frozen
from twisted.logger import Logger

from oci_registry.pullthrough.trouble import READ, StoreTrouble
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import Denied, NameUnknown, RegistryError
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.storage.tags import TagStore
from oci_registry.upstream.interfaces import Page
from oci_registry.upstream.table import Target

MAX_STORED_TAGS = 10_000
"""Tags of a repository that are listed from the store."""


@frozen
class ServedPage:
    """A page of tags. *from_store*: it is only what has passed through here."""

    page: Page
    from_store: bool


@frozen
class ServedReferrers:
    """An image index of referrers, as JSON. *filtered*: only those of the artifact type asked for."""

    body: bytes
    filtered: bool


class Lists:
    """Tags and referrers of every registry."""

    _log = Logger()

    def __init__(self, tags: TagStore, trouble: StoreTrouble) -> None:
        self._tags = tags
        self._trouble = trouble

    async def tags(self, target: Target, n: int | None, last: str | None) -> ServedPage:
        """Return tags as upstream lists them. Raises upstream's `RegistryError`.

        If upstream cannot be asked, the tags that are stored are listed, in lexical order; unless
        nothing may be stale.
        """
        if n == 0:
            return ServedPage(Page((), None), from_store=False)
        try:
            return ServedPage(await target.upstream.tags(target.repository, n, last), False)
        except (NameUnknown, Denied):
            raise
        except RegistryError as error:
            names = await self._stored(target) if target.upstream.stale_if_error > 0 else []
            if not names:
                raise
            self._log.warn(
                "tags of {host}/{repository} are listed from the store: {error}",
                host=target.upstream.namespace,
                repository=target.repository,
                error=str(error),
            )
            after = [name for name in names if last is None or name > last]
            page = after if n is None else after[:n]
            more = page[-1] if page and len(page) < len(after) else None
            return ServedPage(Page(tuple(page), more), from_store=True)

    async def _stored(self, target: Target) -> list[str]:
        host = target.upstream.namespace
        names = self._tags.names(host, target.repository, MAX_STORED_TAGS)
        return await self._trouble.despite(READ, names, [])

    async def referrers(
        self, target: Target, digest: Digest, artifact_type: str | None
    ) -> ServedReferrers:
        """Return what refers to a manifest. Raises upstream's `RegistryError`."""
        referrers = await target.upstream.referrers(target.repository, digest)
        manifests = [
            manifest
            for manifest in referrers.manifests
            if artifact_type is None or manifest.get("artifactType") == artifact_type
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        # As short as upstream sent it: clients read only so many bytes.
        text = json.dumps(index, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "replace")
        return ServedReferrers(body, filtered=artifact_type is not None)
