"""One host of an upstream over HTTP: authorization, redirects, and whose fault a failure is."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from attrs import evolve, frozen
from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.config.settings import HostSettings, UpstreamSettings
from oci_registry.spec.challenge import read_lines
from oci_registry.spec.errors import Denied, NameUnknown, RegistryError
from oci_registry.spec.urls import BadRedirect, Url
from oci_registry.streams.body import abandon
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.authenticator import Authenticator, Refusal, Retry
from oci_registry.upstream.circuit import Area
from oci_registry.upstream.circuits import Circuits
from oci_registry.upstream.failures import (
    CredentialsRefused,
    TargetFailed,
    TargetRefused,
    WrongAnswer,
    explain,
    header,
    refuse,
    too_late,
    was_cancelled,
)
from oci_registry.upstream.limits import RateLimit
from oci_registry.upstream.naming import NsField
from oci_registry.upstream.questions import Question
from oci_registry.upstream.reports import HostReports

T = TypeVar("T")

MAX_REDIRECTS = 10
MAX_CHALLENGES = 4
"""Refusals of one request that are answered with other credentials."""
MAX_TARGETS = 32
"""Servers that a host has led to whose tokens are kept."""
TOKEN_SERVER = "token server"  # noqa: S105 - the area of its failures
_NAME_IN_PATH = re.compile(r"/v2/([a-zA-Z0-9._/-]{1,255})/(?:manifests|blobs|tags|referrers)/")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A server that a host leads to has this much less time, so that its timeout is known as its own.
_MARGIN = 0.05

SettingsOf = Callable[[str], HostSettings | None]
"""Returns what the operator has configured for the host with an origin, if anything."""


@frozen
class Call:
    """A question that is put to a host, and answered before *deadline* on the reactor's clock.

    *wait*: there is no alternative, so servers whose circuit is open are waited for. *why* it is put
    is for the log.
    """

    question: Question
    deadline: float
    wait: bool
    why: str = ""


@frozen
class Reply:
    """The head of an answer. *area*: the kind of the question, or the origin of another server."""

    response: IResponse
    area: Area


class Session:
    """One host of an upstream: requests are authorized, and redirects followed.

    Credentials go to their own origin alone. The host's failures are what treq raises, to be turned
    into a `RegistryError` by `explain`; a failure of a server that it leads to is a `TargetFailed`.

    A host that may be a mirror of many registries gets the one that is meant as the field ``ns``.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        host: HostSettings,
        http: UpstreamHttp,
        clock: IReactorTime,
        circuits: Circuits,
        limit: RateLimit,
        reports: HostReports,
        *,
        settings_of: SettingsOf = lambda _: None,
    ) -> None:
        self.host = host.name
        self.clock = clock
        self.reports = reports
        self._public_only = host.guarded
        self.url = host.url
        self._origin = Url.parse(self.url).origin
        self._user_agent = settings.user_agent or "oci-registry"
        self._http = http
        self._circuits = circuits
        self._limit = limit
        self._auth = Authenticator(
            http, self.url, host.credentials, clock, host.token_servers, self._user_agent
        )
        self._has_credentials = host.credentials is not None
        self._user = "" if host.credentials is None else host.credentials.username
        self._ns = NsField(settings.namespace, host)
        self._prefix = f"{host.path}/" if host.path else ""
        self._settings_of = settings_of
        self._others: LRUCache[str, Authenticator] = LRUCache(MAX_TARGETS)

    async def close(self) -> None:
        """Close idle connections; requests in flight continue."""
        await self._http.close()

    def explain(self, error: BaseException | None) -> RegistryError:
        """Return the error to raise for what has happened to a request or to a body."""
        return explain(error, self.host, public_only=self._public_only)

    def refuse(self, response: IResponse, unknown: type[RegistryError], what: str) -> RegistryError:
        """Return the error for an answer that is not the one hoped for, whose body is dropped."""
        abandon(response, self.clock)
        return refuse(response, self.host, unknown, what, self.clock.seconds())

    async def send(
        self, call: Call, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and return the answer, whatever its status; *path* is below ``/v2/``."""
        url = f"{self.url}/v2/{self._prefix}{path}"
        reply = await self._authorized(call, method, self._ns.added_to(url), headers or {})
        if reply.area is not call.question.kind or not self._ns.sent:
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
        """Send a request, and again as long as a refusal can be answered."""
        scope = f"repository:{self._prefix}{call.question.repository}:pull"
        authorization = self._auth.at_hand(scope)
        for _ in range(MAX_CHALLENGES):
            reply = await self._follow(call, method, url, headers, authorization)
            response = reply.response
            hidden = self._has_credentials and authorization is None and _may_hide(response)
            own = reply.area is call.question.kind
            if not hidden and not (own and response.code in (401, 403)):
                return reply
            retry = await self._retry(call, self._auth, scope, response, authorization, own=own)
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

    def _headers(self, headers: Mapping[str, str], authorization: str | None) -> dict[str, str]:
        own = {"User-Agent": self._user_agent, **headers}
        return own if authorization is None else {**own, "Authorization": authorization}

    async def _retry(
        self,
        call: Call,
        auth: Authenticator,
        scope: str,
        response: IResponse,
        sent: str | None,
        *,
        own: bool = True,
    ) -> Retry | None:
        """Return how to ask once more after a refusal; *own*: its challenges are for *auth*."""
        lines = response.headers.getRawHeaders(b"WWW-Authenticate") if own else None
        refusal = Refusal(response.code, read_lines(lines or ()), scope, sent)
        try:
            return await self._of_another(call, TOKEN_SERVER, auth.answer(refusal))
        except BaseException:
            abandon(response, self.clock)
            raise

    async def _follow(
        self,
        call: Call,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
    ) -> Reply:
        """Send a request and go where it is redirected, leaving the host's credentials behind."""
        at = Url.parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            origin = at.origin
            area: Area = call.question.kind
            if origin == self._origin:
                sent = self._headers(headers, authorization)
                response = await self._http.send(method, at.text, sent, why=call.why)
                self._limit.note(response)
            else:
                area = origin
                asking = self._ask_other(call, at, method, headers)
                response = await self._of_another(call, origin, asking)
            if response.code not in _REDIRECTS:
                return Reply(response, area)
            abandon(response, self.clock)
            try:
                at = at.redirected(header(response, "Location"))
            except BadRedirect as error:
                raise WrongAnswer(f"upstream {self.host} {error}") from None
        raise WrongAnswer(f"upstream {self.host} redirects too many times")

    async def _ask_other(
        self, call: Call, at: Url, method: str, headers: Mapping[str, str]
    ) -> IResponse:
        """Send a request to where the host has redirected it; raises what says that this failed."""
        origin = at.origin
        auth = self._others.get(origin)
        if auth is None:
            # Without credentials, unless some are configured for that host.
            host = self._settings_of(origin) or HostSettings(at.authority)
            auth = self._others[origin] = Authenticator(
                self._http,
                origin,
                host.credentials,
                self.clock,
                host.token_servers,
                self._user_agent,
            )
        # Another registry may have another name for the repository.
        found = _NAME_IN_PATH.match(at.path)
        repository = call.question.repository if found is None else found[1]
        scope = f"repository:{repository}:pull"
        authorization = auth.at_hand(scope)
        for _ in range(MAX_CHALLENGES):
            sent = self._headers(headers, authorization)
            why = f"redirected by {self.host}: {call.why}"
            response = await self._http.send(method, at.text, sent, why=why)
            if response.code != 401:
                break
            retry = await self._retry(call, auth, scope, response, authorization)
            if retry is None:
                break
            abandon(response, self.clock)
            authorization = retry.authorization
        code = response.code
        if code in (401, 403):
            # Not a word about us: a signed link that has expired, or a store in trouble.
            abandon(response, self.clock)
            raise TargetRefused(f"upstream {self._named(origin)} answered {code}")
        if code >= 500 or code in (408, 425, 429):
            abandon(response, self.clock)
            named, now = self._named(origin), self.clock.seconds()
            raise refuse(response, named, NameUnknown, call.question.subject, now)
        return response

    async def _of_another(self, call: Call, area: str, work: Coroutine[Any, Any, T]) -> T:
        """Wait for another server, whose failures are its own, within the time of the call."""
        try:
            left = call.deadline - self.clock.seconds() - _MARGIN
            admission = await self._circuits.admit(area, call.question, left, wait=call.wait)
            return await admission.watch(self._in_time(call, area, work))
        except Denied:
            # That concerns the repository, whichever server says it.
            raise
        except RegistryError as error:
            raise TargetFailed(error) from None
        finally:
            work.close()

    async def _in_time(self, call: Call, area: str, work: Coroutine[Any, Any, T]) -> T:
        left = max(call.deadline - self.clock.seconds() - _MARGIN, 0.1)
        try:
            return await Deferred.fromCoroutine(work).addTimeout(left, self.clock, too_late)
        except TargetFailed:
            raise
        except Exception as error:
            if was_cancelled(error):
                raise
            public_only = self._public_only
            raise explain(error, self._named(area), public_only=public_only) from None

    def _named(self, area: str) -> str:
        """Return how messages call another server."""
        if area == TOKEN_SERVER:
            return f"{self.host}: its token server"
        return f"{self.host}, which redirects to {Url.parse(area).authority},"


def _may_hide(response: IResponse) -> bool:
    """Whether an answer may be a registry's way to hide private content from anonymous clients."""
    if response.code == 200:
        return (header(response, "Content-Type") or "").lower().startswith("text/html")
    return response.code in (401, 403, 404)
