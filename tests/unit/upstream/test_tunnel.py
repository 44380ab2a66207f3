"""Tunnels through a proxy: what it is asked, what its answers mean, and who gets the connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionDone, DNSLookupError, NoProtocol
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError
from zope.interface import implementer
from zope.interface.verify import verifyObject

from oci_registry.config.settings import Credentials, ProxySettings
from oci_registry.upstream.proxies import ProxyFailed, ProxyRefused
from oci_registry.upstream.tunnel import MAX_HEAD, TunnelEndpoint

PROXY = ProxySettings("proxy.example.com", 3128)
KNOWN = ProxySettings("proxy.example.com", 3128, credentials=Credentials("pat", "s3cret"))
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


@implementer(IStreamClientEndpoint)
class ToProxy:
    """Leads to the proxy: at once, with *error*, or never."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.never = False
        self.cancelled = 0
        self.tunnels: list[Any] = []
        self.transports: list[Any] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if self.never:
            return Deferred(lambda _: self.cancel())
        if self.error is not None:
            return fail(self.error)
        protocolFactory.doStart()
        address = IPv4Address("TCP", "192.0.2.1", 3128)
        tunnel: Any = protocolFactory.buildProtocol(address)
        self.tunnels.append(tunnel)
        self.transports.append(StringTransport())
        tunnel.makeConnection(self.transports[-1])
        return succeed(tunnel)

    def cancel(self) -> None:
        self.cancelled += 1


class Inner(Protocol):
    """What is tunnelled; keeps what happens to it."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def connectionMade(self) -> None:
        self.events.append("made")

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.events.append(reason.type)


class TunnelTestCase(SynchronousTestCase):
    """A proxy that says what the test makes it say."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.to_proxy = ToProxy()
        self.inner = Factory.forProtocol(Inner)

    def connect(
        self,
        proxy: ProxySettings = PROXY,
        hosts: Sequence[str] = ("registry.example.com",),
        port: int = 443,
    ) -> Deferred[Any]:
        def find_hosts() -> Deferred[Sequence[str]]:
            return succeed(hosts)

        endpoint = TunnelEndpoint(self.clock, proxy, self.to_proxy, find_hosts, port, 10.0)
        self.assertTrue(verifyObject(IStreamClientEndpoint, endpoint))
        return endpoint.connect(self.inner)

    def say(self, data: bytes) -> None:
        self.to_proxy.tunnels[-1].dataReceived(data)

    @property
    def transport(self) -> Any:
        return self.to_proxy.transports[-1]

    def failed(self, connecting: Deferred[Any]) -> Any:
        """Return the reason why the proxy failed; its connection is closed, nothing is scheduled."""
        error = self.failureResultOf(connecting, ProxyFailed).value
        self.assertEqual("proxy.example.com:3128", str(error.proxy))
        self.assertEqual([], self.clock.getDelayedCalls())
        for transport in self.to_proxy.transports:
            self.assertTrue(transport.disconnecting)
        return error.reason


class Requests(TunnelTestCase):
    """What the proxy is asked."""

    def test_request(self) -> None:
        """It is asked for host and port, and told nothing else."""
        self.connect()
        expected = (
            b"CONNECT registry.example.com:443 HTTP/1.1\r\nHost: registry.example.com:443\r\n\r\n"
        )
        self.assertEqual(expected, self.transport.value())

    def test_address(self) -> None:
        """An IPv6 address has brackets."""
        self.connect(hosts=["2001:db8::1"], port=5000)
        self.assertTrue(self.transport.value().startswith(b"CONNECT [2001:db8::1]:5000 HTTP/1.1"))

    def test_credentials(self) -> None:
        """Credentials for the proxy are sent at once, and are in no error."""
        connecting = self.connect(KNOWN)
        lines = self.transport.value().split(b"\r\n")
        self.assertIn(b"Proxy-Authorization: Basic cGF0OnMzY3JldA==", lines)
        self.say(b"HTTP/1.1 407 No\r\n\r\n")
        error = self.failureResultOf(connecting, ProxyRefused).value
        self.assertEqual((407, True), (error.status, error.known))
        self.assertNotIn("s3cret", repr(error) + str(error) + repr(vars(error)))
        self.assertNotIn("cGF0OnMzY3JldA", repr(error) + str(error) + repr(vars(error)))


