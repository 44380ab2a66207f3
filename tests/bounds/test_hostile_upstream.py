"""An upstream that any client may name costs the others neither memory nor time."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import repeat

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.internet.task import deferLater

from oci_registry.spec.digest import Digest
from tests.support.client import Client, Response
from tests.support.daemon import reactor, running, until
from tests.support.flood import MIB, Flood, Words, bomb, encoded
from tests.support.process import DaemonProcess, ProcessTestCase

GROWTH = 96 * MIB
"""Bytes by which the daemon's process may grow,"""
PATIENCE = 1.0
"""and seconds of the processor that it may take before it answers others, whatever an upstream sends."""
PAUSE = 0.03
"""Seconds between the requests of others, with which the daemon would else be more busy than with these."""
AT_ONCE = 3
"""Requests of each kind that are made at the same time."""
BLOB = Digest.of(b"a blob that nobody has")
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
PATHS = ("manifests/1", f"manifests/{BLOB}", "tags/list", f"blobs/{BLOB}")


class Hostile(ProcessTestCase):
    """The real daemon as a process, a good upstream and one that is not."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.flood = Flood(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.flood.stop()))
        self.registry.add_image("library/app", "1")

    async def start_both(self) -> None:
        """Start the daemon, with a manifest in its store."""
        upstreams = (
            f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false}}\n'
            f'- {{namespace: evil.test, host: "{self.flood.host}", tls: false, retries: 1}}\n'
        )
        self.daemon = DaemonProcess(reactor, self.root, upstreams, forked=True)
        self.addCleanup(self.daemon.end)
        self.client = Client(reactor, await self.daemon.listening)
        self.addCleanup(self.client.close)
        await until(lambda: b"storing in" in self.daemon.output)
        for path in ("/v2/library/app/manifests/1", "/healthz"):
            self.assertEqual(200, (await self.client.get(path)).status)

    async def hung_up(self) -> None:
        """The daemon has hung up on the hostile upstream."""
        await until(lambda: not self.flood.connections)

    async def withstands(self, words: Words, *paths: str, rounds: int = 2) -> None:
        """Every request for *paths* fails, while others notice nothing and little memory is taken."""
        await self.start_both()
        # What the first requests of their kind take, whatever the answer, is not the upstream's doing.
        self.flood.words = lambda _: iter([NOT_FOUND])
        for path in paths or PATHS:
            asked = [self.client.get(f"/v2/evil.test/none/{path}") for _ in range(AT_ONCE)]
            for answer in await gatherResults([Deferred.fromCoroutine(one) for one in asked]):
                self.assertEqual(404, answer.status)
        self.flood.words = words
        before = self.daemon.memory()
        longest = 0.0
        for _ in range(rounds):
            asked = [
                Deferred.fromCoroutine(self.client.get(f"/v2/evil.test/app/{path}"))
                for path in paths or PATHS
                for _ in range(AT_ONCE)
            ]
            answers: Deferred[list[tuple[bool, Response]]] = DeferredList(asked)
            last = self.daemon.cpu()
            while not answers.called:
                for path in ("/healthz", "/v2/library/app/manifests/1"):
                    self.assertEqual(200, (await self.client.get(path)).status)
                    # Since the answer before: what it does in the pause counts as well.
                    now = self.daemon.cpu()
                    longest, last = max(longest, now - last), now
                await deferLater(reactor, PAUSE)
            for _, answer in await answers:
                self.assertTrue(answer.status >= 400 or not answer.complete, answer.status)
        grown = self.daemon.memory("VmHWM") - before
        self.assertLess(grown, GROWTH, f"{grown / MIB:.0f} MiB")
        self.assertLess(longest, PATIENCE, f"{longest:.2f} s")

    @running
    async def test_bomb(self) -> None:
        """128 MiB in a gzip of 130 kB, as manifest, list and blob."""
        answer = encoded(bomb(128 * MIB), "gzip")
        await self.withstands(lambda _: iter([answer]), rounds=1)

    @running
    async def test_nested_bomb(self) -> None:
        """4 GiB in a few KB that are encoded twice."""
        answer = encoded(gzip.compress(bomb(4096 * MIB)), "gzip, gzip")
        await self.withstands(lambda _: iter([answer]))

    @running
    async def test_tokens(self) -> None:
        """The same from a token server."""
        single = encoded(bomb(128 * MIB), "gzip")
        double = encoded(gzip.compress(bomb(4096 * MIB)), "gzip, gzip")
        answers = [single, double]
        challenge = (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"
            f'WWW-Authenticate: Bearer realm="http://{self.flood.host}/token",service="s"\r\n\r\n'
        ).encode()

        def words(request: bytes) -> Iterator[bytes]:
            if not request.startswith(b"GET /token"):
                return iter([challenge])
            answers.reverse()
            return iter([answers[0]])

        await self.withstands(words)

    @running
    async def test_endless_head(self) -> None:
        """Headers without end, and one header without end."""
        header = b"X-Header: some value or other\r\n" * 1000

        def words(request: bytes) -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nX: "
            yield from repeat(header if b"/manifests/" in request else b"x" * 30_000)

        await self.withstands(words, rounds=3)
        await self.hung_up()

    @running
    async def test_many_headers(self) -> None:
        """200,000 headers."""
        answer = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200_000 + b"Content-Length: 0\r\n\r\n"
        await self.withstands(lambda _: iter([answer]), rounds=3)

    @running
    async def test_endless_interim_answers(self) -> None:
        """Interim answers without end."""
        piece = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000
        await self.withstands(lambda _: repeat(piece), rounds=3)
        await self.hung_up()

    @running
    async def test_tiny_chunks(self) -> None:
        """A body without end in chunks of a byte."""

        def words(_: bytes) -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            yield from repeat(b"1\r\nx\r\n" * 10_000)

        await self.withstands(words, rounds=1)
        await self.hung_up()

    @running
    async def test_absurd_length(self) -> None:
        """A length of thousands of digits is a 502 that says so, for every kind of question."""
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
        self.flood.words = lambda _: iter([answer])
        await self.start_both()
        for path in PATHS:
            got = await self.client.get(f"/v2/evil.test/app/{path}")
            self.assertEqual(502, got.status)
            self.assertIn("an invalid Content-Length", got.body.decode())
        self.assertNotIn(b"Traceback", bytes(self.daemon.output))
