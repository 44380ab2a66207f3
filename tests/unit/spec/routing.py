"""Routes of paths and queries that are text."""

from __future__ import annotations

from oci_registry.spec.routes import Route, parse_route


def parse(path: str, query: str = "") -> Route:
    """Return the route of a path and a query in Latin-1, which is any bytes."""
    return parse_route(path.encode("latin-1"), query.encode("latin-1"))
