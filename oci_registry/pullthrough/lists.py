"""Lists of tags: upstream's, and what the store knows when upstream cannot be asked."""

from __future__ import annotations

from attrs import frozen
from twisted.logger import Logger

from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.spec.errors import Denied, NameUnknown, RegistryError
from oci_registry.storage.tags import TagStore
from oci_registry.upstream.failures import LocalFailure, TimedOut, WrongAnswer
from oci_registry.upstream.interfaces import IncompleteList, Page
from oci_registry.upstream.table import Target

MAX_STORED_TAGS = 10_000
"""Tags of a repository that are listed from the store."""

_FINAL = (TimedOut, WrongAnswer, LocalFailure)
"""Failures that have taken all the time there was, or would be the same in a moment."""


@frozen
class ServedPage:
    """A page of tags. *from_store*: it is only what has passed through here."""

    page: Page
    from_store: bool


class TagLists:
    """Tags of every registry."""

    _log = Logger()

    def __init__(self, tags: TagStore, health: StoreHealth) -> None:
        self._tags = tags
        self._health = health

    async def get(
        self, target: Target, n: int | None, last: str | None, query: str | None = None
    ) -> ServedPage:
        """Return tags as upstream lists them. Raises upstream's `RegistryError`.

        *query*: that of an earlier page's next one. If upstream cannot be asked, the tags that are stored
        are listed, in lexical order; unless nothing may be stale, or the client has had the pages before
        from upstream, of whose list they are not the rest.
        """
        if n == 0 and query is None:
            return ServedPage(Page((), None), from_store=False)
        try:
            page = await target.upstream.tags(target.repository, n, last, query)
        except (NameUnknown, Denied, IncompleteList):
            raise
        except RegistryError as error:
            stale = target.upstream.stale_if_error > 0 and query is None
            names = await self._stored(target) if stale else []
            if not names or (last is not None and last not in names):
                if isinstance(error, _FINAL):
                    raise
                # There is nothing else to show, so that it is worth some more attempts.
                page = await target.upstream.tags(target.repository, n, last, query, wait=True)
                return ServedPage(page, from_store=False)
            self._log.warn(
                "tags of {host}/{repository} are listed from the store: {error}",
                host=target.upstream.namespace,
                repository=target.repository,
                error=str(error),
            )
            after = [name for name in names if last is None or name > last]
            names = after if n is None else after[:n]
            more = names[-1] if names and len(names) < len(after) else None
            return ServedPage(Page(tuple(names), more), from_store=True)
        return ServedPage(page, from_store=False)

    async def _stored(self, target: Target) -> list[str]:
        host = target.upstream.namespace
        names = self._tags.names(host, target.repository, MAX_STORED_TAGS)
        return await self._health.or_default(READ, names, [])
