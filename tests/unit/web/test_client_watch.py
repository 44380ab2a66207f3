"""Clients that stop reading without leaving, and headers that do not wait for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from attrs import define

from oci_registry.web.client_watch import ClientWatch, ClientWatchLimits
from oci_registry.web.site import RegistryRequest
from tests.unit.web.support import Connection, WebTestCase

LIMITS = ClientWatchLimits()


@define(eq=False)
class FakeSender:
    """What is looked at of a sender."""

    sent: int = 0
    paused: bool = False


class Watching(WebTestCase):
    """`ClientWatch` and its clock."""

    def setUp(self) -> None:
        super().setUp()
        self.requests: list[RegistryRequest] = []
        self.serve(self.requests.append)
        self.watch = ClientWatch(self.clock)
        self.watch.start()
        self.addCleanup(self.watch.stop)

    def tearDown(self) -> None:
        self.watch.stop()
        super().tearDown()

    @contextmanager
    def watched(self, waited: float = 0.0) -> Iterator[tuple[FakeSender, Connection]]:
        connection = self.ask("/x")
        sender = FakeSender()
        with self.watch.watch(sender, self.requests[-1], waited):  # type: ignore[arg-type]
            yield sender, connection

    def test_client_that_reads(self) -> None:
        """A client that takes something now and then is kept for as long as it takes."""
        with self.watched() as (sender, connection):
            sender.paused = True
            for _ in range(20):
                self.clock.advance(LIMITS.reading)
                sender.sent += 1
            self.assertFalse(connection.transport.aborted)

    def test_client_that_does_not_read(self) -> None:
        """A client that takes nothing for one whole round is cut off."""
        with self.watched() as (sender, connection):
            sender.paused, sender.sent = True, 1000
            self.clock.advance(LIMITS.reading)
            self.assertFalse(connection.transport.aborted)
            self.clock.advance(LIMITS.reading)
            self.assertTrue(connection.transport.aborted)

    def test_client_that_waits_for_us(self) -> None:
        """A client that has taken all there is, and waits for more, is not to blame."""
        with self.watched() as (sender, connection):
            sender.sent = 1000
            self.clock.advance(LIMITS.reading * 5)
            self.assertFalse(connection.transport.aborted)

    def test_only_while_it_lasts(self) -> None:
        """A response that has ended is no longer looked at."""
        with self.watched() as (sender, connection):
            sender.paused = True
        for _ in range(3):
            self.clock.advance(LIMITS.reading)
        self.assertFalse(connection.transport.aborted)

    def test_many(self) -> None:
        """One client that does not read costs the others nothing."""
        with ExitStack() as stack:
            watched = [stack.enter_context(self.watched()) for _ in range(3)]
            watched[1][0].paused = True
            self.clock.advance(LIMITS.reading)
            self.clock.advance(LIMITS.reading)
            aborted = [connection.transport.aborted for _, connection in watched]
        self.assertEqual([False, True, False], aborted)

    def test_headers(self) -> None:
        """Headers leave after a moment, once, without a body."""
        with self.watched() as (_, connection):
            self.clock.advance(LIMITS.headers - 1)
            self.assertEqual(b"", connection.got)
            self.clock.advance(2)
            self.assertTrue(connection.got.endswith(b"\r\n\r\n"))
            got = connection.got
            self.clock.advance(LIMITS.headers * 3)
            self.assertEqual(got, connection.got)

    def test_headers_after_a_wait(self) -> None:
        """Seconds that have been waited before count."""
        for waited, left in ((3.0, 2.0), (LIMITS.headers, 0.0), (7.0, 0.0)):
            with self.watched(waited) as (_, connection):
                self.clock.advance(max(0.0, left - 0.1))
                self.assertEqual(left <= 0, connection.got != b"")
                self.clock.advance(0.1)
                self.assertTrue(connection.got.endswith(b"\r\n\r\n"))

    def test_headers_that_are_out(self) -> None:
        """Where the body has begun, nothing is added."""
        with self.watched() as (_, connection):
            self.requests[0].setHeader(b"Content-Length", b"100")
            self.requests[0].write(b"body")
            self.clock.advance(LIMITS.headers + 1)
            self.assertTrue(connection.got.endswith(b"\r\n\r\nbody"))

    def test_headers_of_an_early_end(self) -> None:
        """What ended before its first byte has no headers to send."""
        with self.watched() as (_, connection):
            pass
        self.clock.advance(LIMITS.headers + 1)
        self.assertEqual(b"", connection.got)

    def test_headers_without_client(self) -> None:
        """Nobody is sent headers who has left."""
        with self.watched() as (_, connection):
            connection.leave()
            self.clock.advance(LIMITS.headers + 1)
        self.assertEqual(b"", connection.got)

    def test_stop(self) -> None:
        """Stopping may come before starting, and twice."""
        watch = ClientWatch(self.clock)
        watch.stop()
        watch.start()
        watch.stop()
        watch.stop()
