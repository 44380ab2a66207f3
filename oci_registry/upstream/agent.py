"""The HTTP client of one upstream: connection pool, TLS policy, identity encoding, no cookies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IHostnameResolver,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from oci_registry.config.settings import EgressSettings, HostSettings, ProxySettings
from oci_registry.spec.encoded_urls import encoded
from oci_registry.upstream.authority import Authority
from oci_registry.upstream.errors import TooManyLookups
from oci_registry.upstream.failures import NameCancelled, too_late
from oci_registry.upstream.guard import GuardedReactor, Lookups, resolve_public
from oci_registry.upstream.names import NamedReactor, NamesReactor
from oci_registry.upstream.proxies import Proxies
from oci_registry.upstream.request_log import RequestLog
from oci_registry.upstream.tls import proxy_policy, tls_policy
from oci_registry.upstream.tls_pieces import TlsEndpoint
from oci_registry.upstream.tunnel import TunnelEndpoint
from oci_registry.upstream.wire import BoundedPool

ATTEMPT_DELAY = 0.1
"""Seconds before the next address of a host is tried (RFC 8305, Connection Attempt Delay)."""
POOLED = 16
"""Idle connections kept per host."""
USER_AGENT = "oci-registry"
_HIDDEN = (b"Content-Encoding", b"Set-Cookie", b"Set-Cookie2")


class Undecoded(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response without the headers that treq acts on: decodes its body, to any length, or reads cookies."""

    original: IResponse

    def __init__(self, original: IResponse) -> None:
        self.original = original
        self._headers: Headers = original.headers.copy()
        for name in _HIDDEN:
            self._headers.removeHeader(name)

    @property
    def headers(self) -> Headers:
        """All headers but those."""
        return self._headers


@implementer(IAgent)
class IdentityAgent:
    """Requests bodies without a content coding, and returns them undecoded.

    It sits below treq, whose own wrapper adds ``Accept-Encoding: gzip`` to each request and decodes the
    response.
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
        """Send the request with ``Accept-Encoding: identity``; return an `Undecoded` response."""
        headers = Headers() if headers is None else headers.copy()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        answer: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return answer.addCallback(Undecoded)


@implementer(IStreamClientEndpoint)
class _DirectEndpoint:
    """Connects to the addresses of a host, each soon after the one before.

    Connecting takes *timeout* seconds at most. *guarded*: the reactor, if it is a `GuardedReactor`.
    """

    def __init__(
        self,
        reactor: Any,
        authority: Authority,
        timeout: float,
        guarded: GuardedReactor | None = None,
    ) -> None:
        self._reactor = reactor
        self._authority = authority
        self._guarded = guarded
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect.

        Fails with `DNSLookupError`, also for an invalid name, `TooManyLookups`, `NameTimedOut`, or what
        the system says; when it is cancelled, with `TooManyLookups`, `NameCancelled` or
        ConnectingCancelledError.
        """
        host = self._authority.host
        if self._guarded is not None:
            try:
                self._guarded.check(host)
            except (DNSLookupError, TooManyLookups):
                return fail()
        reactor = NamedReactor(self._reactor, host)

        def failed(failure: Failure) -> Failure:
            if failure.check(ValueError):
                return Failure(DNSLookupError())
            if failure.check(DNSLookupError) and reactor.looking_up:
                # Twisted's error if a look-up is cancelled.
                guarded = self._guarded
                return Failure(guarded.cancelled(host) if guarded else NameCancelled(host))
            return failure

        # The DNS has names with underscores (RFC 2181 section 11), which HostnameEndpoint does not know.
        # As text: bytes would be decoded for the resolver, and encoded again with the older IDNA 2003.
        endpoint = HostnameEndpoint(
            reactor,
            "named.invalid" if "_" in host else host,
            self._authority.port,
            timeout=self._timeout,
            attemptDelay=ATTEMPT_DELAY,
        )
        connecting: Deferred[IProtocol] = endpoint.connect(protocolFactory)
        return connecting.addErrback(failed).addTimeout(self._timeout, self._reactor, too_late)


