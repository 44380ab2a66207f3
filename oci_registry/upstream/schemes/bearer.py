"""Bearer tokens (distribution's token authentication).

A token is fetched once per upstream, credential and scope, by one request at a time, and kept until
shortly before it expires.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from oci_registry.spec.challenge import Challenge
from oci_registry.spec.urls import Url
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.recent import RecentTable
from oci_registry.upstream.failures import explain, too_late
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.schemes.realms import resolve_realm
from oci_registry.upstream.schemes.scopes import merge_scopes
from oci_registry.upstream.schemes.token_server import TokenKey, TokenServers
from oci_registry.upstream.schemes.tokens import Token

MAX_CHALLENGES = 8
"""The maximum number of Bearer challenges that are considered in one response."""
MAX_TOKENS = 1024
MAX_WEIGHT = 2 * 1024 * 1024
"""The maximum length in characters of all tokens of one upstream and their keys together."""


@frozen
class KnownToken:
    """What is known of a token: its key, and whether it was sent with earlier requests."""

    key: TokenKey
    reused: bool


class TokenSource:
    """The tokens of one upstream for one credential, or for none."""

    def __init__(self, servers: TokenServers, clock: IReactorTime, limits: UpstreamLimits) -> None:
        self._url = servers.url
        self._clock = clock
        self._timeout = limits.token
        self._servers = servers
        self._tokens: RecentTable[TokenKey, Token] = RecentTable(
            MAX_TOKENS, MAX_WEIGHT, lambda key, token: key.weight + len(token.value)
        )
        self._keys: RecentTable[str, TokenKey] = RecentTable(
            MAX_TOKENS, MAX_WEIGHT, lambda scope, key: len(scope) + key.weight
        )
        self._fetching: SingleFlight[TokenKey, Token] = SingleFlight()

    def cached(self, scope: str) -> str | None:
        """Return the token that was last used for *scope*, unless it is about to expire."""
        key = self._keys.get(scope)
        token = None if key is None else self._valid(key)
        if token is None:
            return None
        token.reused = True
        return token.value

    def choose(self, challenges: Iterable[Challenge], scope: str) -> TokenKey | None:
        """Return what the Bearer challenge to answer asks for, *scope* included; None without one.

        That is the first one whose token server may receive our credentials, else the first.
        """
        keys = []
        bearer = (challenge for challenge in challenges if challenge.scheme == "bearer")
        for challenge in islice(bearer, MAX_CHALLENGES):
            realm = resolve_realm(challenge.params.get("realm", ""), self._url)
            if realm is not None:
                scopes = merge_scopes(scope, challenge.params.get("scope", ""))
                keys.append(TokenKey(realm, challenge.params.get("service", ""), scopes))
        trusted = (key for key in keys if self._servers.may_be_asked(key.realm))
        return next(trusted, keys[0] if keys else None)

    def known(self, value: str) -> KnownToken | None:
        """Return what is known of the token with this value, None if it has been replaced."""
        found = self._tokens.find(lambda token: token.value == value)
        return next((KnownToken(key, token.reused) for key, token in found), None)

    def refuse(self, value: str) -> None:
        """Stop using the token with this value, for any scope."""
        for _, token in self._tokens.find(lambda token: token.value == value):
            token.refused = True

    def is_refused(self, key: TokenKey) -> bool:
        """Whether the last token for a challenge was refused."""
        token = self._tokens.get(key)
        return token is not None and token.refused

    async def get(self, key: TokenKey, scope: str) -> str:
        """Return a token for a challenge, which is from then on `cached` for *scope*.

        Raises `RegistryError` when the token server gives none.
        """
        self._keys.put(scope, key)
        token = self._valid(key)
        if token is None:
            token = await self._fetching.run(key, lambda: self._fetch(key))
        return token.value

    def _valid(self, key: TokenKey) -> Token | None:
        token = self._tokens.get(key)
        if token is None or token.refused:
            # A refused token stays known until it is replaced.
            return None
        if token.expires <= self._clock.seconds():
            self._tokens.remove(key)
            return None
        return token

    async def _fetch(self, key: TokenKey) -> Token:
        """Fetch a token, or fail in time: a stuck request would block all waiting ones."""
        fetched = Deferred.fromCoroutine(self._servers.fetch(key))
        try:
            token = await fetched.addTimeout(self._timeout, self._clock, too_late)
        except Exception as error:
            host, server = (Url.parse(url).authority for url in (self._url, key.realm))
            raise explain(error, f"{host}: its token server {server.lower()}") from None
        self._tokens.put(key, token)
        return token
