"""A cache of negative responses: 404s and denials."""

from __future__ import annotations

import json
from contextlib import suppress
from types import MappingProxyType

from cachetools import FIFOCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.upstream.requests import ApiRequest

_Entry = tuple[str, str, float]
"""The class of an error, its attributes as JSON, and the time in seconds until which it is used.

The garbage collector does not track such a tuple. It would track an error, its attributes and its headers.
"""


class NegativeCache:
    """The negative responses of one upstream, each for exactly one request.

    A 404 of one tag says nothing about others, and a response to ``HEAD`` says nothing about
    ``GET``. *not_found* and *denied*: seconds that a 404, and a 401 or 403, is kept; 0 keeps none.
    Beyond *entries*, the oldest are dropped. The oldest are dropped too if they are expired when a new one is
    kept.
    """

    def __init__(
        self, clock: IReactorTime, *, not_found: float, denied: float, entries: int = 4096
    ) -> None:
        self._clock = clock
        self._not_found = not_found
        self._denied = denied
        self._entries: FIFOCache[str, _Entry] = FIFOCache(entries)
        self._classes: dict[str, type[RegistryError]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def check(self, request: ApiRequest) -> None:
        """Raise the cached error of *request*, if there is one."""
        key = _key(request)
        entry = self._entries.get(key)
        if entry is None:
            return
        name, attributes, until = entry
        now = self._clock.seconds()
        # An entry from the future is one from before the clock was set back.
        if now < until <= now + max(self._not_found, self._denied):
            raise _unpack(self._classes[name], attributes)
        del self._entries[key]

    def remember(self, request: ApiRequest, error: RegistryError) -> None:
        """Cache a negative response, if it can be expressed in JSON, maybe without its detail."""
        lifetime = self._denied if isinstance(error, Denied) else self._not_found
        packed = _pack(error) if lifetime > 0 else None
        if packed is None:
            return
        kind = type(error)
        name = f"{kind.__module__}.{kind.__qualname__}"
        self._classes[name] = kind
        now = self._clock.seconds()
        self._drop_expired(now)
        key = _key(request)
        # Then it becomes the newest.
        self._entries.pop(key, None)
        self._entries[key] = name, packed, now + lifetime

    def _drop_expired(self, now: float) -> None:
        """Drop the oldest entries while they are expired."""
        while self._entries:
            oldest = next(iter(self._entries))
            _, _, until = self._entries[oldest]
            if now < until:
                return
            del self._entries[oldest]


def _key(request: ApiRequest) -> str:
    # Neither a kind nor a repository has a space.
    return f"{request.kind.name} {request.repository} {request.subject}"


def _pack(error: RegistryError) -> str | None:
    attributes = {**vars(error), "headers": dict(error.headers)}
    for form in (attributes, {**attributes, "detail": None}):
        with suppress(TypeError, ValueError, RecursionError):
            return json.dumps(form)
    return None


def _unpack(kind: type[RegistryError], packed: str) -> RegistryError:
    attributes = json.loads(packed)
    headers = MappingProxyType(attributes.pop("headers"))
    error = kind.__new__(kind, attributes["message"])
    vars(error).update(attributes, headers=headers, from_cache=True)
    return error
