"""The routes of the admin API, called in this process."""

from __future__ import annotations

from typing import Any, TypeVar

from oci_registry.admin.fields import Parameter
from oci_registry.admin.problems import InvalidRequest, NotFound
from oci_registry.admin.routes import PREFIX, Route, RouteTable
from oci_registry.management.as_json import Answer

T = TypeVar("T", bound=Answer)


class Calls:
    """Calls the API's handlers, with the same paths and parameters, without HTTP."""

    def __init__(self, routes: RouteTable) -> None:
        self._routes = routes

    async def __call__(self, method: str, path: str, answer: type[T], **texts: str | None) -> T:
        """Return the answer of a route; *texts*: its parameters, None for one that is not given.

        Raises `NotFound` without such a route, `InvalidRequest` for a wrong value, and what the route raises.
        """
        route = self._routes.at(PREFIX + path).get(method)
        if not isinstance(route, Route):
            raise NotFound(f"this daemon has no {method} {path}")
        found = await route.handle(
            {each.name: _value(each, texts.get(each.name)) for each in (*route.query, *route.body)}
        )
        assert isinstance(found, answer)
        return found


def _value(parameter: Parameter, text: str | None) -> Any:
    if text is None:
        if parameter.required:
            raise InvalidRequest.at(parameter.name, "is required")
        return parameter.default
    try:
        return parameter.kind.from_text(text)
    except ValueError as error:
        raise InvalidRequest.at(parameter.name, str(error)) from None
