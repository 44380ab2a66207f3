"""Chooses the ``Authorization`` of each request to an upstream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen
from cachetools import TTLCache
from twisted.internet.interfaces import IReactorTime

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import Challenge, parse_challenges
from oci_registry.spec.errors import BadGateway, RegistryError
from oci_registry.spec.urls import Url
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.schemes.basic import basic_authorization
from oci_registry.upstream.schemes.bearer import TokenSource
from oci_registry.upstream.schemes.token_server import TokenKey, TokenServers
from oci_registry.upstream.schemes.version_check import VersionCheck

USELESS_FOR = 60.0
"""Seconds for which a 403 is not answered with a new token, after a new token did not change it."""
_BEARER = "Bearer "


@frozen
class Refusal:
    """A response that may mean that authorization is missing.

    *status*: 401, 403, 404, or 200 with a web page in place of the API's content. *challenges*: the
    lines of ``WWW-Authenticate``. *scope*: the scope of the request, ``repository:NAME:pull``.
    *sent*: the ``Authorization`` that was sent, None for none.
    """

    status: int
    challenges: tuple[str, ...]
    scope: str
    sent: str | None = field(repr=False)


@frozen
class Retry:
    """Send the request again, with this ``Authorization`` (None: without any)."""

    authorization: str | None = field(repr=False)


def with_authorization(headers: Mapping[str, str], authorization: str | None) -> Mapping[str, str]:
    """Return *headers*, with the ``Authorization`` if there is one."""
    return headers if authorization is None else {**headers, "Authorization": authorization}


class Authenticator:
    """Answers the challenges of the upstream at *url* (scheme and authority).

    *credentials*: None for anonymous access. *token_servers*: ``host[:port]`` of the token servers
    in other domains that may get them.
    """

    def __init__(
        self,
        http: UpstreamHttp,
        url: str,
        credentials: Credentials | None,
        clock: IReactorTime,
        token_servers: tuple[str, ...] = (),
        limits: UpstreamLimits = UpstreamLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._host = Url.parse(url).authority
        self._basic = None if credentials is None else basic_authorization(credentials)
        self._basic_works = False
        servers = TokenServers(http, url, credentials, clock, token_servers)
        self._tokens = TokenSource(servers, clock, limits)
        self._version_check = VersionCheck(http, url, clock)
        self._useless: TTLCache[str, None] = TTLCache(1024, USELESS_FOR, timer=clock.seconds)

    @property
    def has_credentials(self) -> bool:
        """Return whether there are credentials."""
        return self._basic is not None

    def cached_authorization(self, scope: str) -> str | None:
        """Return the header value to send for *scope* without a challenge, None if there is none yet."""
        token = self._tokens.cached(scope)
        if token is not None:
            return _BEARER + token
        return self._basic if self._basic_works else None

    def is_password(self, authorization: str | None) -> bool:
        """Return whether a header value is a user name and password, and not a token."""
        return authorization is not None and authorization == self._basic

    async def answer(self, refusal: Refusal) -> Retry | None:
        """Return how to repeat a refused request, None if there is nothing left to try.

        Calling this again after each refusal ends: first a cached token is dropped, then the
        challenge is answered, and a token that was made for this request is not replaced. Raises
        `RegistryError` if a token server, or ``/v2/``, does not respond.
        """
        offered = parse_challenges(refusal.challenges)
        if refusal.sent is None:
            return await self._introduce(refusal, offered)
        if refusal.status not in (401, 403):
            return None
        if refusal.sent.startswith(_BEARER):
            return await self._replace(refusal, offered, refusal.sent.removeprefix(_BEARER))
        return await self._after_basic(refusal, offered)

    async def _introduce(self, refusal: Refusal, offered: list[Challenge]) -> Retry | None:
        """Answer the refusal of a request without authorization: by its challenge, else by that of /v2/."""
        scope = refusal.scope
        retry = await self._with_token(offered, scope) or self._with_basic(offered)
        if retry is None and (self._basic is not None or refusal.status == 401):
            elsewhere = await self._challenges_elsewhere()
            retry = await self._with_token(elsewhere, scope) or self._with_basic(elsewhere)
        if retry is None and any(challenge.scheme == "bearer" for challenge in offered):
            # The operator needs to know that this challenge cannot be answered.
            raise BadGateway(f"upstream {self._host} names a token server whose URL is invalid")
        return retry

    async def _after_basic(self, refusal: Refusal, offered: list[Challenge]) -> Retry | None:
        """Answer a refusal of the credentials: they are not sent again."""
        key = self._tokens.choose(offered, refusal.scope)
        if refusal.status == 403 or key is None:
            return None
        self._basic_works = False
        if self._tokens.is_refused(key):
            # A request without credentials was made before.
            return None
        return Retry(_BEARER + await self._tokens.get(key, refusal.scope))

    async def _challenges_elsewhere(self) -> tuple[Challenge, ...]:
        """Return the challenges at /v2/; without credentials, failures are ignored."""
        try:
            return await self._version_check.challenges()
        except RegistryError:
            if self._basic is None:
                return ()
            raise

    async def _replace(
        self, refusal: Refusal, offered: list[Challenge], token: str
    ) -> Retry | None:
        """Answer a refusal of a token, which is replaced unless it was made for this request."""
        scope = refusal.scope
        known = self._tokens.known(token)
        new = known is not None and not known.reused
        if refusal.status == 403:
            if new:
                self._useless[scope] = None
            if new or scope in self._useless:
                return None
        self._tokens.refuse(token)
        key = self._tokens.choose(offered, scope)
        if new:
            if key is None or (known is not None and key == known.key):
                return self._with_basic(offered)
        elif key is None or (known is not None and _server(key) != _server(known.key)):
            # The challenge for a bad token may differ from that for a missing one.
            return Retry(None)
        value = await self._tokens.get(key, scope)
        if value == token:
            self._tokens.refuse(token)
            return None
        return Retry(_BEARER + value)

    async def _with_token(self, offered: Iterable[Challenge], scope: str) -> Retry | None:
        key = self._tokens.choose(offered, scope)
        return None if key is None else Retry(_BEARER + await self._tokens.get(key, scope))

    def _with_basic(self, offered: Iterable[Challenge]) -> Retry | None:
        if self._basic is None or all(challenge.scheme != "basic" for challenge in offered):
            return None
        self._basic_works = True
        return Retry(self._basic)


def _server(key: TokenKey) -> tuple[str, str]:
    return key.realm, key.service
