"""Bearer tokens: fetched once, kept until shortly before they expire, never given to strangers."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import count
from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import Challenge
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    RegistryError,
    TooManyRequests,
)
from oci_registry.upstream.schemes import bearer
from oci_registry.upstream.schemes.bearer import TokenSource
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

    def source(self, credentials: Credentials | None = None, url: str = URL) -> TokenSource:
        return TokenSource(self.http.as_http, url, credentials, self.clock)

    def begin(
        self,
        source: TokenSource,
        asked: Challenge | None = None,
        scope: str = SCOPE,
        refused: str | None = None,
    ) -> Deferred[str]:
        return Deferred.fromCoroutine(source.answer(asked or challenge(), scope, refused))

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


class Kept(TokenTestCase):
    """How long a token is used, and for what."""

    def test_once(self) -> None:
        """A token is fetched once, and is at hand from then on."""
        source = self.source()
        self.assertIsNone(source.cached(SCOPE))
        self.assertEqual("t1", self.token(source))
        self.assertEqual("t1", self.token(source))
        self.assertEqual("t1", source.cached(SCOPE))
        self.assertEqual(1, len(self.http.sent))

    def test_until_shortly_before_it_expires(self) -> None:
        """A token is replaced some seconds before its end, so that none dies on its way."""
        source = self.source()
        self.token(source)
        self.clock.advance(284)
        self.assertEqual("t1", source.cached(SCOPE))
        self.clock.advance(2)
        self.assertIsNone(source.cached(SCOPE))
        self.assertEqual("t2", self.token(source))

    def test_lifetimes(self) -> None:
        """A life is what the server says, a minute if it does not, and a day at most."""
        for said, last, over in (
            ({}, 44, 46),
            ({"expires_in": 0}, 44, 46),
            ({"expires_in": None}, 44, 46),
            ({"expires_in": "soon"}, 44, 46),
            ({"expires_in": [1]}, 44, 46),
            ({"expires_in": float("nan")}, 44, 46),
            ({"expires_in": 10**400}, 44, 46),
            ({"expires_in": "300"}, 284, 286),
            ({"expires_in": 8}, 5.9, 6.1),
            ({"expires_in": -5}, None, 0),
            ({"expires_in": 1e300}, 86_384, 86_386),
            ({"expires_in": float("inf")}, 86_384, 86_386),
        ):
            clock = Clock()
            self.http.answer = lambda _, said=said: given(token="t", **said)  # type: ignore[misc]
            source = TokenSource(self.http.as_http, URL, None, clock)
            self.assertEqual("t", self.token(source))
            if last is not None:
                clock.advance(last)
                self.assertEqual("t", source.cached(SCOPE), said)
                clock.advance(over - last)
            self.assertIsNone(source.cached(SCOPE), said)

    def test_by_scope(self) -> None:
        """A token for one repository is not used for another."""
        source = self.source()
        other = "repository:library/other:pull"
        self.assertEqual("t1", self.token(source))
        self.assertEqual("t2", self.token(source, challenge(scope=other), other))
        self.assertEqual(("t1", "t2"), (source.cached(SCOPE), source.cached(other)))

    def test_by_server(self) -> None:
        """A token of one server or service is not taken for another's."""
        source = self.source()
        self.token(source)
        self.assertEqual("t2", self.token(source, challenge(service="other")))
        self.assertEqual("t3", self.token(source, challenge("https://registry.example.com/t")))

    def test_one_wide_scope(self) -> None:
        """A server that gives one token for everything is asked once for it."""
        source = self.source()
        wide = challenge(scope="*")
        for number in range(3):
            self.assertEqual("t1", self.token(source, wide, f"repository:r{number}:pull"))

    def test_scope_not_said(self) -> None:
        """A challenge without a scope is answered for what is wanted."""
        self.token(self.source(), challenge(scope=""))
        self.assertEqual([SCOPE], parse_qs(urlsplit(self.http.sent[0].url).query)["scope"])

    def test_by_credential(self) -> None:
        """Two credentials share no token."""
        self.token(self.source(PAT))
        self.token(self.source(Credentials("mat", "x")))
        first, second = (sent.headers["Authorization"] for sent in self.http.sent)
        self.assertNotEqual(first, second)

    def test_bounded(self) -> None:
        """Tokens for no end of scopes do not fill the memory: the oldest go."""
        source = self.source()
        for number in range(1100):
            scope = f"repository:r{number}:pull"
            self.token(source, challenge(scope=scope), scope)
        self.assertIsNone(source.cached("repository:r0:pull"))
        self.assertIsNotNone(source.cached("repository:r1099:pull"))


