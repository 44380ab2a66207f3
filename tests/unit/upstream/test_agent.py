"""The HTTP client below the upstreams: what it asks for, which certificates it trusts."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from oci_registry.config.settings import Credentials, EgressSettings, HostSettings, ProxySettings
from oci_registry.upstream.agent import Endpoints, IdentityAgent, UpstreamHttp
from oci_registry.upstream.errors import TooManyLookups
from oci_registry.upstream.failures import NameTimedOut, explain, too_late
from oci_registry.upstream.guard import AT_ONCE, WAITING, Lookups
from oci_registry.upstream.names import ThreadedResolver
from oci_registry.upstream.proxies import ProxyFailed
from tests.support.fake_http import FakeResponse, as_response
from tests.support.network import resolving


@implementer(IAgent)
class Below:
    """The agent that is wrapped."""

    def __init__(self) -> None:
        self.headers: list[Headers | None] = []

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[IResponse]:
        self.headers.append(headers)
        return succeed(as_response(FakeResponse()))


class Identity(SynchronousTestCase):
    """Bodies are asked for as they are."""

    def test_instead_of_others(self) -> None:
        """Whatever encodings were asked for, identity is, and nothing else is changed."""
        below = Below()
        agent = IdentityAgent(below)
        asked = Headers({"Accept-Encoding": ["gzip", "zstd"], "Accept": ["a", "b"]})
        agent.request(b"GET", b"http://h/", asked)
        agent.request(b"GET", b"http://h/")
        for sent in below.headers:
            assert sent is not None
            self.assertEqual([b"identity"], sent.getRawHeaders(b"Accept-Encoding"))
        self.assertEqual([b"gzip", b"zstd"], asked.getRawHeaders(b"Accept-Encoding"))
        first = below.headers[0]
        assert first is not None
        self.assertEqual([b"a", b"b"], first.getRawHeaders(b"Accept"))

    def test_interface(self) -> None:
        """It is an agent."""
        self.assertTrue(verifyObject(IAgent, IdentityAgent(Below())))


class TcpTransport(StringTransport):
    """A connection that could be one of TCP."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is not."""


def endpoints(**options: Any) -> Endpoints:
    """Return the endpoints of a host."""
    options = {"guarded": None, "timeout": 10.0, **options}
    return Endpoints(MemoryReactorClock(), HostSettings("h"), EgressSettings(), **options)


