"""How the daemon logs: one line per event on standard output, as text or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TextIO, cast

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
)
from twisted.python.failure import Failure

from oci_registry.log_output import Output
from oci_registry.spec.texts import escaped

PAUSE = 0.05
"""Seconds that a line of the access log may wait for further lines."""
MAX_BATCH = 32 * 1024
"""Characters of waiting lines at which they are written at once."""


# Not frozen: one is made for each response, and a frozen one takes three times as long.
@define
class AccessEntry:
    """The access log entry of a response: *sent* bytes of body, *seconds* since the request.

    Text from the client is printable ASCII without quotes. *namespace*: the registry of the request;
    *outcome*: that of the cache; *error*: why the response is an error or incomplete, on one line and
    without secrets. Each of these may be None.
    """

    client: str
    method: str
    uri: str
    protocol: str
    status: int
    sent: int
    seconds: float
    agent: str
    namespace: str | None
    outcome: str | None
    error: str | None


_INTERNAL = frozenset(
    {"format", "isError", "message", "time", "system", "logger", "failure", "why"}
)


def _moment(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0.0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def _indented(traceback: str) -> str:
    """Return a traceback in which no line can be mistaken for a line of the log."""
    lines = (escaped(line) for line in traceback.splitlines())
    return "".join(f"{'  ' if number else ''}{line}\n" for number, line in enumerate(lines))


def format_text(event: LogEvent) -> str | None:
    """Return an event as a line of text, followed by the traceback if there is one."""
    text = formatEvent(event)
    if not text and "log_failure" not in event:
        return None
    level = getattr(event.get("log_level"), "name", "info")
    line = f"{_moment(event)} {level} {escaped(text)}\n"
    return line + _indented(_traceback(event))


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


Pieces = tuple[str, str]
"""A line of the access log: the text before and after the time."""


class AccessLog:
    """Writes one line per response, without an event, which would cost more than the line itself.

    *form*: "text" and "json" are like other lines of the log, "combined" is the format of web servers
    with three additional fields, and four for errors. *output* None: no access log.

    Lines are written in batches: after *pause* seconds, or `MAX_BATCH` characters. Without a pause,
    each is written at once. Lines that cannot be written are dropped; the responses are not affected.
    """

    def __init__(
        self, output: Output | None, form: str, clock: IReactorTime, pause: float = 0.0
    ) -> None:
        self._output = output
        self._form = {"text": _text_line, "json": _json_line, "combined": _combined_line}[form]
        self.heard: Callable[[AccessEntry], None] | None = None
        """The listener, which whoever calls `write_pieces` has to call too; None: there is none."""
        self._combined = form == "combined"
        self._clock = clock
        self._pause = pause
        self._second = -1
        self._moment = ""
        self._waiting: list[str] = []
        self._size = 0
        self._due: IDelayedCall | None = None
        self.wanted = output is not None
        """Whether responses are logged or passed to a listener."""

    def hear(self, heard: Callable[[AccessEntry], None] | None) -> None:
        """Also call *heard* with each response, until this is called with None."""
        self.heard = heard
        self.wanted = self._output is not None or heard is not None

    def write(self, entry: AccessEntry) -> None:
        """Write the line of a response."""
        if self.heard is not None:
            self.heard(entry)
        if self._output is not None:
            self.write_pieces(self.pieces(entry), self._clock.seconds())

    def pieces(self, entry: AccessEntry) -> Pieces:
        """Return the line of a response, for `write_pieces`."""
        return self._form(entry)

    def write_pieces(self, pieces: Pieces, now: float) -> None:
        """Write a line with the time *now*, in seconds since the epoch."""
        if self._output is None:
            return
        before, after = pieces
        second = int(now)
        if second != self._second:
            self._second = second
            form = _COMBINED_MOMENT if self._combined else _MOMENT
            self._moment = datetime.fromtimestamp(second, UTC).strftime(form)
        if self._combined:
            line = f"{before}{self._moment}{after}"
        else:
            line = f"{before}{self._moment}.{int((now - second) * 1000):03d}{after}"
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= MAX_BATCH or not self._pause:
            self.flush()
        elif self._due is None:
            self._due = self._clock.callLater(self._pause, self.flush)

    def flush(self) -> None:
        """Write all lines that wait."""
        if self._due is not None:
            if self._due.active():
                self._due.cancel()
            self._due = None
        text = "".join(self._waiting)
        self._waiting.clear()
        self._size = 0
        if self._output is not None and text:
            # The disk is full, or the reader of the log has gone.
            with suppress(OSError, ValueError):
                self._output.write(text)
                self._output.flush()

    def stop(self) -> None:
        """Write all waiting lines, and each further one at once."""
        self._pause = 0.0
        self.flush()


_MOMENT = "%Y-%m-%dT%H:%M:%S"
_COMBINED_MOMENT = "%d/%b/%Y:%H:%M:%S +0000"


def _text_line(entry: AccessEntry) -> tuple[str, str]:
    return "", (
        f'Z info {escaped(entry.client)} "{entry.method} {entry.uri}" '
        f'{entry.status} {entry.sent} {entry.seconds:.3f} "{entry.agent}"'
        f"{f' cache={entry.outcome}' if entry.outcome else ''}{_error(entry)}\n"
    )


def _error(entry: AccessEntry) -> str:
    """Return the end of a line for a response that is an error or incomplete, else nothing."""
    # Quoted as in JSON, so that the text can end neither the field nor the line.
    return "" if entry.error is None else f" error={json.dumps(entry.error)}"


def _json_line(entry: AccessEntry) -> tuple[str, str]:
    fields = {
        "level": "info",
        "source": "access",
        "client": entry.client,
        "method": entry.method,
        "uri": entry.uri,
        "status": entry.status,
        "sent": entry.sent,
        "seconds": round(entry.seconds, 6),
        "agent": entry.agent,
        "namespace": entry.namespace,
        "cache": entry.outcome,
        "error": entry.error,
    }
    return '{"time": "', f'Z", {json.dumps(fields)[1:]}\n'


def _combined_line(entry: AccessEntry) -> tuple[str, str]:
    # The fields for a user and a referrer are always empty.
    return f"{escaped(entry.client)} - - [", (
        f'] "{entry.method} {entry.uri} {entry.protocol}" '
        f'{entry.status} {entry.sent} "-" "{entry.agent}" '
        f"{entry.namespace or '-'} {entry.outcome or '-'} {entry.seconds:.3f}{_error(entry)}\n"
    )


def build_access_log(form: str, output: Output, clock: IReactorTime) -> AccessLog:
    """Return the access log in *form* ("combined", "json", "text"), or none ("off"), on *output*."""
    if form == "off":
        return AccessLog(None, "text", clock)
    return AccessLog(output, form, clock, PAUSE)


def _at_least(level: str) -> Any:
    return LogLevel.critical if level == "off" else LogLevel.lookupByName(level)


def build_observer(level: str, style: str, output: Output) -> ILogObserver:
    """Return the observer for events of at least *level*, in *style* ("text" or "json").

    The level "off" leaves out all of them.
    """
    write = FileLogObserver(cast(TextIO, output), format_json if style == "json" else format_text)
    least = LogLevelFilterPredicate(defaultLogLevel=_at_least(level))
    # Twisted logs every port and connection, and failures to write its plugin cache; the daemon logs
    # what matters of these itself.
    for namespace in ("twisted", "log_legacy"):
        least.setLogLevelForNamespace(namespace, max(LogLevel.warn, _at_least(level)))
    predicates: list[Any] = [_no_event, least] if level == "off" else [least]
    return cast(ILogObserver, FilteringLogObserver(write, predicates))


def _no_event(_: LogEvent) -> Any:
    return PredicateResult.no


def observe_application(application: Any, level: str, style: str, output: Output) -> None:
    """Make twistd log through us, when *application* is its application object."""
    if hasattr(application, "setComponent"):
        application.setComponent(ILogObserver, build_observer(level, style, output))


def describe_dropped(style: str) -> Callable[[int], str]:
    """Return a function that makes the line, in *style*, about a number of dropped lines."""

    def describe(lines: int) -> str:
        event = {
            "log_time": time.time(),
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "log_format": "{lines} lines of the log were dropped: standard output was not read",
            "lines": lines,
        }
        return (format_json if style == "json" else format_text)(event) or ""

    return describe