class Answers(TunnelTestCase):
    """What the proxy answers."""

    def test_opened(self) -> None:
        """After a 2xx the connection is the protocol's: what is sent, received, and its end."""
        connecting = self.connect()
        for byte in OK:
            self.assertNoResult(connecting)
            self.say(bytes([byte]))
        inner = self.successResultOf(connecting)
        self.transport.clear()
        inner.transport.write(b"hello")
        self.say(b"world")
        self.to_proxy.tunnels[0].connectionLost(Failure(ConnectionDone()))
        self.assertEqual(b"hello", self.transport.value())
        self.assertEqual(["made", b"world", ConnectionDone], inner.events)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_bytes_after_the_head(self) -> None:
        """What follows the head belongs to the protocol, which its user has by then."""
        connecting = self.connect()
        seen: list[Any] = []

        def look(inner: Any) -> Any:
            seen.append(list(inner.events))
            return inner

        connecting.addCallback(look)
        self.say(b"HTTP/1.1 299 Yes\r\nContent-Length: 3\r\n\r\nabc\r\n\r\ndef")
        inner = self.successResultOf(connecting)
        self.assertEqual([["made"]], seen)
        self.assertEqual(["made", b"abc\r\n\r\ndef"], inner.events)

    def test_interim_answers(self) -> None:
        """An interim answer is not the one that is waited for."""
        connecting = self.connect()
        self.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n")
        self.assertNoResult(connecting)
        self.say(OK + b"x")
        self.assertEqual(["made", b"x"], self.successResultOf(connecting).events)

    def test_refused(self) -> None:
        """Any other status makes no tunnel, and closes the connection."""
        for status in (300, 302, 400, 403, 404, 407, 429, 500, 502, 503, 504, 999):
            connecting = self.connect()
            self.say(b"HTTP/1.0 %d\r\nX: y\r\n\r\nsorry" % status)
            error = self.failureResultOf(connecting, ProxyRefused).value
            self.assertEqual((status, False), (error.status, error.known))
            self.assertTrue(self.transport.disconnecting)
            self.say(b"more")

    def test_garbage(self) -> None:
        """What is no HTTP is not waited for to end."""
        for said in (
            b"SSH-2.0-OpenSSH_9\r\n",
            b"\x15\x03\x01",
            b"http/1.1 200 OK\r\n\r\n",
            b"HTTP/2 200 OK\r\n",
            b"HTTP/1.1 200OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"\r\n\r\n",
        ):
            connecting = self.connect()
            self.say(said)
            self.assertIsInstance(self.failed(connecting), ParseError, said)
            self.say(OK)

    def test_endless_head(self) -> None:
        """A head may have 16 KiB and no more."""
        filler = b"x" * (MAX_HEAD - len(b"HTTP/1.1 200 \r\n\r\n"))
        connecting = self.connect()
        self.say(b"HTTP/1.1 200 " + filler + b"\r\n\r\n" + b"y" * MAX_HEAD)
        self.assertEqual(["made", b"y" * MAX_HEAD], self.successResultOf(connecting).events)
        connecting = self.connect()
        self.to_proxy.transports = self.to_proxy.transports[-1:]
        self.say(b"HTTP/1.1 200 x" + filler + b"\r\n\r\n")
        self.assertIsInstance(self.failed(connecting), ParseError)
        connecting = self.connect()
        for _ in range(MAX_HEAD - 9):
            self.say(b"x" if self.to_proxy.tunnels[-1]._received else b"HTTP/1.1 ")
        self.assertNoResult(connecting)
        self.say(b"x")
        self.assertIsInstance(self.failed(connecting), ParseError)

    def test_closed(self) -> None:
        """A proxy that hangs up is an error, whatever it began to say."""
        for said in (b"", b"HTTP/1.1 200 OK\r\n"):
            connecting = self.connect()
            self.say(said)
            self.to_proxy.tunnels[-1].connectionLost(Failure(ConnectionDone()))
            self.transport.loseConnection()
            self.assertIsInstance(self.failed(connecting), ConnectionDone)

    def test_nobody_to_give_it_to(self) -> None:
        """A factory that makes no protocol leaves no connection behind."""
        self.patch(self.inner, "buildProtocol", lambda address: None)
        connecting = self.connect()
        self.say(OK)
        self.assertIsInstance(self.failed(connecting), NoProtocol)

    @given(st.lists(st.binary(max_size=40)), st.sampled_from([b"", OK[:13], OK[:-2], OK]))
    def test_any_answer(self, pieces: list[bytes], begin: bytes) -> None:
        """Whatever is said, there is a tunnel, an error, or patience, and no more than was allowed."""
        self.setUp()
        outcomes: list[Any] = []
        self.connect().addBoth(outcomes.append)
        self.say(begin)
        for piece in pieces:
            self.say(piece)
        if begin == OK:
            received = b"".join(e for e in outcomes[0].events if isinstance(e, bytes))
            self.assertEqual(b"".join(pieces), received)
        self.clock.advance(10)
        self.assertEqual(1, len(outcomes))


