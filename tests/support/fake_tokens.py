"""A token server that does as it is told, and the registries that accept its tokens."""

from __future__ import annotations

import json

from attrs import Factory, define

from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Asked, Reply


@define(eq=False)
class FakeTokens:
    """Gives token-1, token-2, ... at ``/token`` of *where*, and forgets them when told to.

    *expires_in*: the seconds it promises. `honest` answers as it should; *where* can be scripted like
    any registry.
    """

    where: FakeRegistry
    expires_in: int = 300
    given: list[str] = Factory(list)
    good: set[str] = Factory(set)
    realm_host: str | None = None

    def __attrs_post_init__(self) -> None:
        self.where.script("^/token$", self.honest)

    def protect(self, registry: FakeRegistry) -> None:
        """Let only who shows a good token ask *registry* for anything."""
        registry.guard = self.challenge

    def challenge(self, asked: Asked) -> Reply | None:
        """Return a 401 for who shows no good token, and None for who does."""
        shown = (asked.authorization or "").removeprefix("Bearer ")
        if asked.path == "/token" or shown in self.good:
            return None
        realm = f"http://{self.realm_host or self.where.host}/token"
        return Reply(401, b"no", {"WWW-Authenticate": f'Bearer realm="{realm}",service="fake"'})

    def honest(self, asked: Asked) -> Reply:
        """Give a token."""
        self.given.append(f"token-{len(self.given) + 1}")
        self.good.add(self.given[-1])
        body = {"token": self.given[-1], "expires_in": self.expires_in}
        return Reply(body=json.dumps(body).encode())

    def expire(self) -> None:
        """Accept none of the tokens that were given any more."""
        self.good.clear()