class Refusals(TokenTestCase):
    """Tokens that the upstream turns down."""

    def test_dropped(self) -> None:
        """A refused token is dropped and fetched once more."""
        source = self.source()
        self.assertEqual("t1", self.token(source))
        self.assertEqual("t2", self.token(source, refused="t1"))
        self.assertEqual("t2", source.cached(SCOPE))

    def test_replaced_meanwhile(self) -> None:
        """Who was refused an older token gets the one that somebody else has fetched since."""
        source = self.source()
        self.token(source)
        self.token(source, refused="t1")
        self.assertEqual("t2", self.token(source, refused="t1"))
        self.assertEqual(2, len(self.http.sent))

    def test_many_refused_at_once(self) -> None:
        """All who are refused the same token wait for one fetch."""
        source = self.source()
        self.token(source)
        waiting: Deferred[FakeResponse] = Deferred()
        self.http.answer = lambda _: waiting
        asking = [self.begin(source, refused="t1") for _ in range(5)]
        waiting.callback(given(token="t2"))
        self.assertEqual(["t2"] * 5, [self.successResultOf(one) for one in asking])
        self.assertEqual(2, len(self.http.sent))


class OneAtATime(TokenTestCase):
    """Fetches for the same key are one."""

    def test_single_flight(self) -> None:
        """Who asks while a token is fetched gets that one."""
        waiting: Deferred[FakeResponse] = Deferred()
        self.http.answer = lambda _: waiting
        source = self.source()
        asking = [self.begin(source) for _ in range(10)]
        self.assertEqual(1, len(self.http.sent))
        waiting.callback(given(token="t"))
        self.assertEqual(["t"] * 10, [self.successResultOf(one) for one in asking])

    def test_error_for_everyone(self) -> None:
        """A failed fetch fails for everyone who waits, and is not remembered."""
        waiting: Deferred[FakeResponse] = Deferred()
        self.http.answer = lambda _: waiting
        source = self.source()
        asking = [self.begin(source) for _ in range(3)]
        waiting.callback(FakeResponse(500))
        for one in asking:
            self.failureResultOf(one, BadGateway)
        self.http.answer = self.good
        self.assertEqual("t1", self.token(source))

    def test_who_leaves(self) -> None:
        """Somebody who stops waiting does not stop the others."""
        waiting: Deferred[FakeResponse] = Deferred()
        self.http.answer = lambda _: waiting
        source = self.source()
        first, second = self.begin(source), self.begin(source)
        first.cancel()
        self.failureResultOf(first)
        waiting.callback(given(token="t"))
        self.assertEqual("t", self.successResultOf(second))

    def test_never_answers(self) -> None:
        """A server that never answers is given up, and the next request asks anew."""
        self.http.answer = lambda _: Deferred()
        source = self.source()
        waiting = self.begin(source)
        self.clock.advance(bearer.TOKEN_TIMEOUT - 1)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        failure = self.failureResultOf(waiting, GatewayTimeout)
        self.assertIn("auth.example.com", failure.getErrorMessage())
        self.http.answer = self.good
        self.assertEqual("t1", self.token(source))


