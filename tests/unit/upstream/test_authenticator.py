"""Which Authorization an upstream gets."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials
from oci_registry.spec.errors import Denied
from oci_registry.upstream.authenticator import Authenticator
from oci_registry.upstream.schemes.basic import basic_authorization
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent

URL = "https://registry.example.com"
SCOPE = "repository:library/app:pull"
BEARER = 'Bearer realm="https://auth.example.com/token",service="registry"'
BASIC = 'Basic realm="registry"'
PAT = Credentials("pat", "s3cret")


class AuthenticatorTests(SynchronousTestCase):
    """Challenges and their answers."""

    def setUp(self) -> None:
        self.given = 0
        self.http = FakeHttp(self.answer)

    def answer(self, sent: Sent) -> Answer:
        self.given += 1
        return FakeResponse(body=json.dumps({"token": f"t{self.given}"}).encode())

    def make(self, credentials: Credentials | None = PAT) -> Authenticator:
        return Authenticator(self.http.as_http, URL, credentials, Clock())

    def ask(self, auth: Authenticator, *challenges: str, refused: str | None = None) -> str | None:
        return self.successResultOf(Deferred.fromCoroutine(auth.answer(challenges, SCOPE, refused)))

    def test_nothing_unasked(self) -> None:
        """Credentials are not sent before they are asked for."""
        self.assertIsNone(self.make().at_hand(SCOPE))

    def test_bearer(self) -> None:
        """A Bearer challenge is answered with a token, which is at hand for that scope then."""
        auth = self.make()
        self.assertEqual("Bearer t1", self.ask(auth, BEARER))
        self.assertEqual("Bearer t1", auth.at_hand(SCOPE))
        self.assertIsNone(auth.at_hand("repository:other:pull"))

    def test_basic(self) -> None:
        """A Basic challenge is answered with the credentials, sent unasked from then on."""
        auth = self.make()
        self.assertEqual(basic_authorization(PAT), self.ask(auth, BASIC))
        self.assertEqual(basic_authorization(PAT), auth.at_hand("repository:other:pull"))
        self.assertEqual([], self.http.sent)

    def test_basic_without_credentials(self) -> None:
        """There is no answer to a Basic challenge without credentials."""
        auth = self.make(None)
        self.assertIsNone(self.ask(auth, BASIC))
        self.assertIsNone(auth.at_hand(SCOPE))

    def test_bearer_before_basic(self) -> None:
        """Bearer is preferred wherever it stands, on one line or several."""
        for challenges in ((BASIC, BEARER), (BEARER, BASIC), (f"{BASIC}, {BEARER}",)):
            answer = self.ask(self.make(), *challenges)
            assert answer is not None
            self.assertTrue(answer.startswith("Bearer "), challenges)

    def test_others(self) -> None:
        """Schemes that we do not speak, and garbage, are passed over."""
        auth = self.make()
        self.assertIsNone(self.ask(auth))
        self.assertIsNone(self.ask(auth, "Negotiate", 'Digest realm="x"', "", '"', "=,="))
        self.assertEqual(basic_authorization(PAT), self.ask(auth, "Negotiate", BASIC))

    def test_refused_token(self) -> None:
        """A token that was turned down is replaced."""
        auth = self.make()
        self.ask(auth, BEARER)
        self.assertEqual("Bearer t2", self.ask(auth, BEARER, refused="Bearer t1"))

    def test_the_same_token_again(self) -> None:
        """A server that gives the refused token again has no answer: nobody asks for ever."""
        self.http.answer = lambda _: FakeResponse(body=b'{"token": "t"}')
        auth = self.make()
        self.ask(auth, BEARER)
        self.assertIsNone(self.ask(auth, BEARER, refused="Bearer t"))

    def test_refused_credentials(self) -> None:
        """Credentials that were turned down are not offered twice to the same question."""
        auth = self.make()
        self.assertIsNone(self.ask(auth, BASIC, refused=basic_authorization(PAT)))

    def test_from_basic_to_bearer(self) -> None:
        """A registry that takes to tokens gets one, though Basic has worked before."""
        auth = self.make()
        basic = self.ask(auth, BASIC)
        self.assertEqual("Bearer t1", self.ask(auth, BEARER, refused=basic))
        self.assertEqual("Bearer t1", auth.at_hand(SCOPE))

    def test_foreign_realm(self) -> None:
        """A realm in another domain gets no credentials, and Basic is not tried instead."""
        evil = BEARER.replace("example.com", "example.net")
        auth = self.make()
        failed = Deferred.fromCoroutine(auth.answer([evil, BASIC], SCOPE, None))
        self.failureResultOf(failed, Denied)
        self.assertEqual([], self.http.sent)
