"""Messages between processes when there are no descriptors left."""

from __future__ import annotations

import os
import socket
from unittest.mock import patch

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.workers.packets import Packets, receive, socket_pair
from tests.support.descriptors import open_descriptors


class WithoutDescriptors(SynchronousTestCase):
    """One end of a connection, which its other end does not read."""

    def setUp(self) -> None:
        self.opened = open_descriptors()
        ours, self.theirs = socket_pair()
        self.packets = Packets(
            ours, MemoryReactorClock(), lambda *_: None, lambda: self.fail("the connection is lost")
        )
        self.addCleanup(self.theirs.close)
        self.addCleanup(self.packets.close)

    def received(self) -> list[tuple[bytes, int]]:
        """Return what has come at the other end: messages, and the number of their descriptors."""
        found: list[tuple[bytes, int]] = []
        while True:
            try:
                data, descriptors = receive(self.theirs)
            except BlockingIOError:
                return found
            for descriptor in descriptors:
                os.close(descriptor)
            found.append((data, len(descriptors)))

    def test_waiting_message(self) -> None:
        """One that has to wait goes without its descriptors, in its order; none of them stays open."""
        while not self.packets.waiting:
            self.packets.send(b"filler")
        real, copies = os.dup, iter([True, False, True])

        def dup(number: int) -> int:
            if not next(copies):
                raise OSError(24, "Too many open files")
            return real(number)

        one, other = socket.socketpair()
        with one, other, patch.object(os, "dup", dup):
            self.packets.send(b"two", one.fileno(), other.fileno())
            self.packets.send(b"one", one.fileno())
        before = self.received()
        self.assertEqual({(b"filler", 0)}, set(before))
        self.packets.doWrite()
        self.assertEqual([(b"filler", 0), (b"two", 0), (b"one", 1)], self.received())
        self.packets.close()
        self.theirs.close()
        self.assertEqual(self.opened, open_descriptors())
