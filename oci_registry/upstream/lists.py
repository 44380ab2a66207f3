"""Pages of lists: requests for them, their content, and the query of the next page."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IResponse

from oci_registry.spec.elements import ArrayReader
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.links import BadLink, parse_next_link
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.spec.paging import next_query, page_begin
from oci_registry.streams.body import BodyError, BodyTooLong, abandon
from oci_registry.upstream.deadline import in_time
from oci_registry.upstream.encoding import read_document
from oci_registry.upstream.errors import WrongAnswer
from oci_registry.upstream.failures import explain, header, refuse
from oci_registry.upstream.interfaces import IncompleteList

IDLE_TIMEOUT = 20.0
"""Seconds that the body of a page may make no progress."""
BODY_TIMEOUT = 60.0
"""Seconds in which the body of a page has to arrive."""

_ACCEPT = {"Accept": f"{OCI_INDEX}, application/json"}


_WARNING = re.compile(r'299 [!-~]{1,100} "([ !#-\[\]-~]{1,300})"')


class Ask(Protocol):
    """Send a request to the upstream; *path* is below ``/v2/``."""

    def __call__(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> Awaitable[IResponse]:
        """Return the answer, whatever its status; every failure is a `RegistryError`."""


class Pages:
    """Requests pages of the lists of one repository; every failure is a `RegistryError`."""

    def __init__(self, host: str, clock: IReactorTime, repository: str, ask: Ask) -> None:
        self.host = host
        self.clock = clock
        self._repository = repository
        self._ask = ask

    async def get(self, path: str, query: str = "") -> IResponse:
        """Return the answer for a path below the repository, whatever its status."""
        path = f"{self._repository}/{path}" + (f"?{query}" if query else "")
        return await self._ask("GET", self._repository, path, _ACCEPT)

    def refuse(self, response: IResponse, unknown: type[RegistryError], what: str) -> RegistryError:
        """Return the error for a response that is not a page, whose body is discarded."""
        abandon(response, self.clock)
        return refuse(response, self.host, unknown, what, self.clock.seconds())

    async def read(self, response: IResponse, limit: int) -> bytes:
        """Return the body of a page. Raises `IncompleteList` if it has more than *limit* bytes."""
        reading = Deferred.fromCoroutine(read_document(response, limit, self.clock, IDLE_TIMEOUT))
        try:
            return await in_time(reading, BODY_TIMEOUT, self.clock)
        except BodyTooLong as error:
            raise IncompleteList(f"upstream {self.host}: {error}") from None
        except (BodyError, DeferredTimeout) as error:
            raise explain(error, self.host) from None

    async def parse(self, body: bytes, key: str, what: str) -> ArrayReader:
        """Return the array *key* of a page, parsed without blocking."""
        reader = ArrayReader(body, key)
        try:
            for _ in reader.steps():
                await deferLater(self.clock, 0)
        except ValueError as error:
            raise WrongAnswer(
                f"upstream {self.host} sent something that is not {what}: {error}"
            ) from None
        return reader

    def following(self, response: IResponse, sent: str, what: str) -> str | None:
        """Return the query of the next page, None if there is none; *sent*: that of this page.

        Raises `IncompleteList` if there are more pages that cannot be requested.
        """
        lines = response.headers.getRawHeaders(b"Link") or []
        try:
            target = parse_next_link(line.decode("utf-8", "surrogateescape") for line in lines)
            if target is None:
                return None
            query = next_query(target)
            if page_begin(query) == page_begin(sent):
                raise BadLink("the link to its next page leads to the same page again")
        except BadLink as error:
            raise IncompleteList(
                f"upstream {self.host} sent a part of {what} without a valid link to the rest: {error}"
            ) from None
        return query


def warning_of(response: IResponse) -> str | None:
    """Return the text of a ``Warning`` with code 299, which mirrors send with stale content."""
    match = _WARNING.fullmatch(header(response, "Warning") or "")
    return None if match is None else match[1]
