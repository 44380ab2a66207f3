"""HTTP requests to one host of an upstream: authorization, redirects, and attribution of failures."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.urls import BadRedirect, Url
from oci_registry.streams.body import abandon
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.authenticator import with_authorization
from oci_registry.upstream.breaker_keys import Endpoint
from oci_registry.upstream.errors import CredentialsRefused, WrongAnswer
from oci_registry.upstream.failures import explain, header, refuse
from oci_registry.upstream.naming import NsField
from oci_registry.upstream.other_servers import MAX_CHALLENGES, OtherServers
from oci_registry.upstream.plain import check_plain
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.reports import HostReports
from oci_registry.upstream.requests import Call, Kind

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@frozen
class Reply:
    """The head of a response. *endpoint*: the kind of the request, or the origin of another server."""

    response: IResponse
    endpoint: Endpoint


class Session:
    """HTTP requests to one host of an upstream, with authorization and redirects.

    Credentials are sent to their own origin only. Failures of the host are raised as treq does;
    `explain` makes `RegistryError`s of them. Failures of other servers are raised as
    `TargetFailed`. A host that may be a mirror of many registries gets the parameter ``ns``.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        http: UpstreamHttp,
        clock: IReactorTime,
        others: OtherServers,
        limit: RateLimit,
        reports: HostReports,
    ) -> None:
        self.host = host.name
        self.clock = clock
        self.reports = reports
        self.url = host.url
        self._public_only = host.guarded
        self._plain = not host.tls
        self._prefix = f"{host.path}/" if host.path else ""
        self._http = http
        self._user = "" if host.credentials is None else host.credentials.username
        self._limit = limit
        self._auth = others.authenticator(host.url, host)
        self._ns = NsField(settings.namespace, host)
        self._others = others

    async def close(self) -> None:
        """Close idle connections; requests in flight continue."""
        await self._http.close()

    def explain(self, error: BaseException | None) -> RegistryError:
        """Return the error to raise for a failure of a request or a body."""
        return explain(error, self.host, public_only=self._public_only, plain=self._plain)

    def refuse(self, response: IResponse, unknown: type[RegistryError], what: str) -> RegistryError:
        """Return the error for an unsuccessful answer, whose body is dropped."""
        abandon(response, self.clock)
        return refuse(response, self.host, unknown, what, self.clock.seconds())

    async def send(
        self, call: Call, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and return the response, whatever its status; *path* is below ``/v2/``."""
        url = f"{self.url}/v2/{self._prefix}{path}"
        reply = await self._authorized(call, method, self._ns.added_to(url), headers or {})
        if reply.endpoint is not call.request.kind or not self._ns.sent:
            return reply
        if self._ns.is_another(reply.response.code, header(reply.response, "OCI-Namespace")):
            abandon(reply.response, self.clock)
            raise WrongAnswer(f"upstream {self.host} answered for another registry")
        if not self._ns.may_refuse(reply.response.code):
            return reply
        plain = await self._authorized(call, method, url, headers or {})
        response, other = reply.response, plain.response
        if self._ns.replaces(other.code, header(other, "OCI-Namespace")):
            reply, response = plain, reply.response
        else:
            response = other
        abandon(response, self.clock)
        return reply

    async def _authorized(
        self, call: Call, method: str, url: str, headers: Mapping[str, str]
    ) -> Reply:
        """Send a request, and repeat it while refusals can be answered."""
        scope = f"repository:{self._prefix}{call.request.repository}:pull"
        authorization = self._auth.cached_authorization(scope)
        for _ in range(MAX_CHALLENGES):
            reply = await self._follow(call, method, url, headers, authorization)
            response = reply.response
            hidden = self._auth.has_credentials and authorization is None and _may_hide(response)
            own = reply.endpoint is call.request.kind
            if not hidden and not (own and response.code in (401, 403)):
                return reply
            retry = await self._others.retry(
                call, self._auth, scope, response, authorization, own=own
            )
            if retry is None:
                self._check_refused(reply, authorization)
                return reply
            abandon(response, self.clock)
            authorization = retry.authorization
            call = evolve(call, why=f"{call.why}; after status {response.code}")
        return await self._follow(call, method, url, headers, authorization)

    def _check_refused(self, reply: Reply, authorization: str | None) -> None:
        """Raise `CredentialsRefused` if the host does not accept the password that it was sent."""
        if reply.response.code == 401 and self._auth.is_password(authorization):
            abandon(reply.response, self.clock)
            message = f"upstream {self.host} refused the credentials (status 401)"
            raise CredentialsRefused(message, self._user, self.url, 401)

    async def _follow(
        self,
        call: Call,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
    ) -> Reply:
        """Send a request and follow redirects, without the host's credentials."""
        at = Url.parse(url)
        home = at.origin
        for _ in range(MAX_REDIRECTS + 1):
            endpoint: Endpoint = call.request.kind if at.origin == home else at.origin
            if at.origin == home:
                sent = with_authorization(headers, authorization)
                response = await self._http.send(method, at.text, sent, why=call.why)
                self._limit.note(response, blob=call.request.kind in (Kind.BLOB, Kind.SIZE))
                if self._plain and response.code == 400:
                    response = await check_plain(response, self.host, self.clock)
            else:
                response = await self._others.send(call, method, at, headers)
            if response.code not in _REDIRECTS:
                return Reply(response, endpoint)
            abandon(response, self.clock)
            try:
                at = at.redirected(header(response, "Location"))
            except BadRedirect as error:
                raise WrongAnswer(f"upstream {self.host} {error}") from None
        raise WrongAnswer(f"upstream {self.host} redirects too many times")


def _may_hide(response: IResponse) -> bool:
    """Return whether a response may hide private content from anonymous clients."""
    if response.code == 200:
        return (header(response, "Content-Type") or "").lower().startswith("text/html")
    return response.code in (401, 403, 404)