class Connections(SynchronousTestCase):
    """Where requests go."""

    def begin(self, http: UpstreamHttp, url: str) -> Deferred[Any]:
        """Ask for something; the test ends before there is an answer."""
        asked = Deferred.fromCoroutine(http.send("GET", url, {}))
        self.addCleanup(lambda: asked.addErrback(lambda _: None).cancel())
        return asked

    def test_schemes(self) -> None:
        """http and https are known, and nothing else is."""
        known = endpoints()
        self.assertTrue(verifyObject(IAgentEndpointFactory, known))
        for uri in (b"http://h/", b"https://h:5000/", b"https://[::1]:5000/", b"http://1.1.1.1/"):
            self.assertTrue(
                verifyObject(IStreamClientEndpoint, known.endpointForURI(URI.fromBytes(uri)))
            )
        for uri in (b"file:///etc/passwd", b"ftp://h/", b"unix:/run/docker.sock", b"gopher://h/"):
            with self.assertRaises(SchemeNotSupported):
                known.endpointForURI(URI.fromBytes(uri))

    def test_dynamic_host_is_guarded(self) -> None:
        """A host that a client named is not reached at a private address; a configured one is."""
        for configured in (True, False):
            reactor = MemoryReactorClock()
            http = UpstreamHttp(reactor, HostSettings("127.0.0.1"), guarded=not configured)
            self.begin(http, "http://127.0.0.1/")
            reactor.advance(1)
            self.assertEqual(configured, bool(reactor.tcpClients))

    def test_addresses(self) -> None:
        """A host may be an address of either kind, and what follows it is encoded alike."""
        for host in ("127.0.0.1:5000", "[::1]:5000", "[2001:db8::1]", "registry.example.com"):
            reactor = MemoryReactorClock()
            http = UpstreamHttp(reactor, HostSettings(host))
            asked = self.begin(http, f"http://{host}/v2/é%2F?a=%C3%A9")
            reactor.advance(1)
            self.assertNoResult(asked)
            protocol = reactor.tcpClients[0][2].buildProtocol(None)
            transport = StringTransport()
            protocol.makeConnection(transport)
            sent = transport.value()
            self.assertIn(b"GET /v2/%C3%A9%2F?a=%C3%A9 HTTP/1.1\r\n", sent)
            self.assertIn(b"\r\nUser-Agent: oci-registry\r\n", sent)
            self.assertIn(f"Host: {host}\r\n".encode(), sent)

    def test_too_many_names(self) -> None:
        """A host that a client named is refused before anything is made ready, if it is known how that ends."""
        lookups = Lookups()
        for number in range(AT_ONCE + WAITING):
            lookups.begin(f"h{number}", lambda: None)
        for host, error in (
            ("registry.example.com", TooManyLookups),
            ("registry.example.com:5000", TooManyLookups),
            ("10.0.0.1:5000", DNSLookupError),
            ("[::1]:5000", DNSLookupError),
        ):
            reactor = MemoryReactorClock()
            http = UpstreamHttp(reactor, HostSettings(host), guarded=True, lookups=lookups)
            asked = Deferred.fromCoroutine(http.send("GET", f"https://{host}/v2/", {}))
            self.failureResultOf(asked, error)
            self.assertEqual([], reactor.getDelayedCalls())
            # Where an upstream leads is known by then, and refused alike.
            elsewhere = UpstreamHttp(
                reactor, HostSettings("1.1.1.1"), guarded=True, lookups=lookups
            )
            asked = Deferred.fromCoroutine(elsewhere.send("GET", f"https://{host}/v2/", {}))
            self.failureResultOf(asked, error)

    def test_names(self) -> None:
        """A name is looked up as it is written: decoded, it would be another, or never be answered."""
        for name in ("registry.example.com", "xn--strae-oqa.example", "xn--1-zhc.example"):
            for guarded in (True, False):
                reactor = resolving({name: ["1.1.1.1"]})
                http = UpstreamHttp(reactor, HostSettings("h"), guarded=guarded)
                self.begin(http, f"http://{name}/")
                reactor.advance(1)
                self.assertEqual([("1.1.1.1", 80)], [c[:2] for c in reactor.tcpClients], name)

    def test_names_in_time(self) -> None:
        """A connection that takes too long says so if it waits for a name server, or for its turn."""
        held = [f"h{number}" for number in range(AT_ONCE)]
        for guarded in (True, False):
            reactor, lookups = resolving(dict.fromkeys((*held, "late"))), Lookups()
            resolver = reactor.nameResolver
            http = UpstreamHttp(
                reactor, HostSettings("h"), guarded=guarded, resolver=resolver, lookups=lookups
            )
            begun = [self.begin(http, f"http://{host}/") for host in (*held, "late")]
            reactor.advance(9.9)
            for asked in begun:
                self.assertNoResult(asked)
            reactor.advance(0.2)
            expected: list[type[Exception]] = [NameTimedOut] * AT_ONCE + [
                TooManyLookups if guarded else NameTimedOut
            ]
            for asked, kind in zip(begun, expected, strict=True):
                self.failureResultOf(asked, kind)
        # A request that is cancelled at its own deadline is one of these too.
        http = UpstreamHttp(
            reactor, HostSettings("h"), resolver=resolver, lookups=Lookups(), connect_timeout=50
        )
        for host, error in (("late", NameTimedOut), ("none", DNSLookupError)):
            asked = self.begin(http, f"http://{host}/").addTimeout(5, reactor, too_late)
            reactor.advance(5)
            self.failureResultOf(asked, error)
        # That the look-up of its name has not even begun is no failure of the host.
        lookups = Lookups()
        for host in held:
            lookups.begin(host, lambda: None)
        for proxy in (None, ProxySettings("192.0.2.1", 3128)):
            http = UpstreamHttp(
                reactor,
                HostSettings("h", proxy=proxy),
                guarded=True,
                lookups=lookups,
                connect_timeout=50,
            )
            asked = self.begin(http, "http://queued/").addTimeout(5, reactor, too_late)
            reactor.advance(5)
            self.failureResultOf(asked, TooManyLookups)

    def test_other_look_ups(self) -> None:
        """Whether a connection waits for a name server is its own matter, whoever else waits for the name."""
        answers: list[Deferred[Any]] = []

        def in_thread(*_: object) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        reactor, again = resolving({}), list[Deferred[Any]]()
        http = UpstreamHttp(reactor, HostSettings("h"), resolver=ThreadedResolver(in_thread))
        first, second = self.begin(http, "http://silent/"), self.begin(http, "http://silent/")
        # As requests that waited for a connection of this one do.
        first.addErrback(lambda _: again.append(self.begin(http, "http://silent/")))
        answers.pop().callback([])
        self.assertEqual((1, 1), (len(answers), len(again)))
        self.failureResultOf(second, DNSLookupError)
        answers.pop().callback([("192.0.2.1", 0)])
        reactor.pump([1] * 5)
        last = self.begin(http, "http://silent/")
        reactor.pump([1] * 6)
        failure = self.failureResultOf(again[0], ConnectTimeout)
        self.assertNotIsInstance(failure.value, NameTimedOut)
        reactor.pump([1] * 5)
        self.failureResultOf(last, NameTimedOut)

    def test_underscores(self) -> None:
        """A name with an underscore, which only the DNS knows, is looked up, and guarded, as others are."""
        for name in ("docker_registry", "a_b.example.com"):
            for guarded in (True, False):
                reactor = resolving({name: ["10.0.0.1", "1.1.1.1"]})
                http = UpstreamHttp(reactor, HostSettings("h"), guarded=guarded)
                self.begin(http, f"http://{name}:5000/v2/é?ns=a")
                reactor.advance(1)
                addresses = [client[0] for client in reactor.tcpClients]
                self.assertEqual(guarded, "10.0.0.1" not in addresses, name)
                protocol = reactor.tcpClients[0][2].buildProtocol(None)
                transport = StringTransport()
                protocol.makeConnection(transport)
                self.assertIn(f"Host: {name}:5000\r\n".encode(), transport.value())

    def test_absolute_name(self) -> None:
        """With a dot at its end a name is looked up, and nothing but looked up, and no other name is."""
        names = {"reg.example.": ["1.1.1.1"], "other.example": ["2.2.2.2"]}
        for url, address in (
            ("http://reg.example:5000/", "1.1.1.1"),
            ("http://other.example/", "2.2.2.2"),
        ):
            reactor = resolving(names)
            http = UpstreamHttp(reactor, HostSettings("reg.example:5000", tls=False, absolute=True))
            self.begin(http, url)
            reactor.advance(1)
            self.assertEqual([address], [client[0] for client in reactor.tcpClients])
            protocol = reactor.tcpClients[0][2].buildProtocol(None)
            transport = StringTransport()
            protocol.makeConnection(transport)
            self.assertIn(url.split("/")[2].encode() + b"\r\n", transport.value())

    def test_no_such_address(self) -> None:
        """A URL that leads to nowhere says so, wherever that is found out."""
        http = UpstreamHttp(MemoryReactorClock(), HostSettings("h"))
        for url in (
            "",
            "registry.example.com",
            "https://",
            "https://a..b/",
            "https://a b/",
            "https://user@h/",
            "https://[::1%25lo]/",
            "https://[fe80::1/",
            "https://xn--/",
            "https://\u2028/",
            "https://h:99999999999/",
            "file:///etc/passwd",
        ):
            asked = self.begin(http, url)
            error = self.failureResultOf(asked).value
            message = explain(error, "registry.example.com").message
            self.assertIn("an invalid address", message, url)
        self.assertEqual([], self.flushLoggedErrors())

    def test_connect_timeout(self) -> None:
        """To find and to reach a host takes no longer than was allowed, however many its addresses."""
        addresses = [f"1.1.1.{n}" for n in range(50)]
        for names, timeout in (({"h": addresses}, 3.0), ({"h": None}, 7.0)):
            reactor = resolving(names)
            http = UpstreamHttp(reactor, HostSettings("h"), connect_timeout=timeout)
            asked = self.begin(http, "http://h/")
            reactor.pump([0.1] * int(timeout * 10 - 1))
            self.assertNoResult(asked)
            reactor.pump([0.1] * 2)
            self.failureResultOf(asked, ConnectTimeout)

    def test_no_secret_in_repr(self) -> None:
        """Settings and client tell no password."""
        credentials = Credentials("pat", "s3cret")
        proxy = ProxySettings("proxy", 3128, credentials=credentials)
        settings = HostSettings("h", credentials=credentials, proxy=proxy)
        egress = EgressSettings(https_proxy=proxy)
        http = UpstreamHttp(MemoryReactorClock(), settings, egress=egress)
        self.assertNotIn("s3cret", repr(settings) + repr(egress) + repr(http) + repr(vars(http)))


