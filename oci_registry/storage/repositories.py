"""The repositories that have stored tags, page by page."""

from __future__ import annotations

from attrs import frozen

from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.keys import REPOSITORIES, TAGS, escape_upper, parse_repository_path


@frozen
class RepositoryPage:
    """Pairs of registry and repository, sorted, and whether there are *more*, after the place *last*."""

    repositories: tuple[tuple[str, str], ...]
    more: bool
    last: str


class Repositories:
    """Lists what is stored, on a driver. All coroutines may raise `StoreError`."""

    def __init__(self, driver: IDriver) -> None:
        self._driver = driver

    async def page(self, host: str | None, place: str, n: int) -> RepositoryPage:
        """Return at most *n* repositories of a registry, or of all, after a *place*."""
        prefix = REPOSITORIES if host is None else f"{REPOSITORIES}/{host}"
        paths, more = await self._driver.marked(prefix, TAGS, place, n)
        whole = paths if host is None else [f"{host}/{path}" for path in paths]
        parsed = map(parse_repository_path, whole)
        found = tuple(one for one in parsed if one is not None)
        return RepositoryPage(found, more, paths[-1] if paths else place)


def after(name: str) -> str:
    """Return the place of a name: a repository, after its registry if all are listed. It need not exist.

    A capital letter comes before all others.
    """
    return escape_upper(name)
