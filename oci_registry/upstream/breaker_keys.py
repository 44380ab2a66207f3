"""Keys of circuit breakers and pauses: a kind of request, a repository in it, a subject."""

from __future__ import annotations

from oci_registry.upstream.requests import ApiRequest, Kind

Endpoint = Kind | str
"""A unit of failure: the API endpoint for a kind of request, or the origin of another server."""
Key = tuple[Endpoint] | tuple[Endpoint, str] | tuple[Endpoint, str, str]

KINDS: tuple[Key, ...] = tuple((kind,) for kind in Kind)
"""The keys of all kinds of requests as a whole."""


def keys_of(endpoint: Endpoint, request: ApiRequest) -> tuple[Key, ...]:
    """Return the keys that a request belongs to, from the kind to the subject."""
    return (
        (endpoint,),
        (endpoint, request.repository),
        (endpoint, request.repository, request.subject),
    )


def source_of(key: Key, request: ApiRequest) -> str:
    """Return what identifies a request within a key, to tell one source of failures from two."""
    return request.repository if len(key) == 1 else request.subject


def describe(key: Key) -> str:
    """Return a key for the log: ``manifests, library/busybox``."""
    endpoint, *rest = key
    return ", ".join((endpoint.value if isinstance(endpoint, Kind) else endpoint, *rest))
