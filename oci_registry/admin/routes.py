"""The routes of the admin API, each with its parameters, its answer type and its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from attrs import frozen

from oci_registry.admin.fields import Parameter, Values
from oci_registry.admin.requests import AdminRequest
from oci_registry.management.as_json import Answer

PREFIX = "/api/v1"
"""The path of the API and its version: within a version, things are only added."""

Handle = Callable[[Values], Awaitable[Answer]]
"""Returns the answer to a request with these values."""
Serve = Callable[[AdminRequest, Values], Awaitable[None]]
"""Responds to a request with something other than an answer."""


@frozen
class Route:
    """A method at a path below `PREFIX`, with a *name*.

    *query*: parameters in the query; *body*: those in a JSON object, for methods that change something.
    *answer*: the type of the answer. *status*: that of a success. *errors*: additional statuses of
    errors. *group*: the chapter of the documentation. *large*: a GET that goes through the whole store.
    """

    method: str
    path: str
    name: str
    group: str
    text: str
    answer: type[Answer]
    handle: Handle
    query: Sequence[Parameter] = ()
    body: Sequence[Parameter] = ()
    status: int = 200
    errors: Sequence[int] = ()
    large: bool = False


@frozen
class Served:
    """A GET with a response of another *media_type* than JSON, or a stream."""

    path: str
    name: str
    group: str
    text: str
    media_type: str
    serve: Serve
    query: Sequence[Parameter] = ()
    method: str = "GET"


AnyRoute = Route | Served


class RouteTable:
    """All routes, by path and method."""

    def __init__(self, routes: Iterable[AnyRoute]) -> None:
        self.all = tuple(routes)
        self._by_path: dict[str, dict[str, AnyRoute]] = {}
        for route in self.all:
            methods = self._by_path.setdefault(PREFIX + route.path, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is there twice")
            methods[route.method] = route

    def at(self, path: str) -> dict[str, AnyRoute]:
        """Return the routes at a whole path, by method; none if there are none."""
        return self._by_path.get(path, {})


def allowed(methods: Iterable[str]) -> list[str]:
    """Return the methods for ``Allow``: HEAD is allowed where GET is."""
    found = set(methods)
    return sorted(found | ({"HEAD"} if "GET" in found else set()))
