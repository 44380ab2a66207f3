"""A worker: accepts connections, answers what needs no decision, and hands the rest to the core."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet import epollreactor
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from oci_registry.logs import build_access_log
from oci_registry.streams.garbage import keep_for_good
from oci_registry.web.polling import make_poller
from oci_registry.web.ready.table import ReadyAnswers, ReadyLimits
from oci_registry.workers.accepting import Acceptor
from oci_registry.workers.connection import WorkerConnection, adopt
from oci_registry.workers.leases import Borrower, unpack_lease
from oci_registry.workers.messages import MAX_MESSAGE, Message, pack
from oci_registry.workers.options import WorkerOptions
from oci_registry.workers.packets import Packets, close_all
from oci_registry.workers.reports import Lines, Reports, Responses
from oci_registry.workers.sending import PartSender

IDLE_CHECK = 10.0
"""Seconds between two checks for connections that were idle for too long."""
MAX_WAITING = 64
"""Messages that may wait for the core before lines of the access log are dropped."""
LIMITS = ReadyLimits(entries=1000, size=4 * 1024 * 1024)
"""The limits of the answers that a worker keeps."""
MAX_TEXT = MAX_MESSAGE // 8
"""The maximum length in characters of an event that is sent to the core's log."""


class Worker:
    """One worker; runs until the core stops it, or ends."""

    def __init__(
        self,
        number: int,
        link: socket.socket,
        listening: Sequence[socket.socket],
        options: WorkerOptions,
        reactor: Any,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._connections: set[WorkerConnection] = set()
        self._sending: dict[int, PartSender] = {}
        self.closing = False
        self.poller = make_poller(reactor)
        self._stopping = False
        self._link = Packets(link, reactor, self._received, self._stop)
        self._responses = Responses()
        lines = Lines(self._link.send, self._has_room, number, options.access_log)
        self._access_log = build_access_log(options.access_log, lines, reactor)
        self._answers = ReadyAnswers(reactor, self._access_log, self._responses, LIMITS)
        self._borrower = Borrower(self._answers, reactor.seconds)
        self._reports = Reports(
            self._link.send,
            self._responses,
            self._borrower.uses,
            self._connections.__len__,
            reactor,
        )
        self._acceptors = [Acceptor(each, reactor, self._accepted) for each in listening]
        self._check = LoopingCall(self._close_idle)
        self._check.clock = reactor
        self._check.start(IDLE_CHECK, now=False)
        self._link.send(pack("ready"))
        self._reports.changed()

    def now(self) -> float:
        """Return the time in seconds."""
        seconds: float = self._reactor.seconds()
        return seconds

    def log(self, event: LogEvent) -> None:
        """Send an event to the core, which writes the log."""
        text = formatEvent(event)
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            text = f"{text}\n{failure.getTraceback()}"
        level = getattr(event.get("log_level"), "name", "error")
        self._link.send(pack("log", level=level, text=text[-MAX_TEXT:]))

    def _accepted(self, connection: socket.socket) -> None:
        family = connection.family
        self._take(connection.detach(), family, begun=False)

    def _take(self, descriptor: int, family: int, *, begun: bool) -> None:
        adopt(descriptor, family, partial(self._build, begun=begun), self._reactor)

    def _build(self, *, begun: bool) -> WorkerConnection | None:
        return None if self.closing else WorkerConnection(self, begun=begun)

    def connected(self, connection: WorkerConnection) -> None:
        """Add a connection."""
        self._connections.add(connection)
        self._reports.changed()

    def disconnected(self, connection: WorkerConnection) -> None:
        """Remove a connection; stop after the last one if the worker is closing."""
        self._connections.discard(connection)
        self._reports.changed()
        self._stop_if_done()

    def _has_room(self) -> bool:
        return self._link.waiting < MAX_WAITING

    def answer(self, request: bytes, client: str) -> tuple[bytes, bool] | None:
        """Return the response to a request of a *client*, and whether it is the last one of the connection.

        None if the core has to answer it.
        """
        response = None if self.closing else self._answers.respond(request, client)
        if response is not None:
            self._reports.changed()
        return response

    def hand_over(self, connection: WorkerConnection, received: bytes) -> None:
        """Hand a connection, and what was received on it, to the core."""
        transport = connection.transport
        family = int(transport.socket.family)
        message = pack("hand", received, family=family, begun=connection.begun)
        self._link.send(message, transport.fileno())
        transport.detach()

    def _received(self, message: Message, descriptors: Sequence[int]) -> None:
        match message.kind, descriptors:
            case "back", [connection]:
                self._take(connection, int(message.fields["family"]), begun=True)
            case "back", []:
                # Too many open files here: the kernel has closed the connection.
                self._reports.changed()
            case "send", [connection, file]:
                self._send_part(message, connection, file)
            case "send", _:
                # Too many open files here: the kernel has dropped descriptors.
                close_all(descriptors)
                self._link.send(pack("sent", number=message.fields["number"], count=0, last=True))
            case "unsend", []:
                sender = self._sending.pop(int(message.fields["number"]), None)
                if sender is not None:
                    sender.stop()
                self._stop_if_done()
            case "cut", []:
                sender = self._sending.get(int(message.fields["number"]))
                if sender is not None:
                    sender.end()
            case "lease", []:
                self._borrower.borrow(unpack_lease(message))
            case "recall", []:
                self._borrower.give_back()
            case "close", []:
                self._close(float(message.fields["grace"]))
            case _:
                close_all(descriptors)
                raise ValueError(f"an unknown message: {message.kind}")

    def _send_part(self, message: Message, connection: int, file: int) -> None:
        number = int(message.fields["number"])

        def report(count: int, last: bool) -> None:
            self._link.send(pack("sent", number=number, count=count, last=last))
            self._reports.changed()
            if last:
                del self._sending[number]
                self._stop_if_done()

        self._sending[number] = PartSender(connection, file, message, report, self._reactor)

    def _stop_if_done(self) -> None:
        if self.closing and not self._connections and not self._sending:
            self._stop()

    def _close(self, grace: float) -> None:
        """Close idle connections now, busy ones after their response, and all after *grace* seconds."""
        self.closing = True
        for acceptor in self._acceptors:
            acceptor.close()
        self._stop_if_done()
        self._reactor.callLater(grace, self._abort)
        for connection in list(self._connections):
            connection.close_when_idle()

    def _abort(self) -> None:
        for connection in list(self._connections):
            connection.transport.abortConnection()
        for sender in self._sending.values():
            sender.stop()
        self._sending.clear()
        self._stop_if_done()

    def _close_idle(self) -> None:
        now = self.now()
        for connection in list(self._connections):
            silent = now - connection.last
            if connection.busy and silent > self._options.linger:
                connection.transport.abortConnection()
            elif silent > self._options.idle:
                connection.close_when_idle()

    def _stop(self) -> None:
        """Stop the reactor, which may not have been started yet."""
        if not self._stopping:
            self._stopping = True
            self._access_log.stop()
            self._reports.send()
            self._reactor.callWhenRunning(self._reactor.stop)


@implementer(ILogObserver)
@frozen
class _Observer:
    """Passes log events on to the worker."""

    _log: Callable[[LogEvent], None]

    def __call__(self, event: LogEvent) -> None:
        self._log(event)


@implementer(IReadDescriptor)
class _Life:
    """A pipe that ends with the forking process; then this process ends too."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return how the reactor calls this in its log."""
        return "forking process"

    def doRead(self) -> None:
        """The pipe has ended: nobody ever writes to it."""
        os._exit(1)

    def connectionLost(self, reason: Failure) -> None:
        """The pipe has ended."""
        os._exit(1)


def run(
    number: int,
    link: socket.socket,
    life: int,
    listening: Sequence[socket.socket],
    options: WorkerOptions,
) -> None:
    """Run worker *number* until the core stops it. *life*: a pipe that ends with the forking process."""
    name_process(f"oci-registry: worker {number}")
    reactor: Any = epollreactor.EPollReactor()
    reactor.addReader(_Life(life))
    worker = Worker(number, link, listening, options, reactor)
    least = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    observer = FilteringLogObserver(_Observer(worker.log), [least])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)
    # Otherwise the collector would traverse the tables of answers and lines, each entry of them.
    reactor.callWhenRunning(keep_for_good)
    reactor.run(installSignalHandlers=False)


def name_process(name: str) -> None:
    """Name this process in the list of processes."""
    from setproctitle import setproctitle  # noqa: PLC0415 - it may touch what the process shows

    setproctitle(name)
