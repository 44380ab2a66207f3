"""A process that has imported what a daemon imports, and forks when it is asked to; `forked` starts it.

Its argument is the number of a socket. It sends ``ready`` there, then gets requests, each a JSON document
with open files, and sends the number of a new process for each. It ends when the other side is gone.

A daemon with workers starts a process that forks these (`oci_registry.workers.forking`). It has imported what
that process imports, and has a child that becomes it the first time.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import runpy
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

MAX_REQUEST = 128 * 1024
"""The most bytes of a request."""
_IGNORED = {signal.SIGPIPE, signal.SIGXFSZ}
"""What Python ignores."""
_LIMITS = {name: number for name, number in vars(resource).items() if name.startswith("RLIMIT_")}
_FORKING = "oci_registry.workers.forking"
"""The program that a daemon with workers starts."""
MAX_FILES = 16
"""The most open files that a process can be given."""

# What a daemon imports before its options are read, then without TLS, and then before it listens.
_AT_FIRST = ("twisted.scripts.twistd", "oci_registry.twistd_options", "oci_registry.tap")
_WITHOUT_TLS = ("twisted.internet.endpoints", "twisted.internet.epollreactor")
_TO_LISTEN = ("oci_registry.service", "oci_registry.storage.drivers.filesystem")
LATER = (
    "oci_registry.config.upstreams",
    "oci_registry.upstream.connecting",
    "oci_registry.commands.main",
    "oci_registry.workers.worker",
    "oci_registry.workers.options",
)
"""What it imports for a file of upstreams and for its first miss, what commands do, and what workers do."""


def describe(
    command: Sequence[str], environment: Mapping[str, str], files: Mapping[int, int], folder: str
) -> bytes:
    """Return a request for a process that has the limits of this one; the files are sent with it."""
    os.umask(umask := os.umask(0o77))
    request = {
        "command": [*command],
        "environment": {**environment},
        "files": [*files],
        "folder": folder,
        "umask": umask,
        "limits": {name: resource.getrlimit(number) for name, number in _LIMITS.items()},
    }
    return json.dumps(request).encode()


def import_start() -> None:
    """Import what a daemon has imported when it listens, in the same way; no reactor is installed."""
    from oci_registry import commands, lean_imports  # noqa: F401, PLC0415 - what __main__ imports
    from oci_registry.streams import garbage  # noqa: PLC0415 - as above

    with garbage.collecting_seldom(), lean_imports.executing_later():
        for name in _AT_FIRST:
            import_module(name)
        with lean_imports.without_tls():
            for name in _WITHOUT_TLS:
                import_module(name)
        for name in _TO_LISTEN:
            import_module(name)


def serve(control: socket.socket) -> Mapping[str, Any] | None:
    """Fork for each request; None when there are no more. In the new process, it returns the request."""
    while True:
        data, files, _, _ = socket.recv_fds(control, MAX_REQUEST, MAX_FILES)
        if not data:
            return None
        request: dict[str, Any] = json.loads(data)
        told, tell = os.pipe()
        orphaned, end = os.pipe()
        between = os.fork()
        if not between:
            pid = os.fork()
            if not pid:
                # It may only find its new parent.
                os.close(end)
                os.read(orphaned, 1)
                _keep_only(dict(zip(request["files"], files, strict=True)))
                return request
            os.write(tell, b"%d" % pid)
            # Its child goes to who adopts orphans: the process that asks for it.
            os._exit(0)
        os.waitpid(between, 0)
        control.send(os.read(told, 20))
        for each in (told, tell, orphaned, end, *files):
            os.close(each)


def _keep_only(files: Mapping[int, int]) -> None:
    """Have just these open files, under these numbers, as a new program would."""
    beyond = max((2, *files, *files.values())) + 1
    for place, file in enumerate(files.values(), beyond):
        os.dup2(file, place)
    for place, number in enumerate(files, beyond):
        os.dup2(place, number)
    first = 0
    for number in (*sorted(files), os.sysconf("SC_OPEN_MAX")):
        # Python takes an empty range for one that has no end.
        if first < number:
            os.closerange(first, number)
        first = number + 1


def become(request: Mapping[str, Any], inherited: Mapping[str, str]) -> None:
    """Make this process what a new Python is at its start; *inherited*: the variables that Python has set."""
    os.chdir(request["folder"])
    os.umask(request["umask"])
    for name, limits in request["limits"].items():
        resource.setrlimit(getattr(resource, name), tuple(limits))
    os.environ.clear()
    os.environ.update({**inherited, **request["environment"]})
    time.tzset()
    _default_signals()
    main_thread: Any = threading.main_thread()
    main_thread._set_native_id()
    sys.stdin = sys.__stdin__ = _standard(0, sys.stdin)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _standard(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _standard(2, sys.stderr)  # type: ignore[misc]
    command = request["command"]
    sys.orig_argv[:] = command
    sys.argv[:] = command[command.index("-m") :]
    # Its name: it is replaced when the module is run.
    del sys.argv[1]
    sys.path[0] = os.getcwd()
    sys.modules["__main__"] = ModuleType("__main__")


def _default_signals() -> None:
    """Ignore no signal that this process was started to ignore, as a process that Twisted has started."""
    for number in signal.valid_signals() - _IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)


def _standard(number: int, parents: Any) -> Any:
    """Open a standard stream as Python does at its start, None if there is no such open file."""
    try:
        os.fstat(number)
    except OSError:
        return None
    mode = "w" if number else "r"
    binary: Any = open(number, f"{mode}b", closefd=False)  # noqa: SIM115 - for good
    binary.raw.name = parents.name
    stream: Any = io.TextIOWrapper(
        binary,
        parents.encoding,
        parents.errors,
        newline=None if number else "\n",
        line_buffering=number == 2 or os.isatty(number),
    )
    stream.mode = mode
    return stream


def fork_in_advance() -> Mapping[str, Any] | None:
    """Fork a child that becomes the first process that forks workers, when this one starts it.

    In the child, return the request for that, with its files open; in this process, return None.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        _start_by(ours, pid)
        return None
    ours.detach()
    control = theirs.detach()
    _keep_only({control: control})
    with socket.socket(fileno=control) as asking:
        data, files, _, _ = socket.recv_fds(asking, MAX_REQUEST, MAX_FILES)
    if not data:
        # The daemon has ended without it.
        os._exit(0)
    request: dict[str, Any] = json.loads(data)
    _keep_only(dict(zip(request["files"], files, strict=True)))
    return request


