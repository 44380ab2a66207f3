"""The load generators, in C and in Python, each with a server of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import reader
from benchmarks.clients import request
from benchmarks.load import BadResponse

BODY = b"x" * 100_000


@contextmanager
def serving(head: bytes, body: bytes) -> Iterator[tuple[str, int]]:
    """Answer every request with the same."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65536):
                    connection.sendall(head + body)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            Thread(target=serve, args=(connection,), daemon=True).start()

    Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Reading:
    """What both do."""

    def test_bodies(self: SynchronousTestCase) -> None:
        """Responses and all their bytes are counted."""
        with serving(HEAD, BODY) as address, reader.loading(address, [request("/")], 2) as load:
            reader._until(lambda: load.responses >= 10, 20)
            counted, responses = load.bytes, load.responses
        self.assertGreaterEqual(responses, 10)
        self.assertGreaterEqual(counted, 10 * (len(HEAD) + len(BODY)))

    def test_heads(self: SynchronousTestCase) -> None:
        """A response to HEAD has no body, whatever length it announces."""
        wanted = [request("/", "", "HEAD")]
        with serving(HEAD, b"") as address, reader.loading(address, wanted, 2, "HEAD") as load:
            self.assertTrue(reader._until(lambda: load.responses >= 10, 20))

    def test_limit(self: SynchronousTestCase) -> None:
        """A client with a limit reads so much of one body, and then nothing more."""
        with (
            serving(HEAD, BODY) as address,
            reader.loading(address, [request("/")], 3, limit=50_000) as load,
        ):
            self.assertTrue(load.wait(20))
            self.assertEqual(3, load.responses)

    def test_rate(self: SynchronousTestCase) -> None:
        """A client with a rate reads no faster, but for the first piece."""
        with (
            serving(HEAD, BODY) as address,
            reader.loading(address, [request("/")], 1, rate=1) as load,
        ):
            reader._until(lambda: load.bytes > 0, 20)
            reader._until(lambda: load.responses > 0, 0.2)
            self.assertEqual(0, load.responses)

    def test_bad(self: SynchronousTestCase) -> None:
        """Another status ends it, and is what it ends with."""
        with (
            serving(HEAD.replace(b"200 OK", b"503 No"), BODY) as address,
            self.assertRaises(BadResponse) as caught,
            reader.loading(address, [request("/")], 1) as load,
        ):
            load.wait(20)
        self.assertIn("503", str(caught.exception))


class Compiled(Reading, SynchronousTestCase):
    """The program in C."""

    def setUp(self) -> None:
        if reader.program() is None:
            raise SkipTest("there is no compiler")


class Interpreted(Reading, SynchronousTestCase):
    """The same in Python."""

    def setUp(self) -> None:
        self.patch(reader, "program", lambda: None)
