"""The HTTP client below the upstreams: what it asks for, whom it believes."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, BrowserLikePolicyForHTTPS
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from oci_registry.config.settings import Credentials, HostSettings
from oci_registry.upstream.agent import (
    AnyCertificate,
    Endpoints,
    IdentityAgent,
    UpstreamHttp,
    tls_policy,
)
from tests.support.certificates import Certified
from tests.support.fake_http import FakeResponse, as_response


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


class Policies(SynchronousTestCase):
    """Whose certificates are believed."""

    def settings(self, **options: Any) -> HostSettings:
        return HostSettings("registry.example.com", **options)

    def test_default(self) -> None:
        """Certificates are checked as browsers do."""
        self.assertIsInstance(tls_policy(self.settings()), BrowserLikePolicyForHTTPS)

    def test_any(self) -> None:
        """Only who asks for it believes anybody; a name is still sent, an address is not."""
        policy = tls_policy(self.settings(accept_invalid_certs=True))
        self.assertIsInstance(policy, AnyCertificate)
        self.assertTrue(verifyObject(IPolicyForHTTPS, policy))
        for host, sent in (
            (b"registry.example.com", b"registry.example.com"),
            (b"127.0.0.1", None),
            (b"::1", None),
            (b"fe80::1", None),
        ):
            creator: Any = policy.creatorForNetloc(host, 443)
            connection = creator.clientConnectionForTLS(None)
            self.assertIsInstance(connection, SSL.Connection)
            connection.set_connect_state()
            self.assertEqual(sent, connection.get_servername(), host)

    def test_own_authorities(self) -> None:
        """A file may hold several authorities, with text between them."""
        path = self.mktemp()
        with open(path, "w") as file:
            for name in ("a.example.com", "b.example.com"):
                file.write(f"# {name}\n{Certified(name).certificate.decode()}\n\n")
        self.assertIsInstance(tls_policy(self.settings(ca_file=path)), BrowserLikePolicyForHTTPS)

    def test_bad_file(self) -> None:
        """A file without a certificate, or none at all, is an error at start."""
        path = self.mktemp()
        with self.assertRaises(OSError):
            tls_policy(self.settings(ca_file=path))
        for content in (b"", b"hello", b"\xff" * 100):
            with open(path, "wb") as file:
                file.write(content)
            with self.assertRaises(ValueError) as caught:
                tls_policy(self.settings(ca_file=path))
            self.assertIn(path, str(caught.exception))

    def test_broken_certificate(self) -> None:
        """A certificate that is none is an error at start as well."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
        with self.assertRaises((ValueError, OSError)):
            tls_policy(self.settings(ca_file=path))


class Connections(SynchronousTestCase):
    """Where requests go."""

    def test_schemes(self) -> None:
        """http and https are known, and nothing else is."""
        endpoints = Endpoints(MemoryReactorClock(), AnyCertificate(), 10.0)
        self.assertTrue(verifyObject(IAgentEndpointFactory, endpoints))
        for uri in (b"http://h/", b"https://h:5000/", b"https://[::1]:5000/", b"http://1.1.1.1/"):
            endpoints.endpointForURI(URI.fromBytes(uri))
        for uri in (b"file:///etc/passwd", b"ftp://h/", b"unix:/run/docker.sock", b"gopher://h/"):
            with self.assertRaises(SchemeNotSupported):
                endpoints.endpointForURI(URI.fromBytes(uri))

    def test_dynamic_host_is_guarded(self) -> None:
        """A host that a client named is not reached at a private address; a configured one is."""
        for configured in (True, False):
            reactor = MemoryReactorClock()
            http = UpstreamHttp(reactor, HostSettings("127.0.0.1"), guarded=not configured)
            asked = Deferred.fromCoroutine(http.send("GET", "http://127.0.0.1/", {}))
            reactor.advance(1)
            self.assertEqual(configured, bool(reactor.tcpClients))
            asked.addErrback(lambda _: None)
            asked.cancel()

    def test_addresses(self) -> None:
        """A host may be an address of either kind, and what follows it is encoded alike."""
        for host in ("127.0.0.1:5000", "[::1]:5000", "[2001:db8::1]", "registry.example.com"):
            reactor = MemoryReactorClock()
            http = UpstreamHttp(reactor, HostSettings(host))
            asked = Deferred.fromCoroutine(http.send("GET", f"http://{host}/v2/é%2F?a=%C3%A9", {}))
            reactor.advance(1)
            self.assertNoResult(asked)
            protocol = reactor.tcpClients[0][2].buildProtocol(None)
            transport = StringTransport()
            protocol.makeConnection(transport)
            sent = transport.value()
            self.assertIn(b"GET /v2/%C3%A9%2F?a=%C3%A9 HTTP/1.1\r\n", sent)
            self.assertIn(f"Host: {host}\r\n".encode(), sent)
            asked.addErrback(lambda _: None)
            asked.cancel()

    def test_no_secret_in_repr(self) -> None:
        """Settings and client tell no password."""
        settings = HostSettings("h", credentials=Credentials("pat", "s3cret"))
        shown = repr(settings) + repr(UpstreamHttp(MemoryReactorClock(), settings))
        self.assertNotIn("s3cret", shown)
