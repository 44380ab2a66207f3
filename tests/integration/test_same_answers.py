"""Responses are the same, byte by byte, whether blobs are read or go past us, over TCP or a UNIX socket."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import succeed
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
    wrapServerTLS,
)
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from oci_registry.web.port import FileEndpoint, keep_passed
from oci_registry.web.transports import TCPFileTransport, UNIXFileTransport
from tests.support.certificates import Certified
from tests.support.daemon import reactor, running
from tests.support.folders import short_folder
from tests.support.sending import MIB, SendingTestCase


class Same(SendingTestCase):
    """Requests whose responses are recorded on each path, with what is logged and counted."""

    size = 3 * MIB + 123

    def requests(self) -> list[list[tuple[str, dict[str, str]]]]:
        """Return, for each connection, the requests that are sent at once."""
        tag = f'"{self.digest}"'
        size = self.size
        ranges = (
            "bytes=0-0", "bytes=0-", "bytes=5-", "bytes=1048575-3145729", f"bytes=-{2 * MIB}",
            f"bytes={size - 1}-", f"bytes={size}-", "bytes=0-0,5-6", "bytes=9-1", "lines=1-2",
            f"bytes=300000-{size + 9}",
        )  # fmt: skip
        one = [
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"If_None_Match": tag}),
            ("GET", {"If_Range": '"other"', "Range": "bytes=5-9"}),
            ("GET", {"If_Range": tag, "Range": f"bytes=5-{size // 2}"}),
            *[("GET", {"Range": value}) for value in ranges],
        ]
        last = {"Connection": "close"}
        each = [[(method, {**headers, **last})] for method, headers in one]
        pipelined = [
            ("GET", {}),
            ("HEAD", {}),
            ("GET", {"Range": "bytes=7-"}),
            ("GET", {"Range": "bytes=0-3"}),
            ("GET", {}),
            ("GET", last),
            ("GET", {}),
        ]
        return [*each, pipelined]

    async def record(self) -> tuple[list[bytes], list[str], float]:
        """Return the responses, the lines of the access log and the counted bytes."""
        await self.serve()
        before, got = self.counted, []
        for requests in self.requests():
            client = await self.connect()
            for method, headers in requests:
                client.ask(self.path, method, **headers)
            got.append(await client.ended())
        # One at a time on one connection, and what HTTP/1.0 does.
        client = await self.connect()
        for _ in range(3):
            start = len(client.got)
            client.ask(self.path, Range="bytes=1000000-")
            await client.until(start + self.size - 1_000_000)
        client.ask(self.path, "HEAD", Connection="close")
        got.append(await client.ended())
        client = await self.connect()
        client.ask(self.path, version="1.0")
        got.append(await client.ended())
        lines = []
        for line in self.log.getvalue().splitlines():
            quoted, _, rest = line.partition('" ')
            fields = rest.split(" ")
            # Without moment, address and duration.
            lines.append(" ".join([quoted.partition('"')[2], *fields[:2], *fields[3:]]))
        counted = self.counted - before
        await self.stop()
        return got, lines, counted

    @running
    async def test_same(self) -> None:
        """Status, headers, bodies, order, ends of connections, access log and metrics are the same."""
        recorded = []
        for past, over_unix in ((True, False), (True, True), (False, False), (False, True)):
            self.past, self.unix = past, over_unix
            recorded.append(await self.record())
            went = sum(count for _, count in self.sent) > 10 * MIB
            self.assertEqual(past and self.known(), went)
        got, lines, counted = recorded[0]
        self.assertTrue(got[0].endswith(self.data))
        self.assertEqual(6, got[-3].count(b"HTTP/1.1 20"))
        self.assertEqual(len(lines), sum(len(each) for each in self.requests()) - 1 + 5)
        for other_got, other_lines, other_counted in recorded[1:]:
            for one, other in zip(got, other_got, strict=True):
                self.assertTrue(one == other, (one[:300], other[:300], len(one), len(other)))
            self.assertEqual(lines, other_lines)
            self.assertEqual(counted, other_counted)

    @running
    async def test_through_tls(self) -> None:
        """Through TLS everything is read, and so encrypted."""
        certified = Certified("127.0.0.1")
        folder = self.mktemp()
        os.makedirs(folder)
        for name, content in (("k", certified.key), ("c", certified.certificate)):
            with open(f"{folder}/{name}", "wb") as file:
                file.write(content)
        plain = "tcp:0:interface=127.0.0.1"
        tls = f"ssl:0:interface=127.0.0.1:privateKey={folder}/k:certKey={folder}/c"
        daemon = await self.serve(listen=(plain, tls))
        port = await daemon.parts.ports.services[1]._waitingForPort  # type: ignore[attr-defined]
        daemon.parts.ports.services[1]._waitingForPort = succeed(port)  # type: ignore[attr-defined]

        def fetch(number: int) -> bytes:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            raw = socket.create_connection(("127.0.0.1", number))
            with context.wrap_socket(raw) as connection:
                text = f"GET {self.path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"
                connection.sendall(text.encode())
                got = bytearray()
                while more := connection.recv(1 << 20):
                    got += more
                return bytes(got)

        got: bytes = await daemon.parts.lanes.housekeeping(fetch, port.getHost().port)
        self.assertTrue(got.endswith(b"\r\n\r\n" + self.data))
        self.assertEqual([], self.sent)


class Ports(TestCase):
    """Which connections let files be sent."""

    async def transport(self, endpoint: IStreamServerEndpoint) -> type:
        """Return the class of transport that connections have."""
        port: Any = await FileEndpoint(endpoint).listen(Factory.forProtocol(Protocol))
        kind: type = port.transport
        await port.stopListening()
        return kind

    @running
    async def test_plain(self) -> None:
        """Those of plain ports, inherited ones too, do."""
        place = f"/tmp/ports-{os.getpid()}-{id(self)}"
        inherited = socket.socket()
        inherited.bind(("127.0.0.1", 0))
        inherited.listen()
        for endpoint, kind in (
            (TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), TCPFileTransport),
            (UNIXServerEndpoint(reactor, place), UNIXFileTransport),
            (
                AdoptedStreamServerEndpoint(reactor, inherited.detach(), socket.AF_INET),
                TCPFileTransport,
            ),
        ):
            self.assertIs(kind, await self.transport(endpoint))

    @running
    async def test_passed_unix_socket(self) -> None:
        """A UNIX socket that is passed stays as it is, for the next daemon too, and clients can connect."""
        folder = short_folder(self)
        with socket.socket(socket.AF_UNIX) as passed:
            passed.bind(f"{folder}/s")
            passed.listen()
            os.chmod(f"{folder}/s", 0o640)
            for _ in range(2):
                endpoint = AdoptedStreamServerEndpoint(
                    reactor, os.dup(passed.fileno()), socket.AF_UNIX
                )
                kept = keep_passed(endpoint, reactor)
                self.assertIs(UNIXFileTransport, await self.transport(kept))
                self.assertEqual(0o640, os.stat(f"{folder}/s").st_mode & 0o777)
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{folder}/s")

    @running
    async def test_wrapped(self) -> None:
        """Those behind something else keep Twisted's own."""
        proxied = serverFromString(reactor, "haproxy:tcp:0:interface=127.0.0.1")
        self.assertIs(tcp.Server, await self.transport(proxied))
        inner = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        tls = wrapServerTLS(CertificateOptions(), inner)
        self.assertIs(tcp.Server, await self.transport(tls))

    @running
    async def test_other_ports(self) -> None:
        """A class of port that is not known is left as it is."""
        endpoint = FileEndpoint(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), {})
        port: Any = await endpoint.listen(Factory.forProtocol(Protocol))
        self.assertIs(tcp.Server, port.transport)
        await port.stopListening()
        self.assertIs(unix.Server, unix.Port.transport)
