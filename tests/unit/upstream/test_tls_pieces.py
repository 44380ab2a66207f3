"""TLS connections that pass on what has arrived in one piece."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from oci_registry.config.settings import HostSettings
from oci_registry.upstream.tls import tls_policy
from oci_registry.upstream.tls_pieces import ENCRYPTED_SIZE, TlsEndpoint
from tests.support.certificates import Certified

CERTIFIED = Certified("registry.example.com")
RECORD = 16 * 1024


class _Receiver(Protocol):
    """Remembers what comes, and how it ended."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ends: list[type[BaseException] | None] = []
        self.leaves_after: int | None = None

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        if self.leaves_after is not None and len(self.pieces) > self.leaves_after:
            assert self.transport is not None
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = Failure(EOFError())) -> None:  # noqa: B008
        self.ends.append(reason.type)


class _OneByOne:
    """Connects as Twisted's `wrapClientTLS` does, which takes no clock in older releases."""

    def __init__(self, creator: Any, endpoint: Any, clock: Any) -> None:
        self._made = creator, endpoint, clock

    def connect(self, factory: Any) -> Any:
        creator, endpoint, clock = self._made
        connecting = endpoint.connect(TLSMemoryBIOFactory(creator, True, factory, clock))
        return connecting.addCallback(lambda tls: tls.wrappedProtocol)


class _Socket(StringTransport):
    """The client's end of a TCP connection."""

    bufferSize = 64 * 1024  # noqa: N815 - as Twisted calls it


@implementer(IStreamClientEndpoint)
class _InMemory:
    """Connects to a TLS server in memory, whose bytes go to the client when the test says so."""

    def __init__(self) -> None:
        self.socket = _Socket()
        self.server = SSL.Connection(CERTIFIED.server().getContext(), None)
        self.server.set_accept_state()

    def connect(self, protocolFactory: Any) -> Any:
        self.client = protocolFactory.buildProtocol(None)
        self.client.makeConnection(self.socket)
        return succeed(self.client)

    def shake_hands(self) -> None:
        for _ in range(4):
            self.to_server()
            with contextlib.suppress(SSL.WantReadError):
                self.server.do_handshake()
            self.to_client(self.sent())

    def to_server(self) -> None:
        data = self.socket.value()
        self.socket.clear()
        if data:
            self.server.bio_write(data)

    def to_client(self, data: bytes) -> None:
        if data:
            self.client.dataReceived(data)

    def sent(self) -> bytes:
        """Return what the server has encrypted."""
        pieces = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                pieces.append(self.server.bio_read(1 << 20))
        return b"".join(pieces)


class Pieces(SynchronousTestCase):
    """A client that receives from a server in memory."""

    def begin(self, wrap: Any = TlsEndpoint) -> _Receiver:
        """Connect, and return the protocol."""
        self.memory = _InMemory()
        settings = HostSettings("registry.example.com", accept_invalid_certs=True)
        creator = tls_policy(settings).creatorForNetloc(b"registry.example.com", 443)
        endpoint = wrap(creator, self.memory, Clock())
        receiver = self.successResultOf(endpoint.connect(Factory.forProtocol(_Receiver)))
        assert isinstance(receiver, _Receiver)
        self.memory.shake_hands()
        return receiver

    def encrypt(self, *texts: bytes) -> bytes:
        """Return what the server sends for these texts, each in records of its own."""
        for text in texts:
            for start in range(0, len(text), RECORD):
                self.memory.server.send(text[start : start + RECORD])
        return self.memory.sent()

    def test_one_piece(self) -> None:
        """What arrives together is passed on together, however many records it is in."""
        receiver = self.begin()
        self.memory.to_client(self.encrypt(b"x" * (10 * RECORD), b"y"))
        self.assertEqual([b"x" * (10 * RECORD) + b"y"], receiver.pieces)

    def test_large_reads(self) -> None:
        """More is asked of the socket than Twisted does."""
        self.begin()
        self.assertEqual(ENCRYPTED_SIZE, self.memory.socket.bufferSize)

    def test_last_bytes(self) -> None:
        """Bytes that come with the end of the connection arrive before it."""
        receiver = self.begin()
        data = self.encrypt(b"the last")
        self.memory.server.shutdown()
        self.memory.to_client(data + self.memory.sent())
        self.assertEqual([b"the last"], receiver.pieces)
        self.memory.client.connectionLost(Failure(EOFError()))
        self.assertEqual([EOFError], receiver.ends)

    def test_broken_record(self) -> None:
        """What came before a record that is not right arrives, and nothing after it."""
        receiver = self.begin()
        good, bad = self.encrypt(b"good"), bytearray(self.encrypt(b"bad"))
        bad[-1] ^= 1
        self.memory.to_client(good + bytes(bad) + self.encrypt(b"more"))
        self.assertEqual([b"good"], receiver.pieces)
        self.assertTrue(self.memory.socket.disconnecting)
        self.memory.client.connectionLost(Failure(EOFError()))
        self.assertEqual([SSL.Error], receiver.ends)

    def test_aborted(self) -> None:
        """After the protocol has closed the connection it receives nothing more."""
        receiver = self.begin()
        receiver.leaves_after = 0
        self.memory.to_client(self.encrypt(b"one"))
        self.memory.to_client(self.encrypt(b"two"))
        self.assertEqual([b"one"], receiver.pieces)

    @given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(0, 400)))
    def test_same_bytes(self, texts: list[bytes], cuts: list[int]) -> None:
        """However the encrypted bytes are split, the same arrives as with Twisted's own."""
        for wrap in (TlsEndpoint, _OneByOne):
            receiver = self.begin(wrap)
            data = self.encrypt(*[text for text in texts if text])
            places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
            for start, stop in pairwise(places):
                self.memory.to_client(data[start:stop])
            self.assertEqual(b"".join(texts), b"".join(receiver.pieces))
            self.assertEqual([], receiver.ends)
