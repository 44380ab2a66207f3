"""Processes that are forked are like those that are started: what they find, and how they end."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.support import fork_parent, process_state
from tests.support.daemon import reactor, running, until
from tests.support.forked import SOURCE, ForkedProcess, ForkParent, can_fork, spawn
from tests.support.process import DaemonProcess
from tests.support.workers import WorkersTestCase, children
from tests.unit.test_lean_imports import imported

ENVIRONMENT = {"PYTHONPATH": SOURCE, "OTHER": "größe"}
_IMPORT = f"import runpy; runpy.run_path({fork_parent.__file__!r})['import_start']()"


class _Ended(ProcessProtocol):
    def __init__(self) -> None:
        self.output = {1: b"", 2: b""}
        self.ended: Deferred[Any] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output[childFD] += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback((reason.value.exitCode, reason.value.signal))


class Forked(TestCase):
    """A program in a process that is forked, and in one that is started."""

    timeout = 120

    def setUp(self) -> None:
        # The program is no part of our packages there, which would be imported with it.
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "other").mkdir(parents=True)
        for folder in (self.folder, self.folder / "other"):
            shutil.copy(process_state.__file__, folder)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def start(self, kind: Any, args: Sequence[str], protocol: _Ended, **more: Any) -> Any:
        """Start the program, in a process of either kind."""
        command = [sys.executable, "-m", "process_state", *args]
        variables = {**ENVIRONMENT, **more.pop("variables", {})}
        if kind is not ForkedProcess:
            return reactor.spawnProcess(protocol, command[0], command, variables, **more)
        more.setdefault("path", None)
        return kind(reactor, command[0], command, variables, proto=protocol, **more)

    async def end_of(self, kind: Any, *args: str, **more: Any) -> Any:
        """Return the status and the outputs of a process."""
        protocol = _Ended()
        self.start(kind, args, protocol, **more)
        status = await protocol.ended
        return status, *(output.decode() for output in protocol.output.values())

    async def both(self, *args: str, **more: Any) -> tuple[Any, Any]:
        """Return how both of them ended."""
        forked = await self.end_of(ForkedProcess, *args, **more)
        return forked, await self.end_of(None, *args, **more)

    @running
    async def test_state(self) -> None:
        """They find the same arguments, variables, files, streams, limits, signals and relatives."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        self.addCleanup(os.umask, os.umask(0o27))
        for more in (
            {"childFDs": {0: "w", 1: "r", 2: "r", 3: listening.fileno(), 7: listening.fileno()}},
            {"path": str(self.folder / "other"), "variables": {"LC_ALL": "C.UTF-8"}},
            {"childFDs": {1: "r"}},
        ):
            forked, started = await self.both("", "an argument", **more)
            self.assertEqual(((0, None), ""), (started[0], started[2]))
            self.assertEqual(((0, None), ""), (forked[0], forked[2]))
            found, expected = json.loads(forked[1]), json.loads(started[1])
            self.assertEqual(os.getpid(), found["relatives"][0])
            for name, value in expected.items():
                self.assertEqual(value, found[name], f"{name} {more}")
            resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))

    @running
    async def test_ends(self) -> None:
        """They end alike: with a status, a text, an error; what is buffered is written, and exits are run."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        self.addCleanup(os.close, nothing)
        for how in ("0", "3", "a text", "line"):
            forked, started = await self.both(how, childFDs={0: nothing, 1: "r", 2: "r"})
            self.assertEqual(started, forked)
        forked = await self.end_of(ForkedProcess, "error")
        self.assertEqual((1, None), forked[0])
        self.assertIn("RuntimeError: on purpose", forked[2])

    @running
    async def test_signal(self) -> None:
        """A signal reaches it, and is how it ended; what it is sent before that arrives."""
        for line, signal, expected in ((b"a line\n", "", (0, None)), (b"", "KILL", (None, 9))):
            protocol = _Ended()
            process = self.start(ForkedProcess, ["line"], protocol)
            if line:
                process.write(line)
            else:
                process.signalProcess(signal)
            self.assertEqual(expected, await protocol.ended)
            self.assertEqual(line, protocol.output[1])

    @running
    async def test_ends_with_the_run(self) -> None:
        """The process that forks ends when nobody holds the other end of its socket any more."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        protocol = _Ended()
        command = [sys.executable, "-m", "tests.support.fork_parent", "3"]
        files = {0: "w", 1: "r", 2: "r", 3: theirs.fileno()}
        with ours, theirs:
            ForkedProcess(reactor, command[0], command, ENVIRONMENT, None, protocol, childFDs=files)
            theirs.close()
            ForkParent(ours)
        self.assertEqual((0, None), await protocol.ended)

    @running
    async def test_imports(self) -> None:
        """It has imported nothing that a daemon imports only when it listens, or with TLS."""
        options = ("--listen", "127.0.0.1:0")
        # Whatever cannot be known at the start is executed later.
        started, more = imported(self.folder, *options, then=[_IMPORT])
        self.assertIn("oci_registry.service", started)
        self.assertEqual({"runpy", "pkgutil"}, more - started)


