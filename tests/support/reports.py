"""Reports of hosts, for tests that are about something else, and for those that read the log."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, formatEvent, globalLogPublisher

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.metrics import HostMetrics
from oci_registry.repeats import RepeatLog
from oci_registry.upstream.reports import BreakerLog, HostReports


def reports_of(
    settings: UpstreamSettings, host: HostSettings, metrics: HostMetrics, clock: Any = None
) -> HostReports:
    """Return the reports of a host. Without a clock nothing is logged a second time."""
    return HostReports(settings, host, RepeatLog(Logger(), clock or Clock()), metrics)


def breaker_log(namespace: str, host: str, clock: Any = None) -> BreakerLog:
    """Return the log of a host's circuit breakers. Without a clock nothing is logged a second time."""
    settings = UpstreamSettings(namespace, (HostSettings(host),))
    return BreakerLog(settings, host, RepeatLog(Logger(), clock or Clock()))


class Lines:
    """The lines that are logged while a test runs."""

    def __init__(self, case: Any) -> None:
        self._events: list[LogEvent] = []
        globalLogPublisher.addObserver(self._events.append)
        case.addCleanup(globalLogPublisher.removeObserver, self._events.append)

    def of(self, level: LogLevel) -> list[str]:
        """Return the lines of a level."""
        return [formatEvent(event) for event in self._events if event["log_level"] is level]

    @property
    def warnings(self) -> list[str]:
        """The warnings so far."""
        return self.of(LogLevel.warn)

    def clear(self) -> None:
        """Forget the lines so far."""
        self._events.clear()
