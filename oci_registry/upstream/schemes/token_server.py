"""Requests to token servers (distribution's token authentication, and its OAuth2 form)."""

from __future__ import annotations

from math import inf
from typing import NoReturn
from urllib.parse import urlencode

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.config.settings import Credentials
from oci_registry.spec.errors import BadGateway, Denied
from oci_registry.spec.urls import BadRedirect, Url, with_query
from oci_registry.streams.body import abandon
from oci_registry.streams.recent import RecentTable
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.encoding import read_document
from oci_registry.upstream.errors import CredentialsRefused, RateLimited, WrongAnswer
from oci_registry.upstream.failures import DEFAULT_RETRY_AFTER, header, retry_after
from oci_registry.upstream.schemes.basic import basic_authorization
from oci_registry.upstream.schemes.realms import realm_is_trusted, server_of
from oci_registry.upstream.schemes.tokens import Token, read_token

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_MAX_ANSWER = 256 * 1024
_MAX_PAUSES = 256
_ACCEPTED_FOR = 3600.0
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - the name clients use for "the password is a refresh token"


@frozen
class TokenKey:
    """The key of a token: the server that issues it, its service and its scopes."""

    realm: str
    service: str
    scopes: tuple[str, ...]

    @property
    def weight(self) -> int:
        """Its length in characters."""
        return len(self.realm) + len(self.service) + sum(map(len, self.scopes))


class TokenServers:
    """Fetches tokens for the upstream at *url*, with its credentials (None: anonymously).

    *allowed*: ``host[:port]`` of the servers in other domains that may receive these credentials. After a
    429, or a 503 with ``Retry-After``, a server is not asked for the same token again until that time
    has passed.
    """

    def __init__(
        self,
        http: UpstreamHttp,
        url: str,
        credentials: Credentials | None,
        clock: IReactorTime,
        allowed: tuple[str, ...],
    ) -> None:
        self._http = http
        self.url = url
        self._host = Url.parse(url).authority
        self._credentials = credentials
        self._clock = clock
        self._allowed = allowed
        self._accepted_until = -inf
        self._paused: RecentTable[TokenKey, float] = RecentTable(
            _MAX_PAUSES, 256 * 1024, lambda key, _: key.weight
        )

    def may_be_asked(self, realm: str) -> bool:
        """Whether the server at *realm* may receive the credentials, if there are any."""
        return self._credentials is None or realm_is_trusted(realm, self.url, self._allowed)

    async def fetch(self, key: TokenKey) -> Token:
        """Return a new token; `Denied`, `RateLimited` or `BadGateway` if the server gives none."""
        self._check(key.realm)
        self._check_pause(key)
        response = await self._ask(key)
        code = response.code
        if code in (200, 201):
            body = await read_document(response, _MAX_ANSWER, self._clock, idle=10.0)
            token = read_token(body, self._clock.seconds())
            if token is None:
                raise WrongAnswer(f"the token server of upstream {self._host} sent no token")
            self._accepted_until = self._clock.seconds() + _ACCEPTED_FOR
            return token
        abandon(response, self._clock)
        now = self._clock.seconds()
        seconds = retry_after(header(response, "Retry-After"), now)
        if code == 429 or (code == 503 and seconds is not None):
            seconds = seconds or DEFAULT_RETRY_AFTER
            self._paused.put(key, now + seconds)
            self._raise_limited(seconds)
        if code in (400, 401, 403, 404):
            raise self._refused(key, code)
        raise BadGateway(f"the token server of upstream {self._host} answered {code}")

    def _refused(self, key: TokenKey, code: int) -> Denied:
        """Return the error for a refusal: of the credentials, or of the scopes.

        Some answer 403 to wrong credentials. If a server has issued tokens for them in the last hour,
        it means the scopes.
        """
        message = f"the token server of upstream {self._host} refused the request (status {code})"
        if self._credentials is None or code == 404:
            return Denied(message)
        certain = code == 401 or self._clock.seconds() >= self._accepted_until
        return CredentialsRefused(
            message, self._credentials.username, key.realm, code, certain=certain
        )

    def _check(self, realm: str) -> None:
        """Raise `Denied` unless the server at *realm* may receive the credentials, if there are any."""
        if self.may_be_asked(realm):
            return
        server = server_of(realm)
        if (Url.parse(self.url).scheme, Url.parse(realm).scheme) == ("https", "http"):
            raise Denied(
                f"upstream {self._host} asks for its credentials to be sent to {server} over plain http"
            )
        raise Denied(
            f"upstream {self._host} asks for its credentials to be sent to {server}, which is not part of its "
            f"domain; if that is its token server, add it to token_servers of this upstream"
        )

    def _check_pause(self, key: TokenKey) -> None:
        until = self._paused.get(key)
        if until is None:
            return
        left = until - self._clock.seconds()
        if left > 0:
            self._raise_limited(left)
        self._paused.remove(key)

    def _raise_limited(self, seconds: float) -> NoReturn:
        raise RateLimited(
            f"the token server of upstream {self._host} rate limits requests", seconds
        )

    async def _ask(self, key: TokenKey) -> IResponse:
        """Ask with GET; with POST where the server requires that, or the credential needs it."""
        credentials = self._credentials
        if credentials is not None and credentials.username == _IDENTITY_TOKEN:
            return await self._post(
                key, {"grant_type": "refresh_token", "refresh_token": credentials.password}
            )
        headers = {}
        if credentials is not None:
            headers["Authorization"] = basic_authorization(credentials)
        response = await self._send(key, "GET", _with_query(key), headers)
        if response.code in (405, 501) and credentials is not None:
            abandon(response, self._clock)
            return await self._post(
                key,
                {
                    "grant_type": "password",
                    "username": credentials.username,
                    "password": credentials.password,
                },
            )
        return response

    async def _post(self, key: TokenKey, grant: dict[str, str]) -> IResponse:
        # RFC 6749 section 3.3: one parameter, in which spaces separate the scopes.
        form = {
            "service": key.service,
            "scope": " ".join(key.scopes),
            "client_id": "oci-registry",
            **grant,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        data = urlencode(form, errors="surrogateescape").encode("ascii")
        return await self._send(key, "POST", key.realm, headers, data)

    async def _send(
        self,
        key: TokenKey,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None = None,
    ) -> IResponse:
        """Send a request and go where it is redirected, with the credentials or not at all."""
        why = f"token for {key.scopes[0] if key.scopes else key.service}"
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._http.send(method, url, headers, data, why=why)
            if response.code not in _REDIRECTS:
                return response
            abandon(response, self._clock)
            url = self._redirected(url, response)
            if method == "POST" and response.code not in _KEEP_METHOD:
                method, data = "GET", None
                headers.pop("Content-Type", None)
        raise BadGateway(f"the token server of upstream {self._host} redirects too many times")

    def _redirected(self, url: str, response: IResponse) -> str:
        """Return where a redirect leads (RFC 9110 section 10.2.2); never from https to http."""
        try:
            found = Url.parse(url).redirected(header(response, "Location")).text
        except BadRedirect as error:
            raise BadGateway(
                f"the token server of upstream {self._host} {error} (status {response.code})"
            ) from None
        self._check(found)
        return found


def _with_query(key: TokenKey) -> str:
    """Return the URL to GET a token at: the realm's own query, the service, and each scope."""
    wanted = [("service", key.service), *(("scope", scope) for scope in key.scopes)]
    ours = urlencode([pair for pair in wanted if pair[1]], errors="surrogateescape")
    return with_query(key.realm, ours)
