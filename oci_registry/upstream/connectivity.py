"""Circuit breakers of one registry at a host of many, which all share whether the host can be reached."""

from __future__ import annotations

from attrs import define, field

from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.breaker_keys import Endpoint
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import Unreachable
from oci_registry.upstream.keyed_breakers import KeyedBreaker
from oci_registry.upstream.requests import ApiRequest, Kind


@define(eq=False)
class SharedBreakers(Breakers):
    """The breakers of one registry, and *connectivity*, those of the host, which all its registries share.

    If no connection can be made, that is known for all registries at once, and any answer shows the
    opposite. What the host answers, or does not answer in time, is about the one registry: another
    that is broken behind it, which any client may name, must not close it for the rest.
    """

    _connectivity: Breakers = field(kw_only=True)

    def record_success(self, endpoint: Endpoint, request: ApiRequest) -> None:
        """A request was answered."""
        self._reached(endpoint, request)
        super().record_success(endpoint, request)

    def record_limit(self, endpoint: Endpoint, request: ApiRequest, seconds: float) -> None:
        """The server has rate limited such requests for *seconds*."""
        self._reached(endpoint, request)
        super().record_limit(endpoint, request, seconds)

    def record_failure(
        self, endpoint: Endpoint, request: ApiRequest, error: RegistryError, probe: object = None
    ) -> None:
        """A request could not be sent, or the answer was a failure; *probe*: its admission."""
        if isinstance(endpoint, Kind) and isinstance(error, Unreachable):
            self._connectivity.record_failure(endpoint, request, error, probe)
            return
        self._reached(endpoint, request)
        super().record_failure(endpoint, request, error, probe)

    def _reached(self, endpoint: Endpoint, request: ApiRequest) -> None:
        # The registry behind a host chooses its redirects, so they have breakers of their own.
        if isinstance(endpoint, Kind):
            self._connectivity.record_success(endpoint, request)

    def _path(self, endpoint: Endpoint, request: ApiRequest) -> list[KeyedBreaker]:
        own = super()._path(endpoint, request)
        return (
            [*self._connectivity._path(endpoint, request), *own]
            if isinstance(endpoint, Kind)
            else own
        )
