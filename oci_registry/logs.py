"""How the daemon logs: one line per event on standard output, as text or as JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from twisted.python.failure import Failure

_INTERNAL = frozenset(
    {"format", "isError", "message", "time", "system", "logger", "failure", "why"}
)


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Return *text* without characters that would end or disguise a line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def format_text(event: LogEvent) -> str | None:
    """Return an event as a line of text, followed by the traceback if there is one."""
    text = formatEvent(event)
    if not text and "log_failure" not in event:
        return None
    level = getattr(event.get("log_level"), "name", "info")
    line = f"{_moment(event)} {level} {_one_line(text)}\n"
    return line + _traceback(event)


def format_json(event: LogEvent) -> str | None:
    """Return an event as one JSON object on one line, its plain fields beside the message."""
    text = formatEvent(event)
    if not text and "log_failure" not in event:
        return None
    fields: dict[str, Any] = {
        "time": _moment(event),
        "level": getattr(event.get("log_level"), "name", "info"),
        "source": str(event.get("log_namespace", "")),
        "message": text,
    }
    for key, value in event.items():
        plain = isinstance(value, str | int | float | bool)
        if plain and not key.startswith("log_") and key not in _INTERNAL:
            fields.setdefault(key, value)
    traceback = _traceback(event)
    if traceback:
        fields["traceback"] = traceback
    return json.dumps(fields) + "\n"


def build_observer(level: str, style: str, stream: TextIO) -> ILogObserver:
    """Return the observer for events of at least *level*, in *style* ("text" or "json")."""
    write = FileLogObserver(stream, format_json if style == "json" else format_text)
    at_least = LogLevel.lookupByName(level)
    least = LogLevelFilterPredicate(defaultLogLevel=at_least)
    # Twisted tells of every connection it makes; what matters of those is logged by us.
    least.setLogLevelForNamespace("twisted", max(LogLevel.warn, at_least))
    return cast(ILogObserver, FilteringLogObserver(write, [least]))


def observe_application(application: Any, level: str, style: str) -> None:
    """Make twistd log through us, when *application* is its application object."""
    if hasattr(application, "setComponent"):
        application.setComponent(ILogObserver, build_observer(level, style, sys.stdout))
