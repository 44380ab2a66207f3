"""The challenges at /v2/."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.challenge import Challenge
from oci_registry.spec.errors import BadGateway, GatewayTimeout, RegistryError, TooManyRequests
from oci_registry.upstream.schemes.version_check import CHECK_TIMEOUT, REMEMBERED, VersionCheck
from tests.support.fake_http import Answer, FakeHttp, FakeResponse

URL = "https://registry.example.com"
BEARER = Challenge("bearer", {"realm": "https://auth.example.com/t", "service": "r"})


def challenged(line: str) -> FakeResponse:
    """Return a 401 with a challenge."""
    return FakeResponse(401, headers={"WWW-Authenticate": line})


class Checking(SynchronousTestCase):
    """VersionCheck."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.good = challenged('Bearer realm="https://auth.example.com/t",service="r",scope="x"')
        self.http = FakeHttp(lambda _: self.good)
        self.check = VersionCheck(self.http.as_http, URL, self.clock)

    def begin(self) -> Deferred[tuple[Challenge, ...]]:
        return Deferred.fromCoroutine(self.check.challenges())

    def found(self) -> tuple[Challenge, ...]:
        return self.successResultOf(self.begin())

    def test_once(self) -> None:
        """It is asked once, without authorization, and remembered without its scope."""
        self.assertEqual((BEARER,), self.found())
        self.assertEqual((BEARER,), self.found())
        (sent,) = self.http.sent
        self.assertEqual(("GET", f"{URL}/v2/"), (sent.method, sent.url))
        self.assertEqual({}, sent.headers)
        self.clock.advance(REMEMBERED)
        self.found()
        self.assertEqual(2, len(self.http.sent))

    def test_nothing(self) -> None:
        """That nobody is challenged is remembered as well."""
        for code in (200, 204, 400, 403, 404):
            self.setUp()
            self.http.answer = lambda _, code=code: FakeResponse(code)  # type: ignore[misc]
            self.assertEqual(((), ()), (self.found(), self.found()))
            self.assertEqual(1, len(self.http.sent))

    def test_single_flight(self) -> None:
        """A caller that comes while it is asked waits for that answer."""
        waiting: Deferred[FakeResponse] = Deferred()
        self.http.answer = lambda _: waiting
        asking = [self.begin() for _ in range(5)]
        waiting.callback(self.good)
        self.assertEqual([(BEARER,)] * 5, [self.successResultOf(one) for one in asking])
        self.assertEqual(1, len(self.http.sent))

    def test_failures(self) -> None:
        """A registry that cannot answer is an error that names it, and asked again."""
        answers: list[tuple[Answer, type[RegistryError]]] = [
            (Refused(), BadGateway),
            (FakeResponse(500), BadGateway),
            (FakeResponse(429, headers={"Retry-After": "7"}), TooManyRequests),
        ]
        for answer, kind in answers:
            self.http.answer = lambda _, answer=answer: answer  # type: ignore[misc]
            failure = self.failureResultOf(self.begin(), kind)
            self.assertIn("registry.example.com", failure.getErrorMessage())
        self.http.answer = lambda _: self.good
        self.assertEqual((BEARER,), self.found())

    def test_never_answers(self) -> None:
        """It is given up in time."""
        self.http.answer = lambda _: Deferred()
        asking = self.begin()
        self.clock.advance(CHECK_TIMEOUT)
        self.failureResultOf(asking, GatewayTimeout)

    def test_redirects(self) -> None:
        """It is followed within the registry, a few times; elsewhere nobody is asked."""
        for location, expected in (
            ("/v2", (BEARER,)),
            (f"{URL}/other", (BEARER,)),
            ("https://elsewhere.example.com/v2/", ()),
            ("http://registry.example.com/v2/", ()),
            ("https://[", ()),
        ):
            self.setUp()
            answers = [FakeResponse(307, headers={"Location": location}), self.good]
            self.http.answer = lambda _, answers=answers: answers.pop(0)  # type: ignore[misc]
            self.assertEqual(expected, self.found(), location)
        self.setUp()
        self.http.answer = lambda _: FakeResponse(301, headers={"Location": "/v2/"})
        self.assertEqual((), self.found())
        self.assertEqual(4, len(self.http.sent))
