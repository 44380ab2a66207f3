"""Prints as JSON what a process finds at its start, or ends as its argument says: for `test_forked`."""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import resource
import signal
import sys
import threading
from typing import Any


def say(text: str, end: str = "\n") -> None:
    """Write to standard output."""
    sys.stdout.write(text + end)


def open_files() -> dict[str, tuple[str, int]]:
    """Return what is open, and what of that would not be after another exec."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            kind = os.readlink(f"/proc/self/fd/{name}").partition(":")[0]
            found[name] = (kind, fcntl.fcntl(int(name), fcntl.F_GETFD))
        except OSError:
            # The listing itself.
            continue
    return found


def stream(file: Any) -> list[str]:
    """Describe a standard stream."""
    if file is None:
        return []
    names = ("name", "mode", "encoding", "errors", "newlines", "line_buffering", "write_through")
    return [repr(getattr(file, name)) for name in names] + [type(file.buffer).__name__]


def state() -> dict[str, Any]:
    """Return all of it."""
    os.umask(umask := os.umask(0))
    main = sys.modules["__main__"]
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv,
        "path": sys.path,
        "main": [main.__name__, main.__file__, main.__spec__ and main.__spec__.name],
        "tests": [name for name in sys.modules if name.partition(".")[0] == "tests"],
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": umask,
        "files": open_files(),
        "streams": [stream(each) for each in (sys.stdin, sys.stdout, sys.stderr)],
        "same": [sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "limits": [resource.getrlimit(getattr(resource, name)) for name in names],
        "signals": [str(signal.getsignal(number)) for number in range(1, signal.NSIG)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "relatives": [os.getppid(), os.getpgid(0), os.getsid(0)],
        "users": [os.getresuid(), os.getresgid()],
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "threads": [threading.active_count(), threading.main_thread().native_id == os.getpid()],
        "flags": str(sys.flags),
        "reactor": "twisted.internet.reactor" in sys.modules,
    }


def main(how: str = "") -> None:
    """Print the state, or end: with a status, a text, an error, or not before a line comes."""
    if how.isdigit():
        atexit.register(say, "at the end")
        say("not flushed", end=" ")
        sys.exit(int(how))
    if how == "error":
        raise RuntimeError("on purpose")
    if how == "line":
        say(sys.stdin.readline(), end="")
    elif how:
        sys.exit(how)
    else:
        say(json.dumps(state()))


if __name__ == "__main__":
    main(*sys.argv[1:2])