class Asked(TokenTestCase):
    """What the token server is asked."""

    def test_anonymous(self) -> None:
        """Without credentials the server gets none, wherever it is."""
        self.token(self.source(), challenge("https://elsewhere.example.net/t?a=b"))
        sent = self.http.sent[0]
        self.assertEqual("GET", sent.method)
        self.assertNotIn("Authorization", sent.headers)
        self.assertEqual(
            {"a": ["b"], "service": ["registry"], "scope": [SCOPE]},
            parse_qs(urlsplit(sent.url).query),
        )

    def test_with_credentials(self) -> None:
        """Credentials go as Basic, in UTF-8, not into the URL."""
        self.token(self.source(Credentials("pät", "p:w")))
        sent = self.http.sent[0]
        expected = base64.b64encode("pät:p:w".encode()).decode()
        self.assertEqual(f"Basic {expected}", sent.headers["Authorization"])
        self.assertNotIn("p%3Aw", sent.url)

    def test_post_where_get_is_not_offered(self) -> None:
        """A server that wants OAuth2's POST gets the same question as a form."""
        for code in (405, 501):
            self.http = FakeHttp(
                lambda sent, code=code: (  # type: ignore[misc]
                    FakeResponse(code) if sent.method == "GET" else given(access_token="a")
                )
            )
            self.assertEqual("a", self.token(self.source(PAT)))
            sent = self.http.sent[1]
            assert sent.data is not None
            self.assertEqual((REALM, "POST"), (sent.url, sent.method))
            form = parse_qs(sent.data.decode())
            self.assertEqual(["password"], form["grant_type"])
            self.assertEqual((["pat"], ["s3cret"]), (form["username"], form["password"]))
            self.assertEqual((["registry"], [SCOPE]), (form["service"], form["scope"]))
            self.assertNotIn("Authorization", sent.headers)

    def test_no_post_without_credentials(self) -> None:
        """An anonymous client has nothing to post."""
        self.error(FakeResponse(405), BadGateway, None)
        self.assertEqual(["GET"], [sent.method for sent in self.http.sent])

    def test_identity_token(self) -> None:
        """The user ``<token>`` has a refresh token, which is posted at once."""
        self.token(self.source(Credentials("<token>", "refresh me")))
        (sent,) = self.http.sent
        assert sent.data is not None
        form = parse_qs(sent.data.decode())
        self.assertEqual("POST", sent.method)
        self.assertEqual(["refresh_token"], form["grant_type"])
        self.assertEqual(["refresh me"], form["refresh_token"])

    def test_not_to_strangers(self) -> None:
        """Credentials are not sent to another domain, nor from https to http; nothing is."""
        for credentials in (PAT, Credentials("<token>", PAT.password)):
            for realm in ("https://evil.example.net/t", "http://auth.example.com/t"):
                error = self.error(given(token="t"), Denied, credentials, challenge(realm))
                self.assertIn(urlsplit(realm).hostname or "", error.message)
                self.assertEqual([], self.http.sent)


class BadAnswers(TokenTestCase):
    """Token servers in trouble."""

    def test_statuses(self) -> None:
        """What the server answers becomes an error that names the upstream."""
        for code, kind in (
            (400, Denied),
            (401, Denied),
            (403, Denied),
            (404, Denied),
            (302, BadGateway),
            (500, BadGateway),
            (503, BadGateway),
            (204, BadGateway),
        ):
            self.assertIn(str(code), self.error(FakeResponse(code, b"why"), kind).message)

    def test_limited(self) -> None:
        """A server that limits says for how long."""
        answer = FakeResponse(429, headers={"Retry-After": "12"})
        error = self.error(answer, TooManyRequests)
        self.assertEqual("12", error.headers["Retry-After"])

    def test_garbage(self) -> None:
        """What is not a token is not used as one."""
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'"t"',
            b"{}",
            b'{"token": ""}',
            b'{"token": 1}',
            b'{"token": ["t"]}',
            b'{"token": "a b"}',
            b'{"token": "a\\r\\nX: y"}',
            b'{"token": "\xc3\xa9"}',
            b'{"token": "\xff"}',
            b"\xff\xfe",
            b"[" * 100_000,
            json.dumps({"token": "x" * 70_000}).encode(),
        ):
            self.error(FakeResponse(body=body), BadGateway)

    def test_huge(self) -> None:
        """A huge answer is not read, whether or not it says how long it is."""
        for sized in (True, False):
            self.error(FakeResponse(body=bytes(300_000), sized=sized), BadGateway)

    def test_unreachable(self) -> None:
        """A server that cannot be reached is named beside the upstream."""
        error = self.error(Refused(), BadGateway)
        self.assertIn("auth.example.com", error.message)
        self.assertIn("refused", error.message)

    def test_no_realm(self) -> None:
        """A challenge whose realm is not an http URL cannot be answered."""
        for realm in (
            "",
            "token",
            "ftp://auth.example.com/",
            "https://",
            "http://[::1",
            "http://h:x/",
        ):
            self.error(given(token="t"), BadGateway, None, challenge(realm))
        self.assertEqual([], self.http.sent)
