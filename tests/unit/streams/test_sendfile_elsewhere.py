"""A file that another process sends may be withdrawn meanwhile."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.interfaces import FilePart
from oci_registry.streams.sendfile import FileSender
from tests.unit.streams.test_sendfile import DATA, FakeSocket, FakeSource


class SharedSource(FakeSource):
    """A file that another process may send, until it is *withdrawn*."""

    withdrawn = False

    def part(self) -> FilePart | None:
        """Return where all of it is."""
        return None if self.withdrawn else FilePart(3, 0, len(DATA))

    def advance(self, count: int) -> None:
        """Count what was sent."""
        self.position += count


class Elsewhere(SynchronousTestCase):
    """Reports of the other process."""

    def test_withdrawn(self) -> None:
        """With the next report, it is read in place of being sent; that fails."""
        socket = FakeSocket()
        source = SharedSource(DATA, socket.bytes)
        sender = FileSender(source, socket, len(DATA))
        done = sender.start()
        sender.wrote_elsewhere(1000)
        self.assertIs(sender, socket.writer)
        source.withdrawn, source.error = True, ValueError("no")
        sender.wrote_elsewhere(1000)
        self.failureResultOf(done, ValueError)
        self.assertEqual((2000, None, 1), (sender.sent, socket.writer, source.closed))
