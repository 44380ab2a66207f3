"""Parts of files that a worker sends for the main process."""

from __future__ import annotations

import os
import socket
from typing import Any, cast
from unittest.mock import patch

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers import page_cache
from oci_registry.streams.interfaces import FilePart, SharedWriter
from oci_registry.web.transports import FileTransport
from oci_registry.workers.delegation import Delegations
from oci_registry.workers.messages import Message, pack, unpack
from oci_registry.workers.sending import LEAST, PROGRESS, PartSender, pack_part

SIZE = 3_000_000


class Sending(SynchronousTestCase):
    """A worker that sends a file to a socket. *cached*: how much of it is in the page cache."""

    def setUp(self) -> None:
        self.cached = SIZE
        self.data = os.urandom(SIZE)
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(self.data)
        self.reactor = MemoryReactorClock()
        self.reports: list[tuple[int, bool]] = []
        self.near, far = socket.socketpair()
        self.addCleanup(self.near.close)
        far.setblocking(False)
        self.near.setblocking(False)
        resident = patch.object(page_cache, "resident", self.resident)
        resident.start()
        self.addCleanup(resident.stop)
        self.file = os.open(path, os.O_RDONLY)
        self.socket = far.detach()

    def resident(self, _: int, offset: int, length: int) -> int:
        return max(0, min(length, self.cached - offset))

    def send(self, offset: int, length: int) -> PartSender:
        message = unpack(pack_part(1, offset, length))
        return PartSender(
            self.socket,
            self.file,
            message,
            lambda *report: self.reports.append(report),
            self.reactor,
        )

    def receive(self, sender: PartSender) -> bytes:
        """Read until the sender has ended."""
        got = bytearray()
        while sender.fileno() >= 0:
            sender.doWrite()
            try:
                while data := self.near.recv(1 << 20):
                    got += data
            except BlockingIOError:
                continue
        return bytes(got)

    def closed(self) -> bool:
        """Whether both descriptors are closed, and nothing is left in the reactor."""
        for descriptor in (self.socket, self.file):
            self.assertRaises(OSError, os.fstat, descriptor)
        return not (self.reactor.writers or self.reactor.getDelayedCalls())

    def test_all(self) -> None:
        """All bytes of the part are sent and reported, and the descriptors are closed."""
        got = self.receive(self.send(5, SIZE - 10))
        self.assertTrue(got == self.data[5:-5])
        self.assertEqual([(SIZE - 10, True)], self.reports)
        self.assertTrue(self.closed())

    def test_not_cached(self) -> None:
        """What is not in the page cache is left to the main process."""
        self.cached = 1_500_000
        got = self.receive(self.send(0, SIZE))
        self.assertTrue(got == self.data[:1_500_000])
        self.assertEqual([(1_500_000, True)], self.reports)

    def test_client_leaves(self) -> None:
        """When the client has left, it ends; the main process finds out why."""
        self.near.close()
        sender = self.send(0, SIZE)
        sender.doWrite()
        sender.doWrite()
        self.assertEqual([(0, True)], self.reports)
        self.assertTrue(self.closed())

    def test_progress(self) -> None:
        """What a slow client has read so far is reported once in a while."""
        sender = self.send(0, SIZE)
        sender.doWrite()
        self.assertEqual([], self.reports)
        self.reactor.advance(PROGRESS)
        ((count, last),) = self.reports
        self.assertTrue(0 < count < SIZE and not last)
        # The socket takes nothing more.
        sender.doWrite()
        sender.doWrite()
        self.reactor.advance(100)
        self.receive(sender)
        self.assertEqual(
            (SIZE, True), (sum(count for count, _ in self.reports), self.reports[-1][1])
        )

    def test_end(self) -> None:
        """Ended early, it reports what it has sent, once."""
        sender = self.send(0, SIZE)
        sender.doWrite()
        sender.end()
        sender.end()
        ((count, last),) = self.reports
        self.assertTrue(0 < count < SIZE and last)
        self.assertTrue(self.closed())

    def test_stop(self) -> None:
        """Stopped, it sends and reports nothing more."""
        sender = self.send(0, SIZE)
        sender.doWrite()
        sender.stop()
        sender.stop()
        sender.doWrite()
        self.assertEqual([], self.reports)
        self.assertTrue(self.closed())


