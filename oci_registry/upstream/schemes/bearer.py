"""Bearer tokens (distribution's token authentication, and its OAuth2 form).

A token is fetched once per upstream, credential and scope, by one request at a time, and kept until
shortly before it expires.
"""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from urllib.parse import urlencode, urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import Challenge
from oci_registry.spec.errors import BadGateway, Denied, TooManyRequests
from oci_registry.streams.body import abandon
from oci_registry.streams.flight import SingleFlight
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.encoding import read_document
from oci_registry.upstream.failures import explain, header, retry_after, too_late
from oci_registry.upstream.schemes.basic import basic_authorization
from oci_registry.upstream.schemes.realms import realm_is_trusted

DEFAULT_LIFETIME = 60.0
"""Seconds a token lives if its server does not say (distribution's token specification)."""
TOKEN_TIMEOUT = 15.0
"""Seconds that a token server has to answer."""
MAX_LIFETIME = 24 * 3600.0
_MARGIN = 15.0
_REMEMBERED = 1024
_MAX_ANSWER = 256 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_IDENTITY_TOKEN = "<token>"  # noqa: S105 - the name clients use for "the password is a refresh token"


@frozen
class TokenKey:
    """What a token is for: the server that gives it, and what it opens."""

    realm: str
    service: str
    scope: str


@frozen
class _Token:
    value: str
    expires: float


class TokenSource:
    """The tokens of one upstream at *url* for one credential (None: anonymous)."""

    def __init__(
        self, http: UpstreamHttp, url: str, credentials: Credentials | None, clock: IReactorTime
    ) -> None:
        self._http = http
        self._url = url
        self._credentials = credentials
        self._clock = clock
        self._tokens: OrderedDict[TokenKey, _Token] = OrderedDict()
        self._keys: OrderedDict[str, TokenKey] = OrderedDict()
        self._fetching: SingleFlight[TokenKey, str] = SingleFlight()

    def cached(self, scope: str) -> str | None:
        """Return the token that was last used for *scope*, unless it is about to expire."""
        key = self._keys.get(scope)
        token = None if key is None else self._tokens.get(key)
        if token is None or token.expires <= self._clock.seconds():
            return None
        return token.value

    async def answer(self, challenge: Challenge, scope: str, refused: str | None) -> str:
        """Return a token for a challenge.

        *scope*: what is wanted, for challenges that do not say. *refused*: the token that upstream
        has just turned down, which is then not used again. Raises `Denied` or `BadGateway`.
        """
        realm = challenge.params.get("realm", "")
        if not _is_url(realm):
            raise BadGateway(f"upstream {self._host} names a token server that is not a URL")
        key = TokenKey(
            realm, challenge.params.get("service", ""), challenge.params.get("scope") or scope
        )
        token = self._tokens.get(key)
        if token is not None and (token.value == refused or token.expires <= self._clock.seconds()):
            del self._tokens[key]
            token = None
        self._keys[scope] = key
        self._keys.move_to_end(scope)
        if len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)
        if token is not None:
            return token.value
        return await self._fetching.run(key, lambda: self._fetch(key))

    @property
    def _host(self) -> str:
        return urlsplit(self._url).netloc

    async def _fetch(self, key: TokenKey) -> str:
        """Fetch a token, or fail in time: whoever waits for it would wait with a stuck one."""
        fetched = Deferred.fromCoroutine(self._obtain(key))
        try:
            return await fetched.addTimeout(TOKEN_TIMEOUT, self._clock, too_late)
        except Exception as error:
            server = urlsplit(key.realm).hostname
            raise explain(error, f"{self._host}: its token server {server}") from None

    async def _obtain(self, key: TokenKey) -> str:
        if self._credentials is not None and not realm_is_trusted(key.realm, self._url):
            raise Denied(
                f"upstream {self._host} wants its credentials sent to "
                f"{urlsplit(key.realm).hostname}, which is not part of its domain"
            )
        response = await self._ask(key)
        if response.code == 429:
            abandon(response, self._clock)
            raise TooManyRequests.retry_after(
                f"the token server of upstream {self._host} limits the number of requests",
                retry_after(header(response, "Retry-After"), self._clock.seconds()),
            )
        if response.code in (400, 401, 403, 404):
            abandon(response, self._clock)
            raise Denied(
                f"the token server of upstream {self._host} refused (it answered {response.code})"
            )
        if response.code != 200:
            abandon(response, self._clock)
            raise BadGateway(f"the token server of upstream {self._host} answered {response.code}")
        token = self._read(await read_document(response, _MAX_ANSWER, self._clock, idle=10.0))
        self._tokens[key] = token
        if len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)
        return token.value

    async def _ask(self, key: TokenKey) -> IResponse:
        """Ask with GET; with POST where the server wants that, or the credential needs it."""
        credentials = self._credentials
        if credentials is not None and credentials.username == _IDENTITY_TOKEN:
            return await self._post(
                key, {"grant_type": "refresh_token", "refresh_token": credentials.password}
            )
        headers = {}
        if credentials is not None:
            headers["Authorization"] = basic_authorization(credentials)
        query = urlencode(
            [(k, v) for k, v in (("service", key.service), ("scope", key.scope)) if v]
        )
        url = key.realm + ("&" if urlsplit(key.realm).query else "?") + query
        response = await self._http.send("GET", url, headers)
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
        form = {"service": key.service, "scope": key.scope, "client_id": "oci-registry", **grant}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        data = urlencode(form).encode("ascii")
        return await self._http.send("POST", key.realm, headers, data)

    def _read(self, body: bytes) -> _Token:
        """Read a token server's answer."""
        try:
            answer = json.loads(body)
            value = answer.get("token") or answer.get("access_token")
            lifetime = _lifetime(answer.get("expires_in"))
        except (ValueError, AttributeError, RecursionError):
            value, lifetime = None, 0.0
        if not isinstance(value, str) or not _TOKEN.fullmatch(value):
            raise BadGateway(f"the token server of upstream {self._host} gave no token")
        # A quarter of a short life, so that a token of a minute is still used more than once.
        margin = min(_MARGIN, lifetime / 4)
        return _Token(value, self._clock.seconds() + lifetime - margin)


def _lifetime(value: object) -> float:
    """Return the seconds in ``expires_in``; the default if that is no number."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    if seconds == 0 or math.isnan(seconds):
        return DEFAULT_LIFETIME
    return min(max(seconds, 0.0), MAX_LIFETIME)


def _is_url(realm: str) -> bool:
    try:
        target = urlsplit(realm)
        return target.scheme in ("http", "https") and bool(target.hostname) and target.port != 0
    except ValueError:
        return False
