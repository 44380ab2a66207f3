"""Which ``Authorization`` an upstream gets with each request."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import parse_challenges
from oci_registry.upstream.agent import UpstreamHttp
from oci_registry.upstream.schemes.basic import basic_authorization
from oci_registry.upstream.schemes.bearer import TokenSource


@frozen
class Refusal:
    """An answer that may be one for lack of authorization."""

    status: int
    challenges: tuple[str, ...]
    scope: str
    sent: str | None


@frozen
class Retry:
    """To be asked once more, with this ``Authorization`` or without any."""

    authorization: str | None = field(repr=False)


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

    async def answer(self, refusal: Refusal) -> Retry | None:
        """Return how to ask once more, None when nothing more can be said."""
        parsed = parse_challenges(refusal.challenges)
        refused = refusal.sent
        for challenge in parsed:
            if challenge.scheme == "bearer":
                old = refused.removeprefix("Bearer ") if refused else None
                token = await self._tokens.answer(challenge, refusal.scope, old)
                return None if token == old else Retry(f"Bearer {token}")
        for challenge in parsed:
            if challenge.scheme == "basic" and self._credentials is not None:
                value = basic_authorization(self._credentials)
                if value == refused:
                    return None
                self._basic = True
                return Retry(value)
        return None
