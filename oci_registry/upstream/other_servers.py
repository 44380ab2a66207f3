"""Other servers of a host: its token server, and those that it redirects to."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from cachetools import LRUCache
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.config.settings import HostSettings
from oci_registry.spec.challenge import read_lines
from oci_registry.spec.errors import Denied, NameUnknown, RegistryError
from oci_registry.spec.urls import Url
from oci_registry.streams.body import abandon
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.authenticator import (
    Authenticator,
    Refusal,
    Retry,
    with_authorization,
)
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import TargetFailed, TargetRefused
from oci_registry.upstream.failures import explain, refuse, too_late, was_cancelled
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.requests import Call

T = TypeVar("T")

MAX_CHALLENGES = 4
"""Refusals of one request that are answered with other credentials."""
MAX_SERVERS = 32
"""Servers that a host has redirected to whose tokens are kept."""
TOKEN_SERVER = "token server"  # noqa: S105 - the endpoint of its failures
_NAME_IN_PATH = re.compile(r"/v2/([a-zA-Z0-9._/-]{1,255})/(?:manifests|blobs|tags|referrers)/")
# Another server has this much less time than the host, so that its timeout is not taken for the host's.
_MARGIN = 0.05

SettingsOf = Callable[[str], HostSettings | None]
"""Returns what the operator has configured for the host with an origin, if anything."""


class OtherServers:
    """Sends requests to the servers that a host redirects to, within the time of its request.

    They have circuit breakers of their own, and a failure is raised as a `TargetFailed`. None of
    them gets the host's credentials, unless it is its token server.
    """

    def __init__(
        self,
        host: HostSettings,
        http: UpstreamHttp,
        clock: IReactorTime,
        breakers: Breakers,
        limits: UpstreamLimits = UpstreamLimits(),  # noqa: B008 - frozen
        settings_of: SettingsOf = lambda _: None,
    ) -> None:
        self._host = host.name
        self._public_only = host.guarded
        self._http = http
        self._clock = clock
        self._breakers = breakers
        self._limits = limits
        self._settings_of = settings_of
        self._authenticators: LRUCache[str, Authenticator] = LRUCache(MAX_SERVERS)

    async def retry(
        self,
        call: Call,
        auth: Authenticator,
        scope: str,
        response: IResponse,
        sent: str | None,
        *,
        own: bool = True,
    ) -> Retry | None:
        """Return how to repeat a refused request; *own*: the challenges are for *auth*."""
        lines = response.headers.getRawHeaders(b"WWW-Authenticate") if own else None
        refusal = Refusal(response.code, read_lines(lines or ()), scope, sent)
        try:
            return await self._watch(call, TOKEN_SERVER, auth.answer(refusal))
        except BaseException:
            abandon(response, self._clock)
            raise

    async def send(self, call: Call, method: str, at: Url, headers: Mapping[str, str]) -> IResponse:
        """Follow a redirect of the host."""
        return await self._watch(call, at.origin, self._send(call, method, at, headers))

    async def _send(
        self, call: Call, method: str, at: Url, headers: Mapping[str, str]
    ) -> IResponse:
        auth = self._authenticator_at(at)
        # Another registry may have another name for the repository.
        found = _NAME_IN_PATH.match(at.path)
        repository = call.request.repository if found is None else found[1]
        scope = f"repository:{repository}:pull"
        authorization = auth.cached_authorization(scope)
        for _ in range(MAX_CHALLENGES):
            sent = with_authorization(headers, authorization)
            why = f"redirected by {self._host}: {call.why}"
            response = await self._http.send(method, at.text, sent, why=why)
            if response.code != 401:
                break
            retry = await self.retry(call, auth, scope, response, authorization)
            if retry is None:
                break
            abandon(response, self._clock)
            authorization = retry.authorization
        code = response.code
        if code in (401, 403):
            # This says nothing about our credentials: a signed link has expired, or a store has failed.
            abandon(response, self._clock)
            raise TargetRefused(f"upstream {self._named(at.origin)} answered {code}")
        if code >= 500 or code in (408, 425, 429):
            abandon(response, self._clock)
            named, now = self._named(at.origin), self._clock.seconds()
            raise refuse(response, named, NameUnknown, call.request.subject, now)
        return response

    def _authenticator_at(self, at: Url) -> Authenticator:
        auth = self._authenticators.get(at.origin)
        if auth is None:
            # Without credentials, unless some are configured for that host.
            host = self._settings_of(at.origin) or HostSettings(at.authority)
            auth = self._authenticators[at.origin] = self.authenticator(at.origin, host)
        return auth

    def authenticator(self, origin: str, host: HostSettings) -> Authenticator:
        """Return what answers the challenges of the server at *origin*, with the credentials of *host*."""
        return Authenticator(
            self._http,
            origin,
            host.credentials,
            self._clock,
            host.token_servers,
            self._limits,
        )

    async def _watch(self, call: Call, endpoint: str, work: Coroutine[Any, Any, T]) -> T:
        """Wait for another server, and record the outcome."""
        try:
            left = call.deadline - self._clock.seconds() - _MARGIN
            admission = await self._breakers.admit(endpoint, call.request, left, wait=call.wait)
            return await admission.watch(self._in_time(call, endpoint, work))
        except Denied:
            # That concerns the repository, whichever server says it.
            raise
        except RegistryError as error:
            raise TargetFailed(error) from None
        finally:
            work.close()

    async def _in_time(self, call: Call, endpoint: str, work: Coroutine[Any, Any, T]) -> T:
        left = max(call.deadline - self._clock.seconds() - _MARGIN, 0.1)
        try:
            return await Deferred.fromCoroutine(work).addTimeout(left, self._clock, too_late)
        except TargetFailed:
            raise
        except Exception as error:
            if was_cancelled(error):
                raise
            raise explain(error, self._named(endpoint), public_only=self._public_only) from None

    def _named(self, endpoint: str) -> str:
        """Return the name of another server for messages."""
        if endpoint == TOKEN_SERVER:
            return f"{self._host}: its token server"
        return f"{self._host}, which redirects to {Url.parse(endpoint).authority},"
