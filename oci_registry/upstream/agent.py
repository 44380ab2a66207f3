"""The HTTP client of one upstream: connection pool, TLS policy, identity encoding, no cookies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

from hyperlink import EncodedURL
from OpenSSL import SSL, crypto
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet._sslverify import IOpenSSLTrustRoot  # what trustRoot is adapted to
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from oci_registry.config.settings import EgressSettings, HostSettings
from oci_registry.upstream.guard import GuardedReactor

ATTEMPT_DELAY = 0.1
"""Seconds before the next address of a host is tried, and before a refusal is noticed (RFC 8305)."""
POOLED = 16
"""Idle connections kept per host."""


@implementer(IAgent)
class IdentityAgent:
    """Ask for bodies as they are.

    It sits below treq, whose own decoding wrapper asks for gzip on every request; a server that
    compresses all the same is decoded there.
    """

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """Send the request with ``Accept-Encoding: identity``."""
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self._agent.request(method, uri, headers, bodyProducer)


@implementer(IOpenSSLClientConnectionCreator)
class _UnverifiedConnection:
    def __init__(self, context: SSL.Context, host: bytes) -> None:
        self._context = context
        self._host = host

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if (
            any(c.isalpha() for c in self._host.decode("ascii", "replace"))
            and b":" not in self._host
        ):
            connection.set_tlsext_host_name(self._host)
        return connection


@implementer(IPolicyForHTTPS)
class AnyCertificate:
    """The policy of ``accept_invalid_certs``: encrypt, believe anybody."""

    def __init__(self) -> None:
        options = CertificateOptions(verify=False, insecurelyLowerMinimumTo=TLSVersion.TLSv1_0)
        self._context: SSL.Context = options.getContext()

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Return what makes the connection."""
        return _UnverifiedConnection(self._context, hostname)


@implementer(IAgentEndpointFactory)
class Endpoints:
    """Where to connect for a URI: to the addresses of its host, the next one soon after the last."""

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, timeout: float) -> None:
        self._reactor = reactor
        self._policy = policy
        self._timeout = timeout

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint; SchemeNotSupported for anything but http and https."""
        endpoint = HostnameEndpoint(
            self._reactor,
            uri.host,
            uri.port,
            timeout=self._timeout,
            attemptDelay=ATTEMPT_DELAY,
        )
        if uri.scheme == b"http":
            return endpoint
        if uri.scheme == b"https":
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            return wrapClientTLS(creator, endpoint)
        raise SchemeNotSupported(f"{uri.scheme!r} is not a scheme to fetch from")


@implementer(IOpenSSLTrustRoot)
class _TrustRoots:
    """Several trust roots: a registry of one's own may redirect to a public store."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self._roots = tuple(roots)

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        for root in self._roots:
            root._addCACertsToContext(context)


def tls_policy(settings: HostSettings) -> IPolicyForHTTPS:
    """Return how an upstream's certificate is judged. Raises OSError or ValueError for a bad ca_file."""
    if settings.accept_invalid_certs:
        return AnyCertificate()
    if settings.ca_file is None:
        return BrowserLikePolicyForHTTPS()
    end = "-----END CERTIFICATE-----"
    text = Path(settings.ca_file).read_text("utf-8", "replace")
    try:
        certificates = [
            Certificate.loadPEM(
                (part[part.index("-----BEGIN CERTIFICATE") :] + end + "\n").encode()
            )
            for part in text.split(end)
            if "-----BEGIN CERTIFICATE" in part
        ]
    except crypto.Error:
        raise ValueError(f"{settings.ca_file} holds a certificate that cannot be read") from None
    if not certificates:
        raise ValueError(f"{settings.ca_file} holds no certificate")
    roots = platformTrust(), trustRootFromCertificates(certificates)
    return BrowserLikePolicyForHTTPS(trustRoot=_TrustRoots(roots))


class _AddressURL(EncodedURL):
    """A URL with an IPv6 address for a host, which hyperlink would encode like a name, and fail."""

    def to_uri(self) -> EncodedURL:
        """Return the URL in ASCII."""
        plain = EncodedURL.from_text(self.replace(host="address").to_text()).to_uri()
        return plain.replace(host=self.host)


def _parse_url(url: str) -> EncodedURL:
    """Return a URL for treq; ValueError for what is none."""
    parsed = EncodedURL.from_text(url)
    return _AddressURL.from_text(url) if ":" in parsed.host else parsed


class UpstreamHttp:
    """The HTTP client of one host of an upstream, and of whatever that leads to.

    Answers come as they are: body unread, redirects not followed, cookies not kept. *guarded*:
    reach public addresses only. *connect_timeout* in seconds. Raises what `tls_policy` raises.
    """

    def __init__(
        self,
        reactor: Any,
        settings: HostSettings,
        *,
        guarded: bool = False,
        egress: EgressSettings = EgressSettings(),  # noqa: B008 - frozen
        connect_timeout: float = 10.0,
    ) -> None:
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = POOLED
        reached = GuardedReactor(reactor) if guarded else reactor
        endpoints = Endpoints(reached, tls_policy(settings), connect_timeout)
        agent = Agent.usingEndpointFactory(reactor, endpoints, self._pool)
        no_cookies = IndexableCookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = HTTPClient(IdentityAgent(agent), cookiejar=no_cookies)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> IResponse:
        """Send a request and return the answer; raises whatever went wrong on the way."""
        response: IResponse = await self._client.request(
            method,
            _parse_url(url),
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=data,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        return response

    def close(self) -> Deferred[None]:
        """Close idle connections; those in use are closed with their responses."""
        # What comes back to the pool from now on does not stay there.
        self._pool.cachedConnectionTimeout = 0
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed
