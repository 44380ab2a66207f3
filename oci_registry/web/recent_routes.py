"""The routes of recent requests: clients request the same few images repeatedly."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from attrs import fields

from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import Tag
from oci_registry.spec.routes import (
    BaseRoute,
    BlobRoute,
    CatalogRoute,
    HistoryRoute,
    ManifestRoute,
    Name,
    ReferrersRoute,
    Route,
    TagsRoute,
    parse_route,
)

_PARTS: dict[str, Any] = {one.__name__: one for one in (Digest, Name, Tag)}
_ROUTES: dict[str, Any] = {
    one.__name__: one
    for one in (
        BaseRoute,
        BlobRoute,
        CatalogRoute,
        HistoryRoute,
        ManifestRoute,
        ReferrersRoute,
        TagsRoute,
    )
}
_Packed = tuple[Any, ...]
"""The name of the class of a route, and its fields. Those with a class are packed in the same way.

The garbage collector ignores exact tuples of strings, numbers and such tuples, but would track a route and
each of its parts.
"""


def recent_route(path: bytes, query: bytes) -> Route:
    """Return the same as `parse_route`, in a third of the time if it was parsed lately."""
    name, *values = _parse(path, query)
    route: Route = _ROUTES[name](
        *[_PARTS[each[0]](*each[1:]) if type(each) is tuple else each for each in values]
    )
    return route


@lru_cache(maxsize=512)
def _parse(path: bytes, query: bytes) -> _Packed:
    """Return a route packed. An entry has at most 8 KiB; errors are not kept."""
    name, *values = _pack(parse_route(path, query))
    return name, *(_pack(each) if type(each).__name__ in _PARTS else each for each in values)


def _pack(one: Any) -> _Packed:
    cls = type(one)
    return cls.__name__, *(getattr(one, field.name) for field in fields(cls))
