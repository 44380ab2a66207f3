"""The circuit breakers of one host, for tests of them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import (
    BadGateway,
    RegistryError,
)
from oci_registry.upstream.breakers import (
    Admission,
    Breakers,
)
from oci_registry.upstream.errors import CircuitOpen, ConnectTimedOut, TimedOut
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.support.reports import breaker_log

HOST = "a.example"
ERROR = BadGateway("it is on fire")
SLOW = TimedOut("too slow")
DEAD = ConnectTimedOut("dead")
CDN = "https://cdn.example:443"


def about(repository: str, subject: str = "latest", kind: Kind = Kind.MANIFEST) -> ApiRequest:
    """Return a request."""
    return ApiRequest(kind, repository, subject)


X, Y, Z = about("x"), about("y"), about("z")


class BreakersTestCase(SynchronousTestCase):
    """The circuit breakers of one host; chance always brings the longest time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.metrics = Metrics(["example.com"])
        self.breakers = self.make()

    def make(self, **options: Any) -> Breakers:
        watch = self.metrics.host("example.com", HOST)
        log = breaker_log("example.com", HOST)
        return Breakers(HOST, self.clock, lambda: 1.0, watch, log, **options)

    def gauge(self, name: str) -> float | None:
        labels = {"namespace": "example.com", "host": HOST}
        return self.metrics.registry.get_sample_value(f"oci_registry_upstream_{name}", labels)

    def admit(
        self, request: ApiRequest, *, wait: bool = False, within: float = 20.0, endpoint: Any = None
    ) -> Deferred[Admission]:
        endpoint = request.kind if endpoint is None else endpoint
        admitting = self.breakers.admit(endpoint, request, within, wait=wait)
        return Deferred.fromCoroutine(admitting)

    def let(self, request: ApiRequest, *, wait: bool = False, endpoint: Any = None) -> Admission:
        """Admit a request at once."""
        return self.successResultOf(self.admit(request, wait=wait, endpoint=endpoint))

    def refused(
        self, request: ApiRequest, kind: type[RegistryError] = CircuitOpen
    ) -> RegistryError:
        """Return the error with which an impatient request is refused."""
        error = self.failureResultOf(self.admit(request), kind).value
        assert isinstance(error, RegistryError)
        return error

    def put(
        self,
        request: ApiRequest,
        outcome: Exception | None = None,
        *,
        wait: bool = False,
        endpoint: Any = None,
    ) -> None:
        """Send a request, which ends so."""

        async def work() -> None:
            if outcome is not None:
                raise outcome

        admission = self.let(request, wait=wait, endpoint=endpoint)
        done = Deferred.fromCoroutine(admission.watch(work()))
        if outcome is None:
            self.successResultOf(done)
        else:
            self.failureResultOf(done)

    def wait(self, request: ApiRequest, endpoint: Any = None) -> float:
        return self.breakers.wait(request.kind if endpoint is None else endpoint, request)
