"""What a scrub of a daemon reports: metrics, and a line in the log for each corrupt object."""

from __future__ import annotations

from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.scrub.nouns import Fault, Kind, Outcome

MOST_LINES = 1000
"""The maximum number of lines of one process; further corrupt objects are only counted."""


class LoggedReport:
    """Counts objects and logs corrupt ones."""

    _log = Logger()

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lines = 0

    def checked(self, kind: Kind, size: int) -> None:
        """Count an object."""
        self._metrics.scrub_checked.labels(kind.value).inc()
        self._metrics.scrub_checked_bytes.inc(size)

    def found(self, fault: Fault) -> None:
        """Count a corrupt object, and log it."""
        self._metrics.scrub_corrupt.labels(fault.subject.kind.value).inc()
        if fault.restored:
            self._metrics.scrub_restored.labels(fault.subject.kind.value).inc()
        self._lines += 1
        if self._lines <= MOST_LINES:
            log = self._log.error if fault.outcome is Outcome.LEFT else self._log.warn
            log("{fault}", fault=sentence(fault))

    def incomplete(self, problem: str) -> None:
        """Count an error, and log it."""
        self._metrics.error("scrub")
        self._log.error("the scrub could not check everything: {problem}", problem=problem)


def sentence(fault: Fault) -> str:
    """Return the sentence about a corrupt object."""
    parts = [f"{fault.subject} ({fault.size} bytes) is corrupt: {fault.reason}; "]
    parts.append(fault.outcome.value)
    if fault.problem is not None:
        parts.append(f": {fault.problem}")
    if fault.restored:
        parts.append(", stored again")
    if fault.images:
        parts.append(f"; needed by {', '.join(fault.images)}")
    return "".join(parts)
