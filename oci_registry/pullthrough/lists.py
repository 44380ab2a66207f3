"""Lists of tags: from upstream, and from the store if upstream fails."""

from __future__ import annotations

from attrs import frozen

from oci_registry.pullthrough.store_health import READ, StoreHealth
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.spec.errors import Denied, NameUnknown, RegistryError
from oci_registry.storage.tags import TagStore
from oci_registry.upstream.errors import LocalFailure, TimedOut, WrongAnswer
from oci_registry.upstream.interfaces import IncompleteList, Page
from oci_registry.upstream.table import Target

MAX_STORED_TAGS = 10_000
"""Tags of a repository that are listed from the store."""

_FINAL = (TimedOut, WrongAnswer, LocalFailure)
"""Failures after which another attempt would not help: no time is left, or it would fail again."""


@frozen
class ServedPage:
    """A page of tags.

    *from_store*: it has only the tags that were pulled through this mirror. *asked*: whether there was a
    request to upstream. *offline*: there was none because upstream is offline.
    """

    page: Page
    from_store: bool
    asked: bool = True
    offline: bool = False


class TagLists:
    """The lists of tags of all registries."""

    def __init__(self, tags: TagStore, health: StoreHealth, repeats: RepeatLog) -> None:
        self._tags = tags
        self._health = health
        self._repeats = repeats

    async def get(
        self, target: Target, n: int | None, last: str | None, query: str | None = None
    ) -> ServedPage:
        """Return tags as upstream lists them. Raises upstream's `RegistryError`.

        *query*: the one that an earlier page gave for its next page. If upstream fails, the stored tags
        are listed in lexical order. They are not if stale content is switched off, or if the client has
        earlier pages from upstream: its list may be another one.
        """
        if n == 0 and query is None:
            return ServedPage(Page((), None), from_store=False, asked=False)
        if target.upstream.settings.offline:
            names = await self._stored(target)
            if not names:
                await target.upstream.tags(target.repository, n, last, query)
            return ServedPage(_page(names, n, last), from_store=True, asked=False, offline=True)
        try:
            page = await target.upstream.tags(target.repository, n, last, query)
        except (NameUnknown, Denied, IncompleteList):
            raise
        except RegistryError as error:
            stale = target.upstream.settings.stale_if_error > 0 and query is None
            names = await self._stored(target) if stale else []
            if not names or (last is not None and last not in names):
                if isinstance(error, _FINAL):
                    raise
                # There is no fallback, so more attempts are worth their time.
                page = await target.upstream.tags(target.repository, n, last, query, wait=True)
                return ServedPage(page, from_store=False)
            self._warn(target, error)
            return ServedPage(_page(names, n, last), from_store=True)
        return ServedPage(page, from_store=False)

    def _warn(self, target: Target, error: RegistryError) -> None:
        upstream, repository = target.upstream, target.repository
        self._repeats.warn(
            Group.of(upstream.namespace, "lists", configured=upstream.settings.configured),
            (upstream.namespace, "tags", without_names(error.message, repository)),
            "tags of {host}/{repository} are listed from the store: {error}",
            host=upstream.namespace,
            repository=repository,
            error=error.message,
        )

    async def _stored(self, target: Target) -> list[str]:
        host = target.upstream.namespace
        names = self._tags.names(host, target.repository, MAX_STORED_TAGS)
        return await self._health.or_default(READ, names, [])


def _page(names: list[str], n: int | None, last: str | None) -> Page:
    """Return the page of *n* names after *last*, of names that are sorted."""
    after = [name for name in names if last is None or name > last]
    names = after if n is None else after[:n]
    more = names[-1] if names and len(names) < len(after) else None
    return Page(tuple(names), more)