def _start_by(control: socket.socket, pid: int) -> None:
    """Let the reactor start the program of workers once by asking a child for it."""
    posixbase: Any = import_module("twisted.internet.posixbase")
    start = posixbase.PosixReactorBase.spawnProcess

    def spawn(reactor: Any, protocol: Any, executable: str, args: Any, **more: Any) -> Any:
        if control.fileno() < 0 or [*args[1:4]] != ["-P", "-m", _FORKING]:
            return start(reactor, protocol, executable, args, **more)
        process: Any = import_module("twisted.internet.process")

        class Asked(process.Process):  # type: ignore[misc]
            """A process that is forked already."""

            def _fork(self, *_: Any, fdmap: Mapping[int, int], **__: Any) -> None:
                with control:
                    request = describe(args, more["env"], fdmap, os.getcwd())
                    socket.send_fds(control, [request], [*fdmap.values()])
                self.pid, self.status = pid, -1

        return Asked(
            reactor, executable, args, more["env"], None, protocol, childFDs=more["childFDs"]
        )

    posixbase.PosixReactorBase.spawnProcess = spawn


def main() -> None:
    """Serve; and in a new process, run the module that the request names."""
    inherited = dict(os.environ)
    import_start()
    for name in LATER:
        import_module(name)
    # It finds out where a process has its name, which it cannot when the variables are others.
    vars(import_module("setproctitle"))["getproctitle"]()
    gc.collect()
    # Whoever is forked need not look at all of that for garbage.
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.send(b"ready")
        request = serve(control)
        if request is not None:
            # It is closed already, and its number may be another file's.
            control.detach()
    if request is not None:
        become(request, inherited)
        forking = None
        if "--workers" in request["command"]:
            forking = fork_in_advance()
        if forking is not None:
            become(forking, inherited)
        run: Any = vars(runpy)["_run_module_as_main"]
        run(_FORKING if forking is not None else request["command"][2])


if __name__ == "__main__":
    main()
