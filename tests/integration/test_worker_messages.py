"""Messages and descriptors over the sockets between processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from oci_registry.workers.messages import Message, pack
from oci_registry.workers.packets import Packets, close_all, send, socket_pair
from tests.support.daemon import reactor, running, until
from tests.support.descriptors import open_descriptors


class Sockets(TestCase):
    """Two ends in one process."""

    def setUp(self) -> None:
        self.got: list[Message] = []
        self.files: list[int] = []
        self.lost: Deferred[None] = Deferred()
        self.near, self.far = socket_pair()
        self.addCleanup(self.near.close)
        self.receiver = Packets(self.far, reactor, self.take, lambda: self.lost.callback(None))
        self.addCleanup(self.receiver.close)

    def take(self, message: Message, descriptors: Sequence[int]) -> None:
        self.got.append(message)
        self.files.extend(descriptors)
        if message.kind == "bad":
            raise ValueError("bad")

    async def opened(self) -> int:
        """Return how many descriptors are open while the reactor runs, without those of earlier tests."""
        await deferLater(reactor, 0)
        return open_descriptors()

    @running
    async def test_many(self) -> None:
        """More than the socket takes at once waits, and arrives in order, each with its descriptor."""
        before = await self.opened()
        sender = Packets(self.near, reactor, self.take, lambda: None)
        for number in range(300):
            reading, writing = os.pipe()
            os.write(writing, b"%d" % number)
            os.close(writing)
            sender.send(pack("file", bytes(number * 100), number=number), reading)
            os.close(reading)
        self.assertGreater(sender.waiting, 0)
        await until(lambda: len(self.got) == 300)
        self.assertEqual(list(range(300)), [message.fields["number"] for message in self.got])
        for number, descriptor in enumerate(self.files):
            self.assertEqual(b"%d" % number, os.read(descriptor, 10))
            self.assertFalse(os.get_inheritable(descriptor))
        close_all(self.files)
        self.assertEqual(before, open_descriptors())
        sender.close()
        await self.lost

    @running
    async def test_malformed(self) -> None:
        """A malformed message is logged, its descriptors are closed, and others still arrive."""
        before = await self.opened()
        reading, writing = os.pipe()
        send(self.near, b"nonsense", reading, writing)
        send(self.near, pack("bad"))
        send(self.near, pack("good"))
        close_all((reading, writing))
        await until(lambda: len(self.got) == 2)
        self.assertEqual(before, open_descriptors())
        self.assertEqual(2, len(self.flushLoggedErrors(ValueError)))

    @running
    async def test_end(self) -> None:
        """The end of the other process is noticed once; then nothing is sent any more."""
        self.near.close()
        await self.lost
        self.receiver.send(pack("late"))
        self.assertEqual((False, 0), (self.receiver.open, self.receiver.waiting))
        self.assertEqual(-1, self.receiver.fileno())

    def test_close(self) -> None:
        """What waits when an end is closed is dropped, with its descriptors."""
        before = open_descriptors()
        near, far = socket_pair()
        sender = Packets(near, reactor, self.take, lambda: None)
        reading, writing = os.pipe()
        for _ in range(300):
            sender.send(pack("file", bytes(50_000)), reading)
        sender.close()
        sender.close()
        far.close()
        close_all((reading, writing))
        self.assertEqual(before, open_descriptors())

    def test_family(self) -> None:
        """Nobody can connect to such a socket: it has no name."""
        for end in (self.near, self.far):
            self.assertEqual((socket.AF_UNIX, ""), (end.family, end.getsockname()))