class Writer:
    """A writer that has so many bytes left, and takes note of what is written elsewhere."""

    def __init__(self, left: int, offset: int | None = 7) -> None:
        self.left = left
        self.offset = offset
        self.written = 0

    def part(self) -> FilePart | None:
        return None if self.offset is None else FilePart(0, self.offset, self.left)

    def wrote_elsewhere(self, count: int) -> None:
        self.written += count


class Transport:
    """A connection that is aborted, or gets its writer back."""

    aborted = False
    back = 0

    def fileno(self) -> int:
        return 1

    def abortConnection(self) -> None:
        self.aborted = True

    def returned(self) -> None:
        self.back += 1


class Delegating(SynchronousTestCase):
    """The main process, which has a worker send."""

    def setUp(self) -> None:
        self.sent: list[tuple[Message, tuple[int, ...]]] = []
        self.delegations = Delegations(self.send)
        self.transport, self.writer = Transport(), Writer(LEAST)

    def send(self, message: bytes, *descriptors: int) -> None:
        self.sent.append((unpack(message), descriptors))

    def begin(self, writer: Writer | None = None) -> Any:
        return self.delegations.begin(
            cast(FileTransport, self.transport), cast(SharedWriter, writer or self.writer)
        )

    def report(self, number: int, count: int, *, last: bool) -> None:
        message = pack("sent", number=number, count=count, last=last)
        self.delegations.reported(unpack(message))

    def test_worth_it(self) -> None:
        """Small parts, and what is in no file, are sent here."""
        self.assertIsNone(self.begin(Writer(LEAST - 1)))
        self.assertIsNone(self.begin(Writer(LEAST, None)))
        self.assertEqual([], self.sent)

    def test_sent(self) -> None:
        """The worker gets both descriptors; its reports are counted, the last one ends it."""
        self.begin()
        ((message, descriptors),) = self.sent
        self.assertEqual({"number": 0, "offset": 7, "length": LEAST}, message.fields)
        self.assertEqual((1, 0), descriptors)
        self.report(0, 5, last=False)
        self.assertEqual(
            (5, 0, 1), (self.writer.written, self.transport.back, len(self.delegations))
        )
        self.report(0, 6, last=True)
        self.assertEqual(
            (11, 1, 0), (self.writer.written, self.transport.back, len(self.delegations))
        )

    def test_recalled(self) -> None:
        """After a recall, reports that were on their way change nothing."""
        recall = self.begin()
        recall()
        recall()
        self.assertEqual(["send", "unsend"], [message.kind for message, _ in self.sent])
        self.report(0, 5, last=True)
        self.assertEqual((0, 0), (self.writer.written, self.transport.back))

    def test_recalled_by_the_report(self) -> None:
        """A writer may end it while a report is counted, also the last one."""
        for last in (False, True):
            recall = self.begin()
            self.patch(self.writer, "wrote_elsewhere", lambda _, recall=recall: recall())
            self.report(self.sent[-1][0].fields["number"], 5, last=last)
            self.assertEqual((0, 0), (self.transport.back, len(self.delegations)))

    def test_cut(self) -> None:
        """The worker ends what must not be sent any more, and says how much it has sent; the rest goes on."""
        corrupt = Writer(LEAST)
        self.begin()
        self.begin(corrupt)
        self.delegations.cut()
        self.assertEqual(2, len(self.sent))
        corrupt.offset = None
        self.delegations.cut()
        (message, _) = self.sent[-1]
        self.assertEqual(("cut", {"number": 1}), (message.kind, message.fields))
        self.report(1, 5, last=True)
        self.assertEqual((5, 1, 1), (corrupt.written, self.transport.back, len(self.delegations)))

    def test_cut_when_the_worker_is_gone(self) -> None:
        """That a worker has ended may be noticed just then: all its connections are aborted."""
        for _ in range(2):
            self.begin(Writer(LEAST))
        for _, writer in self.delegations._running.values():
            cast(Writer, writer).offset = None
        self.patch(self.delegations, "_send", lambda _: self.delegations.abort())
        self.delegations.cut()
        self.assertEqual((True, 0), (self.transport.aborted, len(self.delegations)))

    def test_worker_gone(self) -> None:
        """When the worker is gone, the connections that it was sending on are aborted."""
        self.begin()
        self.delegations.abort()
        self.assertEqual((True, 0), (self.transport.aborted, len(self.delegations)))
