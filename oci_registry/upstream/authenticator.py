"""Which ``Authorization`` an upstream gets with each request."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import parse_challenges
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.schemes.basic import basic_authorization
from oci_registry.upstream.schemes.bearer import TokenSource


class Authenticator:
    """Answer an upstream's challenges: Bearer first, then Basic if there are credentials."""

    def __init__(
        self, http: UpstreamHttp, url: str, credentials: Credentials | None, clock: IReactorTime
    ) -> None:
        self._credentials = credentials
        self._tokens = TokenSource(http, url, credentials, clock)
        self._basic = False

    def at_hand(self, scope: str) -> str | None:
        """Return the header value that worked before for *scope*, to be sent unasked."""
        token = self._tokens.cached(scope)
        if token is not None:
            return f"Bearer {token}"
        if self._basic and self._credentials is not None:
            return basic_authorization(self._credentials)
        return None

    async def answer(
        self, challenges: Iterable[str], scope: str, refused: str | None
    ) -> str | None:
        """Return the header value for a 401 with *challenges*, or None when nothing more can be said.

        *refused*: the value that was sent and turned down. Raises `RegistryError` when a token server
        does not give a token.
        """
        parsed = parse_challenges(challenges)
        for challenge in parsed:
            if challenge.scheme == "bearer":
                old = refused.removeprefix("Bearer ") if refused else None
                token = await self._tokens.answer(challenge, scope, old)
                return None if token == old else f"Bearer {token}"
        for challenge in parsed:
            if challenge.scheme == "basic" and self._credentials is not None:
                value = basic_authorization(self._credentials)
                if value == refused:
                    return None
                self._basic = True
                return value
        return None
