"""A token server whose answers are made up, and the tokens of an upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import Challenge
from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.schemes.bearer import TokenSource
from oci_registry.upstream.schemes.token_server import TokenServers
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent

URL = "https://registry.example.com"
REALM = "https://auth.example.com/token"
SCOPE = "repository:library/app:pull"
PAT = Credentials("pat", "s3cret")


def challenge(realm: str = REALM, **params: str) -> Challenge:
    """Return a challenge as a registry sends it."""
    return Challenge("bearer", {"realm": realm, "service": "registry", "scope": SCOPE, **params})


def given(**answer: object) -> FakeResponse:
    """Return a token server's good answer."""
    return FakeResponse(body=json.dumps(answer).encode())


class TokenTestCase(SynchronousTestCase):
    """A token server that gives t1, t2, ... with a life of 300 s."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.numbers: Iterator[int] = count(1)
        self.http = FakeHttp(self.good)

    def good(self, _: Sent) -> Answer:
        return given(token=f"t{next(self.numbers)}", expires_in=300)

    def source(
        self,
        credentials: Credentials | None = None,
        url: str = URL,
        token_servers: tuple[str, ...] = (),
    ) -> TokenSource:
        servers = TokenServers(self.http.as_http, url, credentials, self.clock, token_servers)
        return TokenSource(servers, self.clock, UpstreamLimits())

    def begin(
        self,
        source: TokenSource,
        asked: Challenge | None = None,
        scope: str = SCOPE,
        refused: str | None = None,
    ) -> Deferred[str]:
        if refused is not None:
            source.refuse(refused)
        key = source.choose([asked or challenge()], scope)
        assert key is not None
        return Deferred.fromCoroutine(source.get(key, scope))

    def token(
        self,
        source: TokenSource,
        asked: Challenge | None = None,
        scope: str = SCOPE,
        refused: str | None = None,
    ) -> str:
        return self.successResultOf(self.begin(source, asked, scope, refused))

    def error(
        self,
        answer: Answer,
        kind: type[RegistryError],
        credentials: Credentials | None = PAT,
        asked: Challenge | None = None,
    ) -> RegistryError:
        """Return what comes of *answer*, which must not tell the password and not be kept."""
        self.http.answer = lambda _: answer
        source = self.source(credentials)
        failure = self.failureResultOf(self.begin(source, asked), kind)
        error = failure.value
        assert isinstance(error, RegistryError)
        self.assertIn("registry.example.com", error.message)
        self.assertNotIn(PAT.password, error.message)
        self.assertIsNone(source.cached(SCOPE))
        return error
