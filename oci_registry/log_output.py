"""Outputs for lines of the log: standard output, a file, or twistd's own log."""

from __future__ import annotations

import atexit
import os
import select
import signal
import stat
import sys
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import Protocol, TextIO

from attrs import frozen
from twisted.logger import Logger
from twisted.python.logfile import LogFile

MAX_WAITING = 1 << 20
"""The maximum bytes of lines that wait while the reader of a pipe does not read."""
FLUSH_TIMEOUT = 2.0
"""Seconds that lines may still wait for that reader when the daemon ends."""
ROTATE_AT = 10_000_000
"""Bytes after which a log file is rotated."""
KEPT_FILES = 10
"""Rotated log files that are kept."""

# Bytes that a writable pipe accepts completely, without waiting.
_AT_ONCE = select.PIPE_BUF


@frozen
class LogPlace:
    """Where to log: to a file, or *kept*: where twistd logs; else to standard output."""

    file: str | None = None
    kept: bool = False


STANDARD_OUTPUT = LogPlace()
TWISTD = LogPlace(kept=True)


class Output(Protocol):
    """An output for lines of text, each with its line end."""

    def write(self, text: str, /) -> object:
        """Take one or more whole lines."""

    def flush(self) -> object:
        """Write all lines that can be written now."""


class PipeOutput:
    """Writes to a pipe, a socket or a terminal, and never waits for its reader.

    Lines are written at once while there is room. If there is none, they wait, up to *limit* bytes,
    and a thread writes them; further ones are dropped. The result of *dropped* for their number is
    written in their place as soon as the reader continues. May be called from any thread.
    """

    def __init__(self, fd: int, dropped: Callable[[int], str], limit: int = MAX_WAITING) -> None:
        self._fd = fd
        self._describe = dropped
        self._limit = limit
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)
        self._changed = Condition()
        # The condition guards everything below.
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._thread: Thread | None = None

    def write(self, text: str) -> None:
        """Write lines now or later, or count them as dropped."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._thread is None:
                rest = self._write_at_once(data)
                if rest:
                    # A line that has begun must be completed.
                    self._append(rest)
                    self._start()
            elif self._size + len(data) > self._limit:
                self._dropped += text.count("\n")
            else:
                self._append_dropped()
                self._append(data)

    def flush(self) -> None:
        """Do nothing: nothing waits that could be written."""

    def close(self, timeout: float = FLUSH_TIMEOUT) -> None:
        """Wait for the lines that wait, *timeout* seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None, timeout)

    def _write_at_once(self, data: bytes) -> bytes:
        """Write as many bytes as there is room for; return the rest."""
        while data and self._room.poll(0):
            try:
                data = data[os.write(self._fd, data[:_AT_ONCE]) :]
            except BlockingIOError:
                break
            except OSError:
                # The reader has gone.
                return b""
        return data

    def _append(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)

    def _append_dropped(self) -> None:
        if self._dropped:
            self._append(self._describe(self._dropped).encode())
            self._dropped = 0

    def _start(self) -> None:
        # A daemon thread: a reader that never reads must not prevent the process from ending.
        self._thread = Thread(target=self._write_waiting, name="log", daemon=True)
        atexit.register(self.close)
        self._thread.start()

    def _write_waiting(self) -> None:
        """Write waiting lines until there are none; the body of the thread."""
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        while data := self._next():
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:
                    room.poll(1000)
                except OSError:
                    break

    def _next(self) -> bytes:
        """Return the oldest waiting lines; none once all are written, which ends the thread."""
        with self._changed:
            if not self._waiting:
                self._append_dropped()
            if self._waiting:
                data = self._waiting.popleft()
                self._size -= len(data)
                return data
            self._thread = None
            atexit.unregister(self.close)
            self._changed.notify_all()
            return b""


class NoOutput:
    """Writes nothing: standard output is closed."""

    def write(self, text: str) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


class FileOutput:
    """Writes to a file that is rotated when it is large, and at SIGUSR1, as twistd does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: LogFile | None = None

    def open(self, call_from_thread: Callable[[Callable[[], object]], object]) -> None:
        """Open the file; raises OSError. Lines before that are dropped."""
        file = LogFile.fromFullPath(self._path, rotateLength=ROTATE_AT, maxRotatedFiles=KEPT_FILES)
        self._file = file
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, lambda *_: call_from_thread(file.rotate))

    def write(self, text: str) -> None:
        """Write lines."""
        if self._file is not None:
            self._file.write(text)

    def flush(self) -> None:
        """Flush written lines to the system."""
        if self._file is not None:
            self._file.flush()


class EventOutput:
    """Makes an event for each line, for a log with another observer."""

    _log = Logger("access")

    def write(self, text: str) -> None:
        """Log lines."""
        for line in text.splitlines():
            self._log.info("{line}", line=line)

    def flush(self) -> None:
        """Do nothing."""


def open_output(place: LogPlace, dropped: Callable[[int], str]) -> Output:
    """Return the output of the log; a `FileOutput` must still be opened.

    *dropped*: returns the line that reports a number of dropped lines.
    """
    if place.kept:
        return EventOutput()
    if place.file is not None:
        return FileOutput(place.file)
    # None: it was closed when the process began.
    output: TextIO | None = sys.stdout
    if output is None:
        return NoOutput()
    try:
        fd = output.fileno()
        kind = os.fstat(fd).st_mode
    except (AttributeError, OSError, ValueError):
        return output
    # Other files do not depend on a reader. A terminal can be stopped (Ctrl-S).
    read = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(fd)
    return PipeOutput(fd, dropped) if read else output
