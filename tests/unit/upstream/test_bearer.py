"""Bearer tokens: fetched once, kept until shortly before they expire."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import Challenge
from oci_registry.spec.errors import BadGateway, GatewayTimeout
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.schemes.bearer import TokenSource
from oci_registry.upstream.schemes.token_server import TokenServers
from tests.support.fake_http import FakeResponse

from .token_case import PAT, REALM, SCOPE, URL, TokenTestCase, challenge, given


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
        """A token is replaced some seconds before its end, so that none expires in transit."""
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
            servers = TokenServers(self.http.as_http, URL, None, clock, ())
            source = TokenSource(servers, clock, UpstreamLimits())
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

    def test_scopes(self) -> None:
        """What is wanted is asked for, and what the challenge names beside it, once each."""
        other = "repository:base/os:pull"
        for challenged, expected in (
            ("", [SCOPE]),
            (SCOPE, [SCOPE]),
            ("*", [SCOPE, "*"]),
            (f"{other} {SCOPE} {other}", [SCOPE, other]),
        ):
            self.http.sent.clear()
            self.token(self.source(), challenge(scope=challenged))
            query = parse_qs(urlsplit(self.http.sent[0].url).query)
            self.assertEqual(expected, query["scope"])

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

    def test_bounded_in_size(self) -> None:
        """Large tokens do not fill the memory: they take 2 MiB at most, and the last one is still used."""
        self.http.answer = lambda _: given(token=f"{next(self.numbers):05}" + "x" * 65_000)
        source = self.source()
        for number in range(100):
            scope = f"repository:r{number}:pull"
            self.token(source, challenge(scope=scope), scope)
        kept = [source.cached(f"repository:r{number}:pull") for number in range(100)]
        self.assertEqual(2 * 1024 * 1024 // 65_100, sum(token is not None for token in kept))
        self.assertIsNotNone(kept[-1])

    def test_used_last(self) -> None:
        """A token that is used does not give way to others."""
        source = self.source()
        self.token(source)
        for number in range(1500):
            scope = f"repository:r{number}:pull"
            self.token(source, challenge(scope=scope), scope)
            self.assertEqual("t1", source.cached(SCOPE))


class Refusals(TokenTestCase):
    """Tokens that the upstream turns down."""

    def test_dropped(self) -> None:
        """A refused token is dropped and fetched once more."""
        source = self.source()
        self.assertEqual("t1", self.token(source))
        self.assertEqual("t2", self.token(source, refused="t1"))
        self.assertEqual("t2", source.cached(SCOPE))

    def test_replaced_meanwhile(self) -> None:
        """A request that was refused an older token gets the one that another has fetched since."""
        source = self.source()
        self.token(source)
        self.token(source, refused="t1")
        self.assertEqual("t2", self.token(source, refused="t1"))
        self.assertEqual(2, len(self.http.sent))

    def test_for_every_scope(self) -> None:
        """A token that is refused is used for none of the scopes that have it."""
        self.http.answer = lambda _: given(token="same")
        source = self.source()
        other = "repository:library/other:pull"
        self.token(source)
        self.token(source, challenge(scope=other), other)
        source.refuse("same")
        self.assertEqual((None, None), (source.cached(SCOPE), source.cached(other)))

    def test_known(self) -> None:
        """Of a token is known what it is for and whether it was used again, refused or not."""
        source = self.source()
        self.token(source)
        for reused in (False, True):
            known = source.known("t1")
            assert known is not None
            self.assertEqual((reused, (SCOPE,)), (known.reused, known.key.scopes))
            source.cached(SCOPE)
        source.refuse("t1")
        self.assertIsNotNone(source.known("t1"))
        self.token(source)
        self.assertIsNone(source.known("t1"))

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
        """A request made while a token is fetched gets that one."""
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
        """A server that never answers is given up, and the next request asks again."""
        self.http.answer = lambda _: Deferred()
        source = self.source()
        waiting = self.begin(source)
        self.clock.advance(UpstreamLimits().token - 1)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        failure = self.failureResultOf(waiting, GatewayTimeout)
        self.assertIn("auth.example.com", failure.getErrorMessage())
        self.http.answer = self.good
        self.assertEqual("t1", self.token(source))


class Choice(TokenTestCase):
    """Which of several challenges is answered."""

    def realm(self, *realms: str, credentials: Credentials | None = PAT) -> str | None:
        """Return the realm that is chosen of these."""
        challenges = [challenge(realm) for realm in realms]
        key = self.source(credentials).choose(challenges, SCOPE)
        return None if key is None else key.realm

    def test_first(self) -> None:
        """The first is, unless its server may not see the credentials, or it names none."""
        good, foreign = "https://auth.example.com/t", "https://auth.example.net/t"
        self.assertEqual(good, self.realm(good, "https://registry.example.com/t"))
        self.assertEqual(good, self.realm("", "nonsense", good))
        self.assertEqual(good, self.realm(foreign, good))
        self.assertEqual(foreign, self.realm(foreign, good, credentials=None))
        self.assertEqual(foreign, self.realm(foreign))

    def test_none(self) -> None:
        """There is nothing to choose of other schemes, and of realms that are no URL."""
        for realm in ("", "token", "ftp://auth.example.com/", "https://", "http://[::1", "'http"):
            self.assertIsNone(self.realm(realm))
        for realm in ("http://h:x/", "https://auth.example.com/ä", "https://a b/", "http"):
            self.assertIsNone(self.realm(realm))
        self.assertIsNone(self.source().choose([Challenge("basic", {"realm": REALM})], SCOPE))

    def test_bounded(self) -> None:
        """No more than eight are looked at."""
        self.assertIsNone(self.realm(*[""] * 8, REALM))
        self.assertEqual(REALM, self.realm(*[""] * 7, REALM))

    def test_relative(self) -> None:
        """A path is one on the registry itself; a host without a scheme has the registry's."""
        self.assertEqual("https://registry.example.com/token?a=b", self.realm("/token?a=b#c"))
        self.assertEqual("https://auth.example.com/t", self.realm("//auth.example.com/t"))
