"""The core's end of the connection to one worker."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from attrs import frozen
from twisted.logger import Logger, LogLevel

from oci_registry.log_output import Output
from oci_registry.metrics import Metrics
from oci_registry.streams.interfaces import SharedWriter
from oci_registry.streams.recent import RecentTable
from oci_registry.web.channel import RegistryChannel
from oci_registry.web.ready.entries import Entry
from oci_registry.web.site import RegistrySite
from oci_registry.web.transports import FileTransport
from oci_registry.workers.connection import adopt
from oci_registry.workers.delegation import Delegations
from oci_registry.workers.handed import HandedConnection
from oci_registry.workers.leases import LEASE, MOST_LENT, Lender, Loan, pack_lease
from oci_registry.workers.messages import Message, pack
from oci_registry.workers.packets import Packets, close_all


class AllWorkers(Protocol):
    """The part of `WorkerProcesses` that a link uses."""

    def ready(self, link: WorkerLink) -> None:
        """Take note that the worker accepts connections."""

    def lost(self, link: WorkerLink) -> None:
        """Take note that the worker has ended."""

    def place_for(self, link: WorkerLink) -> WorkerLink | None:
        """Return the worker for a connection that came from *link*; None if there is none."""


@frozen
class Shared:
    """The objects that the links to all workers share.

    *site*: gets connections that workers hand over. *output*: that of the access log. *lender*: None if no
    answers are lent.
    """

    site: RegistrySite
    metrics: Metrics
    output: Output
    lender: Lender | None

    _log = Logger()

    def write(self, lines: bytes, dropped: int) -> None:
        """Write lines of the access log of a worker."""
        if dropped:
            self._log.warn(
                "{lines} lines of the access log of a worker were dropped", lines=dropped
            )
        # As in the access log: the disk is full, or the reader of the log has gone.
        with suppress(OSError, ValueError):
            self.output.write(lines.decode("ascii"))
            self.output.flush()


class WorkerLink:
    """Takes connections from worker *number*, and returns them between two requests."""

    _log = Logger()

    def __init__(
        self,
        number: int,
        connection: socket.socket,
        shared: Shared,
        workers: AllWorkers,
        reactor: Any,
    ) -> None:
        self._number = number
        self._shared = shared
        self._site = shared.site
        self._reactor = reactor
        self._workers = workers
        self._lent: RecentTable[bytes, tuple[Entry, float]] = RecentTable(
            MOST_LENT, MOST_LENT, lambda *_: 1
        )
        self.connections = 0
        """The number of connections that the worker itself has."""
        self._cpu = 0.0
        self._delegations = Delegations(self._send)
        self._packets = Packets(connection, reactor, self._received, self._lost)

    def _send(self, message: bytes, *descriptors: int) -> None:
        self._packets.send(message, *descriptors)

    def _delegate(
        self, transport: FileTransport, writer: SharedWriter
    ) -> Callable[[], None] | None:
        """Let the least busy worker send the data of a writer."""
        link = self._workers.place_for(self)
        return None if link is None else link.begin(transport, writer)

    def begin(self, transport: FileTransport, writer: SharedWriter) -> Callable[[], None] | None:
        """Let this worker send the data of a writer."""
        return self._delegations.begin(transport, writer)

    def cut(self) -> None:
        """Have this worker end what must not be sent any more."""
        self._delegations.cut()

    def recall(self) -> None:
        """Have this worker send none of the answers that it has been lent any more."""
        self._lent.clear()
        self._packets.send(pack("recall"))

    @property
    def load(self) -> int:
        """The number of connections that the worker has or sends on."""
        return self.connections + len(self._delegations)

    @property
    def open(self) -> bool:
        """Whether the worker is connected."""
        return self._packets.open

    def close_clients(self, grace: float) -> None:
        """Make the worker close all connections, within *grace* seconds, and end."""
        self._packets.send(pack("close", grace=grace))

    def close(self) -> None:
        """Close the connection, with which the worker ends."""
        self._packets.close()

    def _lost(self) -> None:
        self._delegations.abort()
        self._shared.metrics.worker_usage.gone(self._number)
        self._workers.lost(self)

    def _received(self, message: Message, descriptors: Sequence[int]) -> None:
        match message.kind, descriptors:
            case "hand", [connection]:
                self._handed(message, connection)
            case "hand", []:
                # Too many open files here: the kernel has closed the connection.
                self._one_less()
            case "count", []:
                self._counted(message)
            case "sent", []:
                self._delegations.reported(message)
            case "lines", []:
                self._shared.write(message.payload, int(message.fields["dropped"]))
            case "log", []:
                self._logged(message)
            case "ready", []:
                self._workers.ready(self)
            case _:
                close_all(descriptors)
                raise ValueError(f"an unknown message: {message.kind}")

    def _counted(self, message: Message) -> None:
        fields = message.fields
        self.connections = int(fields["connections"])
        before, self._cpu = self._cpu, float(fields["cpu"])
        memory = None if fields["memory"] is None else int(fields["memory"])
        self._shared.metrics.worker_usage.used(self._number, max(0.0, self._cpu - before), memory)
        for route, method, status, times in fields["responses"]:
            for _ in range(times):
                self._shared.metrics.response(route, method, status, 0.0)
        for target, times in fields["uses"]:
            if self._shared.lender is not None:
                self._shared.lender.used(target.encode("latin-1"), times)

    def _logged(self, message: Message) -> None:
        level = LogLevel.lookupByName(str(message.fields["level"]))
        self._log.emit(
            level,
            "worker {worker}: {text}",
            worker=self._number,
            text=str(message.fields["text"]),
        )

    def _one_less(self) -> None:
        # A connection that was accepted since the last report is not counted yet.
        self.connections = max(0, self.connections - 1)

    def _handed(self, message: Message, descriptor: int) -> None:
        self._one_less()
        family = int(message.fields["family"])
        build = partial(self._site.buildProtocol, None)
        transport = adopt(descriptor, family, build, self._reactor)
        if transport is None:
            return
        if self._shared.lender is not None:
            transport.delegate = partial(self._delegate, transport)
        cast(RegistryChannel, transport.protocol).begun = bool(message.fields["begun"])
        handed = HandedConnection(transport, family, self._give_back, self._lend)
        handed.received(message.payload)

    def _give_back(self, transport: FileTransport, family: int, target: bytes) -> bool:
        """Give a connection to a worker if that can be lent the answer for a target."""
        lender = self._shared.lender
        loan = None if lender is None or self._site.closing else lender.lend(target)
        link = None if loan is None else self._workers.place_for(self)
        if loan is None or link is None:
            return False
        return link.take(transport.fileno(), family, loan)

    def _lend(self, target: bytes) -> None:
        """Lend this worker the answer for a target, if there is one."""
        lender = self._shared.lender
        loan = None if lender is None or self._site.closing else lender.lend(target)
        if loan is not None:
            self._has(loan)

    def _has(self, loan: Loan) -> bool:
        """Lend this worker an answer unless it has it; return whether that is possible."""
        entry, until = self._lent.peek(loan.target) or (None, 0.0)
        # A later end is one from before the clock was set back, which the worker no longer accepts.
        if loan.entry is not entry or not loan.until - LEASE / 2 <= until <= loan.until:
            message = pack_lease(loan)
            if message is None:
                return False
            self._lent.put(loan.target, (loan.entry, loan.until))
            self._packets.send(message)
        return True

    def take(self, descriptor: int, family: int, loan: Loan) -> bool:
        """Pass a connection to this worker, and lend it an answer; return whether that is possible."""
        if not self._has(loan):
            return False
        self.connections += 1
        self._packets.send(pack("back", family=family), descriptor)
        return True
