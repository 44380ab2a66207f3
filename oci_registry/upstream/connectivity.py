"""Circuit breakers of one of many registries at a host, which share the breaker of its connection."""

from __future__ import annotations

from attrs import define, field

from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.breaker_keys import Endpoint
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import Unreachable
from oci_registry.upstream.health import MOST, OpenBreaker
from oci_registry.upstream.keyed_breakers import KeyedBreaker
from oci_registry.upstream.requests import ApiRequest, Kind


@define(eq=False)
class SharedBreakers(Breakers):
    """The breakers of one registry, and *connectivity*, the breakers of its host.

    If no connection can be made, that is recorded for all registries at once, and any response ends
    it. All other failures count for the one registry only: any client may name a registry that is
    broken, and that must not affect others.
    """

    _connectivity: Breakers = field(kw_only=True)

    def record_success(self, endpoint: Endpoint, request: ApiRequest) -> None:
        """Record that a request got a response."""
        self._reached(endpoint, request)
        super().record_success(endpoint, request)

    def record_limit(self, endpoint: Endpoint, request: ApiRequest, seconds: float) -> None:
        """Record that the server has rate limited such requests for *seconds*."""
        self._reached(endpoint, request)
        super().record_limit(endpoint, request, seconds)

    def record_failure(
        self, endpoint: Endpoint, request: ApiRequest, error: RegistryError, probe: object = None
    ) -> None:
        """Record that a request could not be sent, or failed; *probe*: its admission."""
        if isinstance(endpoint, Kind) and isinstance(error, Unreachable):
            self._connectivity.record_failure(endpoint, request, error, probe)
            return
        self._reached(endpoint, request)
        super().record_failure(endpoint, request, error, probe)

    @property
    def available(self) -> bool:
        """Whether no circuit breaker of a kind of requests, or of the host itself, is open."""
        return super().available and self._connectivity.available

    def opened(self) -> list[OpenBreaker]:
        """Return the circuit breakers that are open, those of the host first."""
        return [*self._connectivity.opened(), *super().opened()][:MOST]

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