class ByProxy(SynchronousTestCase):
    """Requests that go by a proxy."""

    PROXY = ProxySettings("proxy.example.com", 3128)

    def connect(self, url: str, *, guarded: bool = False, **names: list[str]) -> tuple[Any, Any]:
        """Ask for *url*; return the reactor, and the transport of the connection to the proxy."""
        known = {"proxy.example.com": ["10.0.0.1"], **names}
        reactor = resolving(known)
        egress = EgressSettings(https_proxy=self.PROXY, http_proxy=self.PROXY)
        http = UpstreamHttp(reactor, HostSettings("h"), guarded=guarded, egress=egress)
        asked = Deferred.fromCoroutine(http.send("GET", url, {}))
        self.addCleanup(lambda: asked.addErrback(lambda _: None).cancel())
        reactor.advance(1)
        self.asked = asked
        if not reactor.tcpClients:
            return reactor, None
        self.assertEqual(("10.0.0.1", 3128), reactor.tcpClients[0][:2])
        protocol = reactor.tcpClients[0][2].buildProtocol(IPv4Address("TCP", "10.0.0.1", 3128))
        transport = TcpTransport()
        protocol.makeConnection(transport)
        self.protocol = protocol
        return reactor, transport

    def test_http(self) -> None:
        """http goes through a tunnel too, so that the proxy sees no request and no secret in it."""
        _, transport = self.connect("http://registry.example.com/v2/")
        self.assertTrue(transport.value().startswith(b"CONNECT registry.example.com:80 HTTP/1.1"))
        transport.clear()
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"GET /v2/ HTTP/1.1\r\n"))

    def test_https(self) -> None:
        """https is spoken through the tunnel, to the host that is meant."""
        _, transport = self.connect("https://registry.example.com/v2/")
        self.assertTrue(transport.value().startswith(b"CONNECT registry.example.com:443 HTTP/1.1"))
        transport.clear()
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(transport.value().startswith(b"\x16\x03"))
        self.assertIn(b"registry.example.com", transport.value())

    def test_proxy_that_nothing_is_called(self) -> None:
        """A proxy's name that only Twisted refuses could not be resolved."""
        http = UpstreamHttp(
            MemoryReactorClock(),
            HostSettings("h", proxy=ProxySettings("xn--a", 3128)),
        )
        asked = Deferred.fromCoroutine(http.send("GET", "https://h/", {}))
        error = self.failureResultOf(asked, ProxyFailed).value
        self.assertIsInstance(error.reason, DNSLookupError)

    def test_guarded(self) -> None:
        """For a host that a client named the proxy is told an address that was judged, and no name."""
        host = "registry.example.com"
        addresses = {host: ["10.9.9.9", "1.1.1.1", "127.0.0.1"]}
        _, transport = self.connect(f"https://{host}/v2/", guarded=True, **addresses)
        self.assertTrue(transport.value().startswith(b"CONNECT 1.1.1.1:443 HTTP/1.1\r\n"))
        self.assertNotIn(host.encode(), transport.value())
        transport.clear()
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertIn(host.encode(), transport.value())

    def test_guarded_in_time(self) -> None:
        """A look-up that takes too long is told as without a proxy: a host is not blamed for the queue."""
        held = [f"h{number}" for number in range(AT_ONCE)]
        reactor = resolving(dict.fromkeys((*held, "late")))
        settings = HostSettings("h", proxy=self.PROXY)
        http = UpstreamHttp(reactor, settings, guarded=True, connect_timeout=3)
        begun = [
            Deferred.fromCoroutine(http.send("GET", f"https://{host}/", {}))
            for host in (*held, "late")
        ]
        reactor.advance(3)
        self.failureResultOf(begun.pop(), TooManyLookups)
        for asked in begun:
            self.failureResultOf(asked, NameTimedOut)

    def test_guarded_and_private(self) -> None:
        """A host with no public address is not asked for: the proxy might reach it."""
        for url, names in (
            ("https://registry.example.com/", {"registry.example.com": ["10.9.9.9", "fd00::1"]}),
            ("https://registry.example.com/", {"registry.example.com": []}),
            ("https://10.9.9.9/", {}),
            ("http://[::ffff:10.9.9.9]/", {}),
        ):
            reactor, _ = self.connect(url, guarded=True, **names)
            self.assertEqual([], reactor.tcpClients, url)
            self.failureResultOf(self.asked, DNSLookupError)
