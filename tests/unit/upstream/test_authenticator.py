"""Which Authorization an upstream gets."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials
from oci_registry.spec.errors import BadGateway, Denied, TooManyRequests
from oci_registry.upstream.authenticator import USELESS_FOR, Authenticator, Refusal, Retry
from oci_registry.upstream.schemes.basic import basic_authorization
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent

URL = "https://registry.example.com"
SCOPE = "repository:library/app:pull"
OTHER = "repository:library/other:pull"
BEARER = 'Bearer realm="https://auth.example.com/token",service="registry"'
BASIC = 'Basic realm="registry"'
PAT = Credentials("pat", "s3cret")
BASIC_PAT = basic_authorization(PAT)


class AuthenticatorTestCase(SynchronousTestCase):
    """A token server that gives t1, t2, ...; /v2/ answers *check*."""

    def setUp(self) -> None:
        self.given = 0
        self.check: Answer = FakeResponse(200)
        self.clock = Clock()
        self.http = FakeHttp(self.respond)

    def respond(self, sent: Sent) -> Answer:
        if sent.url == f"{URL}/v2/":
            return self.check
        self.given += 1
        return FakeResponse(body=json.dumps({"token": f"t{self.given}"}).encode())

    def challenge_at_check(self, line: str) -> None:
        """Let /v2/ ask for something."""
        self.check = FakeResponse(401, headers={"WWW-Authenticate": line})

    def checks(self) -> int:
        """Return how often /v2/ was asked for."""
        return sum(1 for sent in self.http.sent if sent.url == f"{URL}/v2/")

    def make(self, credentials: Credentials | None = PAT) -> Authenticator:
        return Authenticator(self.http.as_http, URL, credentials, self.clock)

    def begin(
        self,
        auth: Authenticator,
        *challenges: str,
        sent: str | None = None,
        status: int = 401,
        scope: str = SCOPE,
    ) -> Deferred[Retry | None]:
        refusal = Refusal(status, challenges, scope, sent)
        return Deferred.fromCoroutine(auth.answer(refusal))

    def ask(
        self,
        auth: Authenticator,
        *challenges: str,
        sent: str | None = None,
        status: int = 401,
        scope: str = SCOPE,
    ) -> str | None:
        """Return what is to be sent; ``nothing`` for a request without authorization."""
        asked = self.begin(auth, *challenges, sent=sent, status=status, scope=scope)
        retry = self.successResultOf(asked)
        return None if retry is None else retry.authorization or "nothing"

    def old_token(self, auth: Authenticator) -> str:
        """Return a token that was sent before."""
        self.ask(auth, BEARER)
        token = auth.cached_authorization(SCOPE)
        assert token is not None
        return token


class Challenges(AuthenticatorTestCase):
    """Requests that showed nothing, where something is asked for."""

    def test_nothing_unasked(self) -> None:
        """Credentials are not sent before they are asked for."""
        self.assertIsNone(self.make().cached_authorization(SCOPE))

    def test_bearer(self) -> None:
        """A Bearer challenge is answered with a token, which is at hand for that scope then."""
        auth = self.make()
        self.assertEqual("Bearer t1", self.ask(auth, BEARER))
        self.assertEqual("Bearer t1", auth.cached_authorization(SCOPE))
        self.assertIsNone(auth.cached_authorization(OTHER))

    def test_basic(self) -> None:
        """A Basic challenge is answered with the credentials, sent unasked from then on."""
        auth = self.make()
        self.assertEqual(BASIC_PAT, self.ask(auth, BASIC))
        self.assertEqual(BASIC_PAT, auth.cached_authorization(OTHER))
        self.assertEqual([], self.http.sent)

    def test_basic_without_credentials(self) -> None:
        """There is no answer to a Basic challenge without credentials."""
        auth = self.make(None)
        self.assertIsNone(self.ask(auth, BASIC))
        self.assertIsNone(auth.cached_authorization(SCOPE))

    def test_bearer_before_basic(self) -> None:
        """Bearer is preferred wherever it stands, on one line or several."""
        for challenges in ((BASIC, BEARER), (BEARER, BASIC), (f"{BASIC}, {BEARER}",)):
            answer = self.ask(self.make(), *challenges)
            assert answer is not None
            self.assertTrue(answer.startswith("Bearer "), challenges)

    def test_one_of_them_usable(self) -> None:
        """A Bearer challenge without a realm does not hide another, nor a Basic one."""
        self.assertEqual("Bearer t1", self.ask(self.make(), 'Bearer service="x"', BEARER))
        self.assertEqual(BASIC_PAT, self.ask(self.make(), "Bearer", BASIC))

    def test_others(self) -> None:
        """Schemes that we do not speak, and garbage, are passed over."""
        auth = self.make()
        self.assertIsNone(self.ask(auth))
        self.assertIsNone(self.ask(auth, "Negotiate", 'Digest realm="x"', "", '"', "=,="))
        self.assertEqual(BASIC_PAT, self.ask(auth, "Negotiate", BASIC))

    def test_bad_realm(self) -> None:
        """A token server that is no URL is an error, if nothing else is asked for anywhere."""
        bad = BEARER.replace("https://auth.example.com/token", "'http")
        self.failureResultOf(self.begin(self.make(), bad), BadGateway)
        self.failureResultOf(self.begin(self.make(None), bad), BadGateway)
        self.challenge_at_check(BEARER)
        self.assertEqual("Bearer t1", self.ask(self.make(), bad))

    def test_foreign_realm(self) -> None:
        """A realm in another domain gets no credentials, and Basic is not tried instead."""
        evil = BEARER.replace("example.com", "example.net")
        failure = self.failureResultOf(self.begin(self.make(), evil, BASIC), Denied)
        self.assertIn("token_servers", failure.getErrorMessage())
        self.assertEqual([], self.http.sent)
        self.assertEqual("Bearer t1", self.ask(self.make(None), evil))

    def test_allowed_realm(self) -> None:
        """One that is allowed gets them."""
        foreign = BEARER.replace("example.com", "example.net")
        auth = Authenticator(self.http.as_http, URL, PAT, self.clock, ("auth.example.net",))
        self.assertEqual("Bearer t1", self.ask(auth, foreign))
        self.assertEqual(BASIC_PAT, self.http.sent[0].headers["Authorization"])

    def test_secrets(self) -> None:
        """What was sent, and is to be sent, is in no repr."""
        self.assertNotIn("s3cret", repr(Refusal(401, (), SCOPE, "Basic s3cret")))
        self.assertNotIn("s3cret", repr(Retry("Basic s3cret")))


class RefusedTokens(AuthenticatorTestCase):
    """Tokens that were turned down."""

    def test_replaced(self) -> None:
        """One that was used before is replaced at once where the same is asked for again."""
        auth = self.make()
        old = self.old_token(auth)
        self.assertEqual("Bearer t2", self.ask(auth, BEARER, sent=old))
        self.assertEqual("Bearer t2", auth.cached_authorization(SCOPE))

    def test_without_it(self) -> None:
        """Whatever else comes back, it is forgotten and the request sent once more without it."""
        other = BEARER.replace("auth.", "login.")
        for status, challenges in (
            (401, ()),
            (401, (BASIC,)),
            (401, (other,)),
            (401, (BEARER.replace('"registry"', '"other"'),)),
            (401, ("Bearer",)),
            (403, ()),
            (403, (BASIC,)),
        ):
            auth = self.make()
            old = self.old_token(auth)
            answer = self.ask(auth, *challenges, sent=old, status=status)
            self.assertEqual("nothing", answer, (status, challenges))
            self.assertIsNone(auth.cached_authorization(SCOPE))

    def test_then_with_credentials(self) -> None:
        """What is asked of the request without it is answered as ever."""
        auth = self.make()
        self.assertEqual("nothing", self.ask(auth, BASIC, sent=self.old_token(auth)))
        self.assertEqual(BASIC_PAT, self.ask(auth, BASIC))
        auth = self.make()
        self.assertEqual("nothing", self.ask(auth, sent=self.old_token(auth), status=403))
        self.assertEqual("Bearer t3", self.ask(auth, BEARER))

    def test_new_one(self) -> None:
        """One that was got for this very request is not replaced by its like."""
        auth = self.make()
        new = self.ask(auth, BEARER)
        self.assertIsNone(self.ask(auth, BEARER, sent=new))
        self.assertIsNone(self.ask(auth, BEARER, sent=new))
        self.assertIsNone(auth.cached_authorization(SCOPE))
        self.assertEqual(1, self.given)

    def test_new_one_for_something_else(self) -> None:
        """If something else is asked for then, that is answered: another scope, or Basic."""
        auth = self.make()
        new = self.ask(auth, BEARER)
        wider = f'{BEARER},scope="repository:library/app:pull,push"'
        self.assertEqual("Bearer t2", self.ask(auth, wider, sent=new))
        self.assertIsNone(self.ask(auth, wider, sent="Bearer t2"))
        auth = self.make()
        new = self.ask(auth, BEARER)
        self.assertEqual(BASIC_PAT, self.ask(auth, BASIC, sent=new))

    def test_forbidden(self) -> None:
        """A 403 for one that was got for this request is final, and the token is kept."""
        auth = self.make()
        new = self.ask(auth, BEARER)
        self.assertIsNone(self.ask(auth, sent=new, status=403))
        self.assertEqual(new, auth.cached_authorization(SCOPE))

    def test_forbidden_again(self) -> None:
        """For a minute no 403 for that repository costs a token then; for others it may."""
        auth = self.make()
        new = self.ask(auth, BEARER)
        self.ask(auth, sent=new, status=403)
        for _ in range(3):
            old = auth.cached_authorization(SCOPE)
            self.assertIsNone(self.ask(auth, sent=old, status=403))
        self.ask(auth, BEARER, scope=OTHER)
        old = auth.cached_authorization(OTHER)
        self.assertEqual("nothing", self.ask(auth, sent=old, status=403, scope=OTHER))
        self.assertEqual(2, self.given)
        self.clock.advance(USELESS_FOR)
        self.assertEqual("nothing", self.ask(auth, sent=new, status=403))

    def test_the_same_token_again(self) -> None:
        """A server that gives the refused token again has no answer: nobody asks for ever."""
        self.http.answer = lambda _: FakeResponse(body=b'{"token": "t"}')
        auth = self.make()
        self.assertIsNone(self.ask(auth, BEARER, sent=self.old_token(auth)))
        self.assertIsNone(auth.cached_authorization(SCOPE))

    def test_many_at_once(self) -> None:
        """All who were refused the same token get the same new one."""
        auth = self.make()
        old = self.old_token(auth)
        answers = [self.ask(auth, BEARER, sent=old) for _ in range(5)]
        self.assertEqual(["Bearer t2"] * 5, answers)
        self.assertEqual(2, self.given)

    def test_it_ends(self) -> None:
        """Whatever a registry answers each time, few requests are sent again, with few tokens."""
        for challenges in ((BEARER,), (BASIC,), (BEARER, BASIC), ()):
            for status in (401, 403):
                self.challenge_at_check(BEARER)
                self.given = 0
                auth = self.make()
                sent: str | None = self.old_token(auth)
                rounds = 0
                while sent is not None and rounds < 9:
                    answer = self.ask(
                        auth, *challenges, sent=None if sent == "nothing" else sent, status=status
                    )
                    sent, rounds = answer, rounds + 1
                self.assertLessEqual(rounds, 4, (challenges, status))
                self.assertLessEqual(self.given, 2, (challenges, status))

    def test_not_for_lack_of_authorization(self) -> None:
        """A 404 for a request that showed something says nothing about it."""
        auth = self.make()
        old = self.old_token(auth)
        for sent in (old, BASIC_PAT):
            for status in (404, 200):
                self.assertIsNone(self.ask(auth, BEARER, sent=sent, status=status))
        self.assertEqual(old, auth.cached_authorization(SCOPE))


class RefusedCredentials(AuthenticatorTestCase):
    """Basic credentials that were turned down."""

    def test_not_twice(self) -> None:
        """They are not offered twice to the same request."""
        auth = self.make()
        for challenges in ((BASIC,), ()):
            for status in (401, 403):
                answer = self.ask(auth, *challenges, sent=BASIC_PAT, status=status)
                self.assertIsNone(answer)

    def test_from_basic_to_bearer(self) -> None:
        """A registry that takes to tokens gets one, though Basic has worked before."""
        auth = self.make()
        basic = self.ask(auth, BASIC)
        self.assertEqual("Bearer t1", self.ask(auth, BEARER, sent=basic))
        self.assertEqual("Bearer t1", auth.cached_authorization(SCOPE))
        self.assertIsNone(auth.cached_authorization(OTHER))

    def test_neither(self) -> None:
        """If both fail, it ends, and the next request asks again."""
        auth = self.make()
        new = self.ask(auth, BEARER, BASIC)
        self.assertEqual(BASIC_PAT, self.ask(auth, BEARER, BASIC, sent=new))
        self.assertIsNone(self.ask(auth, BEARER, BASIC, sent=BASIC_PAT))
        self.assertIsNone(auth.cached_authorization(SCOPE))
        self.assertEqual("Bearer t2", self.ask(auth, BEARER, BASIC))


class ChallengedElsewhere(AuthenticatorTestCase):
    """Registries that ask for something at /v2/ only."""

    ANSWERS = (401, 403, 404, 200)

    def test_basic(self) -> None:
        """What /v2/ asks for is shown where nothing was, and unasked from then on."""
        self.challenge_at_check(BASIC)
        for status in self.ANSWERS:
            auth = self.make()
            self.assertEqual(BASIC_PAT, self.ask(auth, status=status))
            self.assertEqual(BASIC_PAT, auth.cached_authorization(OTHER))
            self.assertIsNone(self.ask(auth, sent=BASIC_PAT, status=status))

    def test_bearer(self) -> None:
        """A token is got for each repository, without asking /v2/ again."""
        self.challenge_at_check(f'{BEARER},scope="repository:example/image:pull"')
        for status in self.ANSWERS:
            self.http.sent.clear()
            auth = self.make()
            first = self.ask(auth, status=status)
            self.assertEqual(first, auth.cached_authorization(SCOPE))
            self.assertIsNone(auth.cached_authorization(OTHER))
            second = self.ask(auth, status=status, scope=OTHER)
            self.assertNotIn(second, (None, first, "nothing"))
            self.assertEqual(1, self.checks())
            self.assertNotIn("example", self.http.sent[1].url.partition("scope=")[2])

    def test_own_challenge_first(self) -> None:
        """A challenge at the resource is answered without asking /v2/."""
        self.challenge_at_check(BASIC)
        self.assertEqual("Bearer t1", self.ask(self.make(), BEARER))
        self.assertEqual(0, self.checks())

    def test_nothing_asked_for(self) -> None:
        """If /v2/ asks for nothing the answer stands, and nobody asks there for a while."""
        auth = self.make()
        for _ in range(5):
            for status in self.ANSWERS:
                self.assertIsNone(self.ask(auth, status=status))
        self.assertEqual(1, self.checks())

    def test_anonymous(self) -> None:
        """Without credentials a bare 401 alone is followed up, for an anonymous token."""
        self.challenge_at_check(BEARER)
        auth = self.make(None)
        for status in (403, 404, 200):
            self.assertIsNone(self.ask(auth, status=status))
        self.assertEqual(0, self.checks())
        self.assertEqual("Bearer t1", self.ask(auth))

    def test_check_fails(self) -> None:
        """That /v2/ cannot answer is an error with credentials, which might have been wanted."""
        self.check = FakeResponse(503)
        self.failureResultOf(self.begin(self.make(), status=404), BadGateway)
        self.check = FakeResponse(429)
        self.failureResultOf(self.begin(self.make(), status=404), TooManyRequests)
        self.assertIsNone(self.ask(self.make(None)))
