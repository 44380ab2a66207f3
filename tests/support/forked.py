"""Starts ``python -m oci_registry`` without the time that its imports take, for tests that are not about them.

A process that has imported everything (`fork_parent`) forks the ones that are asked for. They become
children of this one: it has their number, their signals and their status as if it had started them by
itself, which it does (`spawn`) where there is a difference: the list of processes shows the command of their
parent, and their memory is shared with it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.process import Process

from oci_registry.config.process_title import mask
from tests.support.fork_parent import describe

SOURCE = str(Path(__file__).parents[2])
"""Where Python finds the project."""

# Not as a module of ours: our packages import more than a daemon does.
_RUN = f"import runpy; runpy.run_path({str(Path(__file__).with_name('fork_parent.py'))!r}, {{}}, '__main__')"
_PROGRAM = [sys.executable, "-m", "oci_registry"]
# What Python has read when it begins. A process is forked by a parent that has begun with the same.
_INTERPRETER = re.compile(r"PYTHON.*|LANG|LANGUAGE|LC_.*")
# What libraries have read by then, and places to listen at for which TLS is there from the beginning.
_LIBRARIES = re.compile(r"LD_.*|MALLOC_.*|GLIBC_.*|OPENSSL_.*")
_TLS = re.compile(r"(?:^|[\s=:])(?:ssl|tls|le):")
# From <linux/prctl.h>.
_SET_CHILD_SUBREAPER = 36


def spawn(
    reactor: Any,
    protocol: Any,
    command: Sequence[str],
    environment: Mapping[str, str],
    **more: Any,
) -> Any:
    """Start a command as ``reactor.spawnProcess`` does, with *more* for that, and return its transport."""
    if not can_fork(command, environment, more):
        return reactor.spawnProcess(protocol, command[0], command, env=environment, **more)
    return ForkedProcess(
        reactor,
        command[0],
        command,
        environment,
        more.get("path"),
        protocol,
        childFDs=more.get("childFDs"),
    )


def can_fork(
    command: Sequence[str], environment: Mapping[str, str], more: Mapping[str, Any]
) -> bool:
    """Whether a command can be forked and does the same: no other program, no secret, no TLS."""
    python = {name: value for name, value in environment.items() if name.startswith("PYTHON")}
    return (
        sys.platform == "linux"
        and [*command[:3]] == _PROGRAM
        and python == {"PYTHONPATH": SOURCE}
        and not any(map(_LIBRARIES.fullmatch, environment))
        and more.keys() <= {"path", "childFDs"}
        and not any(map(_TLS.search, (*command, *environment.values())))
        # What is shown of a process would be that of its parent.
        and mask(command) == [*command]
    )


class ForkedProcess(Process):
    """A process that is forked by a `ForkParent`; otherwise like any of Twisted's."""

    def _fork(
        self,
        path: str | None,
        uid: int | None,
        gid: int | None,
        executable: str,
        args: Sequence[str],
        environment: Mapping[str, str],
        **more: Any,
    ) -> None:
        parent = _parent_for(environment)
        self.pid = parent.fork(args, environment, more["fdmap"], path or os.getcwd())
        self.status = -1


class ForkParent:
    """A process that forks others; it ends with this one, however this one ends."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._libc = ctypes.CDLL(None)
        if control.recv(100) != b"ready":
            raise RuntimeError("the process that forks others has ended")

    def fork(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        files: Mapping[int, int],
        folder: str,
    ) -> int:
        """Return the number of a new child that runs *command*, ``python -m MODULE``, in a folder.

        *files*: its open files, by their numbers there and here.
        """
        request = describe(command, environment, files, folder)
        self._adopt(True)
        try:
            socket.send_fds(self._control, [request], [*files.values()])
            return int(self._control.recv(20))
        finally:
            self._adopt(False)

    def _adopt(self, whether: bool) -> None:
        """Adopt the orphans among the descendants of this process, or do not."""
        self._libc.prctl(_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0)


_parents: dict[tuple[tuple[str, str], ...], ForkParent] = {}


def _parent_for(environment: Mapping[str, str]) -> ForkParent:
    """Return the process that forks those with such variables; it is started at the first need."""
    read = {name: value for name, value in environment.items() if _INTERPRETER.fullmatch(name)}
    key = tuple(sorted(read.items()))
    if key not in _parents:
        _parents[key] = _start(read)
    return _parents[key]


def _start(environment: Mapping[str, str]) -> ForkParent:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=SOURCE,
            env=environment,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ForkParent(ours)