class Failures(TunnelTestCase):
    """What goes wrong on the way."""

    def test_proxy_not_reached(self) -> None:
        """A proxy that cannot be reached has failed, for whatever reason."""
        for error in (Refused(), DNSLookupError()):
            self.to_proxy.error = error
            self.assertIs(error, self.failed(self.connect()))

    def test_target_not_found(self) -> None:
        """A target that is nowhere is not the proxy's fault, and it is not asked."""
        endpoint = TunnelEndpoint(
            self.clock, PROXY, self.to_proxy, lambda: fail(DNSLookupError()), 443, 10.0
        )
        self.failureResultOf(endpoint.connect(self.inner), DNSLookupError)
        self.assertEqual([], self.to_proxy.tunnels)

    def test_too_late(self) -> None:
        """To look up, to connect and to be answered takes no longer than was allowed, together."""
        hosts: Deferred[Sequence[str]] = Deferred()
        endpoint = TunnelEndpoint(self.clock, PROXY, self.to_proxy, lambda: hosts, 443, 10.0)
        connecting = endpoint.connect(self.inner)
        self.clock.advance(9)
        hosts.callback(["registry.example.com"])
        self.clock.advance(0.5)
        self.say(OK[:20])
        self.assertNoResult(connecting)
        self.clock.advance(0.5)
        self.assertIsInstance(self.failed(connecting), DeferredTimeout)

    def test_too_late_to_look_up(self) -> None:
        """A resolver that never answers is given up in time."""
        endpoint = TunnelEndpoint(self.clock, PROXY, self.to_proxy, Deferred, 443, 10.0)
        connecting = endpoint.connect(self.inner)
        self.clock.advance(10)
        self.failureResultOf(connecting, DeferredTimeout)

    def test_too_late_to_connect(self) -> None:
        """A proxy that cannot be connected to is given up in time."""
        self.to_proxy.never = True
        connecting = self.connect()
        self.clock.advance(10)
        self.assertIsInstance(self.failed(connecting), DeferredTimeout)
        self.assertEqual(1, self.to_proxy.cancelled)

    def test_cancelled(self) -> None:
        """A caller that cancels closes the connection to the proxy."""
        connecting = self.connect()
        connecting.cancel()
        self.assertIsInstance(self.failed(connecting), CancelledError)
        self.say(OK)
        self.to_proxy.tunnels[0].connectionLost(Failure(ConnectionDone()))
        self.to_proxy.never = True
        self.connect().addErrback(lambda _: None).cancel()
        self.assertEqual(1, self.to_proxy.cancelled)


class SeveralHosts(TunnelTestCase):
    """A target with several addresses."""

    HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1")

    def asked(self) -> list[bytes]:
        return [t.value().split(b" ")[1] for t in self.to_proxy.transports]

    def test_next(self) -> None:
        """When the proxy does not reach one, the next is tried, one at a time."""
        connecting = self.connect(hosts=self.HOSTS)
        self.say(b"HTTP/1.1 503 No\r\n\r\n")
        self.say(b"HTTP/1.1 403 No\r\n\r\n")
        self.assertNoResult(connecting)
        self.say(OK)
        self.assertEqual(["made"], self.successResultOf(connecting).events)
        self.assertEqual([b"192.0.2.1:443", b"192.0.2.2:443", b"[2001:db8::1]:443"], self.asked())
        self.assertEqual([True, True, False], [t.disconnecting for t in self.to_proxy.transports])

    def test_none(self) -> None:
        """What was said of the last is what is told."""
        connecting = self.connect(hosts=self.HOSTS)
        for status in (500, 502, 503):
            self.say(b"HTTP/1.1 %d No\r\n\r\n" % status)
        self.assertEqual(503, self.failureResultOf(connecting, ProxyRefused).value.status)

    def test_not_after_407(self) -> None:
        """A proxy that wants credentials wants them for every address."""
        connecting = self.connect(hosts=self.HOSTS)
        self.say(b"HTTP/1.1 407 No\r\n\r\n")
        self.assertEqual(407, self.failureResultOf(connecting, ProxyRefused).value.status)
        self.assertEqual(1, len(self.asked()))

    def test_not_after_a_failure(self) -> None:
        """A proxy that is not there is not asked again."""
        connecting = self.connect(hosts=self.HOSTS)
        self.say(b"nonsense")
        self.assertIsInstance(self.failed(connecting), ParseError)
        self.assertEqual(1, len(self.asked()))

    def test_shares_of_the_time(self) -> None:
        """An address that is not answered for does not use up the time of the others."""
        connecting = self.connect(hosts=self.HOSTS)
        self.clock.advance(10 / 3 + 0.01)
        self.assertEqual(2, len(self.asked()))
        self.say(b"HTTP/1.1 502 No\r\n\r\n")
        self.assertEqual(3, len(self.asked()))
        self.clock.advance(6.6)
        self.assertNoResult(connecting)
        self.clock.advance(0.1)
        self.assertIsInstance(self.failed(connecting), DeferredTimeout)
