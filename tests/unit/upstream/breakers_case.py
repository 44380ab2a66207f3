"""The circuits of one host, for tests of them."""

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
from oci_registry.upstream.failures import (
    CircuitOpen,
    ConnectTimedOut,
    TimedOut,
)
from oci_registry.upstream.questions import Kind, Question

HOST = "a.example"
ERROR = BadGateway("it is on fire")
SLOW = TimedOut("too slow")
DEAD = ConnectTimedOut("dead")
CDN = "https://cdn.example:443"


def about(repository: str, subject: str = "latest", kind: Kind = Kind.MANIFEST) -> Question:
    """Return a question."""
    return Question(kind, repository, subject)


X, Y, Z = about("x"), about("y"), about("z")


class BreakersTestCase(SynchronousTestCase):
    """The circuits of one host; chance always brings the longest time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.metrics = Metrics(["example.com"])
        self.breakers = self.make()

    def make(self, **options: Any) -> Breakers:
        watch = self.metrics.host("example.com", HOST)
        return Breakers(HOST, self.clock, lambda: 1.0, watch, **options)

    def gauge(self, name: str) -> float | None:
        labels = {"namespace": "example.com", "host": HOST}
        return self.metrics.registry.get_sample_value(f"oci_registry_upstream_{name}", labels)

    def admit(
        self, question: Question, *, wait: bool = False, within: float = 20.0, endpoint: Any = None
    ) -> Deferred[Admission]:
        endpoint = question.kind if endpoint is None else endpoint
        admitting = self.breakers.admit(endpoint, question, within, wait=wait)
        return Deferred.fromCoroutine(admitting)

    def let(self, question: Question, *, wait: bool = False, endpoint: Any = None) -> Admission:
        """Let a question through at once."""
        return self.successResultOf(self.admit(question, wait=wait, endpoint=endpoint))

    def refused(self, question: Question, kind: type[RegistryError] = CircuitOpen) -> RegistryError:
        """Return the error that keeps a question of somebody impatient back."""
        error = self.failureResultOf(self.admit(question), kind).value
        assert isinstance(error, RegistryError)
        return error

    def put(
        self,
        question: Question,
        outcome: Exception | None = None,
        *,
        wait: bool = False,
        endpoint: Any = None,
    ) -> None:
        """Put a question, which ends so."""

        async def work() -> None:
            if outcome is not None:
                raise outcome

        admission = self.let(question, wait=wait, endpoint=endpoint)
        done = Deferred.fromCoroutine(admission.watch(work()))
        if outcome is None:
            self.successResultOf(done)
        else:
            self.failureResultOf(done)

    def wait(self, question: Question, endpoint: Any = None) -> float:
        return self.breakers.wait(question.kind if endpoint is None else endpoint, question)