class Workers(WorkersTestCase):
    """The process that forks the workers of a daemon that was forked."""

    def names(self, daemon: DaemonProcess) -> list[str]:
        """Return the names of the daemon's children, and of theirs."""
        pids = children(daemon.process.pid)
        return [Path(f"/proc/{pid}/cmdline").read_text().strip("\0") for pid in pids]

    @running
    async def test_forking(self) -> None:
        """It is there before it is needed, has its own files only, and is started when it has ended."""
        daemon, _ = await self.serve()
        forking, *workers = children(daemon.process.pid)
        expected = ["oci-registry: forking process", *(f"oci-registry: worker {n}" for n in (1, 2))]
        self.assertEqual(expected, self.names(daemon))
        files = Path(f"/proc/{forking}/fd")
        # Outputs, the connection to the daemon, the listening socket, and its own pipes.
        self.assertEqual({*map(str, range(9))}, {file.name for file in files.iterdir()})
        limits = Path(f"/proc/{forking}/limits").read_text()
        self.assertEqual(Path(f"/proc/{daemon.process.pid}/limits").read_text(), limits)
        self.kill(forking)
        again = b"2 workers accept connections"
        await until(lambda: daemon.output.count(again) == 2)
        self.assertFalse({forking, *workers} & {*children(daemon.process.pid)})
        self.assertEqual(expected, self.names(daemon))


class Which(SynchronousTestCase):
    """What can be forked."""

    def test_which(self) -> None:
        """The daemon and the commands, but for what shows, or is read before anything is imported."""
        command = [sys.executable, "-m", "oci_registry", "--listen", "127.0.0.1:0"]
        self.assertTrue(can_fork(command, ENVIRONMENT, {}))
        for other, environment, more in (
            (["/bin/sh", "-c", "exec oci-registry"], ENVIRONMENT, {}),
            ([sys.executable, "-c", "pass"], ENVIRONMENT, {}),
            ([*command, "--upstream-credentials", "{}"], ENVIRONMENT, {}),
            ([*command, "--listen", "ssl:0"], ENVIRONMENT, {}),
            ([*command, "--listen=haproxy:ssl:0"], ENVIRONMENT, {}),
            (command, {**ENVIRONMENT, "LISTEN": "[::]:0 ssl:0"}, {}),
            (command, {"PYTHONPATH": f"/elsewhere:{SOURCE}"}, {}),
            (command, {**ENVIRONMENT, "PYTHONUNBUFFERED": "1"}, {}),
            (command, {**ENVIRONMENT, "MALLOC_ARENA_MAX": "1"}, {}),
            (command, ENVIRONMENT, {"uid": 1}),
        ):
            self.assertFalse(can_fork(other, environment, more), (other, environment))

    def test_others(self) -> None:
        """Everything else is started, with all that is given."""
        started: list[Any] = []

        class Reactor:
            def spawnProcess(self, *args: Any, **more: Any) -> str:
                started.append((args, more))
                return "transport"

        command = ["/bin/true", "x"]
        self.assertEqual("transport", spawn(Reactor(), "protocol", command, {"A": "b"}, uid=1))
        expected = ("protocol", "/bin/true", command), {"env": {"A": "b"}, "uid": 1}
        self.assertEqual([expected], started)
