"""The forking process: imports what workers need, forks them, and replaces those that end.

It never imports or runs a reactor, so that each worker can have its own. It ends, with all workers,
when the core ends.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, field

from oci_registry.workers.messages import MAX_MESSAGE, pack, unpack
from oci_registry.workers.packets import close_all, receive, send, socket_pair
from oci_registry.workers.restarts import Restarts

CONTROL = 3
"""The descriptor of the connection to the core; the listening sockets follow it."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

RunWorker = Callable[[int, socket.socket, int, Sequence[socket.socket]], None]
"""Runs a worker: its number, its connection to the core, a pipe that ends with this process, sockets."""


@define
class _Worker:
    """A worker, running or to be started: *due* is when it is started, None while it runs."""

    number: int
    restarts: Restarts = field(factory=Restarts)
    pid: int = 0
    began: float = 0.0
    due: float | None = 0.0


class ForkingProcess:
    """Keeps *count* workers running until the core stops them, or ends."""

    def __init__(
        self,
        control: socket.socket,
        listening: Sequence[socket.socket],
        count: int,
        run_worker: RunWorker,
    ) -> None:
        self._control = control
        self._listening = listening
        self._run_worker = run_worker
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._stopping = False
        self._orphaned = False
        # Workers end when no process has the other end open.
        self._life, self._held = os.pipe()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)

    def run(self) -> None:
        """Run until all workers have ended after `stop`, or until the core ends."""
        for ignored in _IGNORED:
            signal.signal(ignored, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while not self._orphaned and not (self._stopping and not self._running()):
            self._fork_due()
            for number, _ in poll.poll(self._timeout()):
                if number == self._control.fileno():
                    self._listen_to_core()
                else:
                    with suppress(BlockingIOError):
                        os.read(self._woken, 4096)
            self._reap()
        self._kill()

    def _running(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.pid]

    def _timeout(self) -> float | None:
        """Return the milliseconds until the next worker is started; None if none is."""
        due = [worker.due for worker in self._workers if worker.due is not None]
        if not due or self._stopping:
            return None
        return max(0.0, min(due) - time.monotonic()) * 1000 + 1

    def _listen_to_core(self) -> None:
        try:
            data, descriptors = receive(self._control)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", ()
        close_all(descriptors)
        if not data:
            self._orphaned = True
        elif unpack(data).kind == "stop":
            self._stopping = True
            for each in self._listening:
                each.close()

    def _fork_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.due is not None and worker.due <= now and not self._stopping:
                self._fork(worker)

    def _fork(self, worker: _Worker) -> None:
        worker.began, worker.due = time.monotonic(), None
        try:
            ours, theirs = socket_pair()
        except OSError as error:
            self._not_started(worker, error)
            return
        try:
            worker.pid = os.fork()
        except OSError as error:
            self._not_started(worker, error)
        else:
            if worker.pid == 0:
                ours.close()
                self._be(worker, theirs)
            self._tell("forked", ours.fileno(), worker=worker.number, pid=worker.pid)
        ours.close()
        theirs.close()

    def _not_started(self, worker: _Worker, error: OSError) -> None:
        self._ended(worker, f"could not be started: {error.strerror}")

    def _be(self, worker: _Worker, link: socket.socket) -> None:
        """Become a worker; never returns."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._control.close()
            for number in (self._held, self._woken, self._wake):
                os.close(number)
            gc.enable()
            self._run_worker(worker.number, link, self._life, self._listening)
            status = 0
        except BaseException:
            text = traceback.format_exc()[-MAX_MESSAGE // 2 :]
            with suppress(OSError):
                send(link, pack("log", level="critical", text=text))
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Take note of workers that have ended."""
        for worker in self._running():
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._ended(worker, _described(os.waitstatus_to_exitcode(status)))

    def _ended(self, worker: _Worker, how: str) -> None:
        now = time.monotonic()
        wait = worker.restarts.ended(now - worker.began)
        pid, worker.pid, worker.due = worker.pid, 0, now + wait
        self._tell("ended", worker=worker.number, pid=pid, how=how, wait=wait)

    def _tell(self, kind: str, *descriptors: int, **fields: Any) -> None:
        # A message that the core does not accept is lost; the next poll shows whether the core has ended.
        with suppress(OSError):
            send(self._control, pack(kind, **fields), *descriptors)

    def _kill(self) -> None:
        for worker in self._running():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGKILL)


def _described(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def without_tls() -> None:
    """Make later imports of OpenSSL fail, as if it were not installed: workers need no TLS.

    That saves 10 MiB in each worker.
    """
    for name in ("OpenSSL", "cryptography"):
        sys.modules[name] = None  # type: ignore[assignment]


def main(arguments: Sequence[str]) -> None:
    """Run the forking process. *arguments*: the options of the workers as JSON."""
    options = json.loads(arguments[0])
    gc.disable()
    without_tls()
    # Only after imports of OpenSSL are disabled.
    from oci_registry.workers import worker  # noqa: PLC0415
    from oci_registry.workers.options import WorkerOptions  # noqa: PLC0415

    def run_worker(
        number: int, link: socket.socket, life: int, listening: Sequence[socket.socket]
    ) -> None:
        worker.run(number, link, life, listening, WorkerOptions(**options["worker"]))

    control = socket.socket(fileno=CONTROL)
    control.setblocking(False)
    listening = [socket.socket(fileno=CONTROL + 1 + index) for index in range(options["listening"])]
    process = ForkingProcess(control, listening, options["workers"], run_worker)
    worker.name_process("oci-registry: forking process")
    gc.collect()
    # Imported objects stay in memory pages that all processes share.
    gc.freeze()
    process.run()


if __name__ == "__main__":
    main(sys.argv[1:])
