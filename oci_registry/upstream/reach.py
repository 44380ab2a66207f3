"""Circuits of one registry at a host of many: whether that can be reached counts for all of them."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.circuit import Area, Circuit
from oci_registry.upstream.circuits import Admission, Circuits, Random
from oci_registry.upstream.failures import Unreachable
from oci_registry.upstream.questions import Kind, Question


class SharedCircuits(Circuits):
    """The circuits of one registry, and *reach*, those of the host, which other registries have too.

    If no connection can be made, that is known for all registries at once, and any answer shows the
    opposite. What the host answers, or does not answer in time, is about the one registry: another
    that is broken behind it, which any client may name, must not close it for the rest.
    """

    def __init__(
        self,
        host: str,
        clock: IReactorTime,
        random: Random,
        metrics: HostMetrics,
        reach: Circuits,
        *,
        alternatives: bool = False,
    ) -> None:
        super().__init__(host, clock, random, metrics, alternatives=alternatives)
        self._reach = reach

    def record_success(self, area: Area, question: Question) -> None:
        """A question was answered."""
        self._reached(area, question)
        super().record_success(area, question)

    def record_limit(self, area: Area, question: Question, seconds: float) -> None:
        """The server has rate limited such requests for *seconds*."""
        self._reached(area, question)
        super().record_limit(area, question, seconds)

    def record_failure(
        self,
        area: Area,
        question: Question,
        error: RegistryError,
        admission: Admission | None = None,
    ) -> None:
        """A question could not be put, or the answer was a failure."""
        if isinstance(area, Kind) and isinstance(error, Unreachable):
            self._reach.record_failure(area, question, error, admission)
            return
        self._reached(area, question)
        super().record_failure(area, question, error, admission)

    def _reached(self, area: Area, question: Question) -> None:
        # The registry behind a host chooses its redirects, so they have circuits of their own.
        if isinstance(area, Kind):
            self._reach.record_success(area, question)

    def _path(self, area: Area, question: Question) -> list[Circuit]:
        own = super()._path(area, question)
        return [*self._reach._path(area, question), *own] if isinstance(area, Kind) else own