@implementer(IAgentEndpointFactory)
class Endpoints:
    """How to connect for a URI: directly or by a proxy, and with TLS for https.

    With a *guarded* reactor, to public addresses only; a proxy is then given the address, so that it
    resolves nothing. Making a connection takes *timeout* seconds at most.
    """

    def __init__(
        self,
        reactor: Any,
        settings: HostSettings,
        egress: EgressSettings,
        *,
        guarded: GuardedReactor | None,
        timeout: float,
    ) -> None:
        self._reactor = reactor
        self._guarded = guarded
        self._timeout = timeout
        self._absolute = Authority.of_upstream(settings) if settings.absolute else None
        self._policy = tls_policy(settings)
        self._proxy_policy = proxy_policy(settings)
        self._proxies = Proxies(settings, egress)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint; SchemeNotSupported for anything but http and https, or `BadAddress`."""
        scheme = uri.scheme.decode("ascii", "replace")
        if scheme not in ("http", "https"):
            raise SchemeNotSupported(f"{scheme!r} is not a supported URL scheme")
        authority = Authority.of_uri(uri)
        proxy = self._proxies.choose(scheme, authority)
        endpoint = self._direct(authority) if proxy is None else self._tunnel(authority, proxy)
        if scheme == "http":
            return endpoint
        creator = self._policy.creatorForNetloc(uri.host, uri.port)
        return TlsEndpoint(creator, endpoint, self._reactor)

    def _direct(self, authority: Authority) -> IStreamClientEndpoint:
        if authority == self._absolute:
            authority = Authority(f"{authority.host}.", authority.port)
        reactor = self._guarded or self._reactor
        return _DirectEndpoint(reactor, authority, self._timeout, self._guarded)

    def _tunnel(self, authority: Authority, proxy: ProxySettings) -> IStreamClientEndpoint:
        at = Authority.of_proxy(proxy)
        to_proxy: IStreamClientEndpoint = _DirectEndpoint(self._reactor, at, self._timeout)
        if proxy.tls:
            creator = self._proxy_policy.creatorForNetloc(at.host.encode("ascii"), at.port)
            to_proxy = TlsEndpoint(creator, to_proxy, self._reactor)

        def find_hosts() -> Deferred[Sequence[str]]:
            if self._guarded is None:
                return succeed([authority.host])
            return resolve_public(self._guarded, authority.host)

        return TunnelEndpoint(
            self._reactor, proxy, to_proxy, find_hosts, authority.port, self._timeout
        )


class UpstreamHttp:
    """The HTTP client of one host of an upstream, and of the servers that it redirects to.

    Responses are returned with the body unread and undecoded; redirects are not followed, cookies are
    not kept, and heads are bounded as described in `wire`. *resolver* looks names up, in place of the
    reactor's. *guarded*: connect to public addresses only, whose look-ups *lookups* counts. *egress*: the
    proxies, unless the host has its own. *connect_timeout* in seconds. Every request names the
    *user_agent*. Raises what `tls_policy` raises.
    """

    def __init__(
        self,
        reactor: Any,
        settings: HostSettings,
        *,
        guarded: bool = False,
        egress: EgressSettings = EgressSettings(),  # noqa: B008 - frozen
        connect_timeout: float = 10.0,
        resolver: IHostnameResolver | None = None,
        lookups: Lookups | None = None,
        user_agent: str = USER_AGENT,
    ) -> None:
        if resolver is not None:
            reactor = NamesReactor(reactor, resolver)
        self._reactor = reactor
        self._requests = RequestLog(reactor)
        self._user_agent = user_agent
        self._pool: Any = BoundedPool(reactor)  # type: ignore[no-untyped-call]
        self._pool.maxPersistentPerHost = POOLED
        self._guarded = GuardedReactor(reactor, lookups or Lookups()) if guarded else None
        self._host = Authority.of_upstream(settings).host
        self._answered = False
        self._shared = False
        self._endpoints = Endpoints(
            reactor, settings, egress, guarded=self._guarded, timeout=connect_timeout
        )

    @cached_property
    def _client(self) -> HTTPClient:
        """The client, made at the first request: hosts that clients name at random may never get one."""
        agent = Agent.usingEndpointFactory(self._reactor, self._endpoints, self._pool)
        no_cookies: Any = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        return HTTPClient(IdentityAgent(agent), cookiejar=no_cookies)

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        why: str = "",
    ) -> IResponse:
        """Send a request and return the answer; raises whatever went wrong.

        *why* it is sent is for the log.
        """
        return await self._requests.watch(method, url, why, self._send(method, url, headers, data))

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> IResponse:
        if self._guarded is not None and not self._answered:
            # There may be thousands of such requests at once, and the rest of a request costs a millisecond.
            self._guarded.check(self._host)
        sent = {"User-Agent": self._user_agent, **headers}
        response = await self._client.request(
            method,
            encoded(url),
            headers=Headers({name: [value] for name, value in sent.items()}),
            data=data,
            allow_redirects=False,
            unbuffered=True,
            reactor=self._reactor,
        )
        self._answered = True
        # The original response inside treq's wrapper and ours has all its headers.
        undecoded = response.original
        assert isinstance(undecoded, Undecoded)
        return undecoded.original

    def shared(self) -> UpstreamHttp:
        """Return this client for one of several users; closing it leaves the connections open."""
        borrowed = copy(self)
        borrowed._shared = True
        return borrowed

    def close(self) -> Deferred[None]:
        """Close idle connections; those in use are closed with their responses."""
        if self._shared:
            return succeed(None)
        # Connections that are returned to the pool from now on are closed.
        self._pool.cachedConnectionTimeout = 0
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed
