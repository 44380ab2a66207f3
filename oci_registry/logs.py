"""How the daemon logs: one line per event on standard output, as text or as JSON."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from attrs import asdict, frozen
from twisted.internet.interfaces import IReactorTime
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


@frozen
class AccessEntry:
    """What the access log tells of a response: *sent* bytes of body, *seconds* from the request on.

    The texts come from the client and hold printable ASCII only.
    """

    client: str
    method: str
    uri: str
    status: int
    sent: int
    seconds: float
    agent: str


_INTERNAL = frozenset(
    {"format", "isError", "message", "time", "system", "logger", "failure", "why"}
)


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    """Return *text* without characters that would end or disguise a line."""
    if text.isprintable():
        return text
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


class AccessLog:
    """One line per response, in the form of the other lines but written without an event.

    Made for speed: it is the larger part of what the log costs. *stream* None: no access log.
    """

    def __init__(self, stream: TextIO | None, style: str, clock: IReactorTime) -> None:
        self._stream = stream
        self._json = style == "json"
        self._clock = clock
        self._second = -1
        self._moment = ""

    def write(self, entry: AccessEntry) -> None:
        """Write the line of a response; if that cannot be, the response is no worse for it."""
        if self._stream is None:
            return
        now = self._clock.seconds()
        second = int(now)
        if second != self._second:
            self._second = second
            self._moment = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        moment = f"{self._moment}.{int((now - second) * 1000):03d}Z"
        if self._json:
            line = json.dumps(
                {"time": moment, "level": "info", "source": "access", **asdict(entry)}
            )
        else:
            line = (
                f'{moment} info {entry.client} "{entry.method} {entry.uri}" {entry.status} '
                f'{entry.sent} {entry.seconds:.3f} "{entry.agent}"'
            )
        # A full disk, or a reader of the log that has gone.
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


def build_access_log(level: str, style: str, clock: IReactorTime) -> AccessLog:
    """Return the access log for a log of at least *level*: none when that leaves information out."""
    quiet = LogLevel.lookupByName(level) > LogLevel.info
    return AccessLog(None if quiet else sys.stdout, style, clock)


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
