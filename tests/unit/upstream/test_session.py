"""A host over HTTP: where it leads, what goes along, and whose fault a failure is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials, HostSettings, UpstreamSettings
from oci_registry.metrics import Metrics
from oci_registry.spec.errors import Denied, RegistryError
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import Limited, TargetFailed, TimedOut, WrongAnswer
from oci_registry.upstream.other_servers import OtherServers
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.requests import ApiRequest, Call, Kind
from oci_registry.upstream.session import MAX_REDIRECTS, Reply, Session
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent
from tests.support.reports import breaker_log, reports_of

HOST = "reg.example"
HOME = f"https://{HOST}"
CDN = "https://cdn.example"
REQUEST = ApiRequest(Kind.MANIFEST, "team/app", "v1")
PATH = "team/app/manifests/v1"
PAT = Credentials("pat", "s3cret")


def moved(to: str, status: int = 307) -> FakeResponse:
    """Return a redirect."""
    return FakeResponse(status, headers={"Location": to})


class SessionTestCase(SynchronousTestCase):
    """A session whose requests are answered by *answers*, the longest prefix of a URL first."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000)
        self.answers: dict[str, Answer | Callable[[Sent], Answer]] = {}
        self.http = FakeHttp(self.answer)
        self.session = self.connect()

    def connect(
        self,
        *,
        credentials: Credentials | None = None,
        namespace: str = HOST,
        path: str = "",
        **options: Any,
    ) -> Session:
        host = HostSettings(HOST, credentials=credentials, path=path)
        settings = UpstreamSettings(namespace, (host,))
        metrics = Metrics([namespace]).host(namespace, HOST)
        self.breakers = Breakers(
            HOST, self.clock, lambda: 1.0, metrics, breaker_log(namespace, HOST)
        )
        limit = RateLimit(self.clock, metrics)
        http = self.http.as_http
        reports = reports_of(settings, host, metrics)
        others = OtherServers(host, http, self.clock, self.breakers, **options)
        return Session(settings, host, http, self.clock, others, limit, reports)

    def answer(self, sent: Sent) -> Answer:
        for prefix in sorted(self.answers, key=len, reverse=True):
            if sent.url.startswith(prefix):
                answer = self.answers[prefix]
                return answer(sent) if callable(answer) else answer
        return FakeResponse(404)

    def begin(
        self, request: ApiRequest = REQUEST, path: str = PATH, *, wait: bool = True
    ) -> Deferred[Reply]:
        call = Call(request, self.clock.seconds() + 20.0, wait)
        sending = self.session.send(call, "GET", path, {"Accept": "a/b"})
        return Deferred.fromCoroutine(sending)

    def send(self, request: ApiRequest = REQUEST) -> Reply:
        return self.successResultOf(self.begin(request))

    def fails(self, kind: type[RegistryError], asked: Deferred[Reply] | None = None) -> str:
        """The request fails by the fault of another server."""
        failed = self.failureResultOf(asked or self.begin(), TargetFailed).value
        assert isinstance(failed, TargetFailed)
        self.assertIsInstance(failed.error, kind)
        self.assertIn(HOST, failed.error.message)
        return failed.error.message

    @property
    def urls(self) -> list[str]:
        return [sent.url for sent in self.http.sent]


class Redirects(SessionTestCase):
    """Where a host leads."""

    def test_target(self) -> None:
        """A redirect is followed, with the request's headers and without the host's credentials."""
        self.session = self.connect(credentials=PAT)

        def home(sent: Sent) -> Answer:
            if "Authorization" in sent.headers:
                return moved(f"{CDN}/b?sig=1#part")
            return FakeResponse(401, headers={"WWW-Authenticate": "Basic realm=x"})

        self.answers = {HOME: home, CDN: FakeResponse(body=b"x")}
        reply = self.send()
        self.assertEqual((200, "https://cdn.example:443"), (reply.response.code, reply.endpoint))
        last = self.http.sent[-1]
        self.assertEqual(f"{CDN}/b?sig=1", last.url)
        self.assertEqual("a/b", last.headers["Accept"])
        self.assertNotIn("Authorization", last.headers)

    def test_at_home(self) -> None:
        """Within the host, however its port is written, everything goes along."""
        self.session = self.connect(credentials=PAT)

        def home(sent: Sent) -> Answer:
            if "Authorization" not in sent.headers:
                return FakeResponse(401, headers={"WWW-Authenticate": "Basic realm=x"})
            return FakeResponse(200) if "there" in sent.url else moved(f"{HOME}:443/there")

        self.answers = {HOME: home}
        reply = self.send()
        self.assertEqual((200, Kind.MANIFEST), (reply.response.code, reply.endpoint))
        self.assertIn("Authorization", self.http.sent[-1].headers)

    def test_relative(self) -> None:
        """A relative location is resolved against the URL that answered."""
        self.answers = {
            HOME: moved(f"{CDN}/a/b/c", 302),
            f"{CDN}/a/b/c": moved("../d", 303),
            f"{CDN}/a/d": FakeResponse(200),
        }
        self.assertEqual(200, self.send().response.code)

    def test_many(self) -> None:
        """Some redirects in a row are followed, and no endless ones."""
        steps = iter(range(100))

        def home(sent: Sent) -> Answer:
            step = next(steps)
            return FakeResponse(200) if step == MAX_REDIRECTS else moved(f"{HOME}/{step}", 308)

        self.answers = {HOME: home}
        self.assertEqual(200, self.send().response.code)
        self.answers = {HOME: moved(f"{HOME}/again")}
        self.failureResultOf(self.begin(), WrongAnswer)
        self.assertEqual(2 * (MAX_REDIRECTS + 1), len(self.urls))

    def test_nowhere(self) -> None:
        """A redirect without a usable target, or from https to http, is a useless answer."""
        for location in ("", "ftp://x/", "https://", "https://[::1/", "http://reg.example/", "//"):
            self.answers = {HOME: moved(location)}
            if location == "":
                self.answers[HOME] = FakeResponse(301)
            self.failureResultOf(self.begin(), WrongAnswer)

    def test_no_credentials_in_urls(self) -> None:
        """Credentials in a location are dropped."""
        self.answers = {HOME: moved("https://u:p@cdn.example/b"), CDN: FakeResponse(200)}
        self.send()
        self.assertEqual(f"{CDN}/b", self.urls[-1])

    def test_missing_there(self) -> None:
        """What the target does not have is for the asker to judge."""
        self.answers = {HOME: moved(f"{CDN}/b"), CDN: FakeResponse(404)}
        self.assertEqual(404, self.send().response.code)


class Faults(SessionTestCase):
    """What another server does wrong is its own fault."""

    def setUp(self) -> None:
        super().setUp()
        self.answers = {HOME: moved(f"{CDN}/b")}

    def test_statuses(self) -> None:
        """Errors, limits and refusals of a target are a failure of the target, which is named."""
        for status, kind in ((500, RegistryError), (503, RegistryError), (403, RegistryError)):
            self.answers[CDN] = FakeResponse(status)
            self.assertIn("cdn.example", self.fails(kind))
        self.answers[CDN] = FakeResponse(429, headers={"Retry-After": "9"})
        self.fails(Limited)
        self.assertEqual(9, self.breakers.wait("https://cdn.example:443", REQUEST))
        self.assertEqual(0, self.breakers.wait(Kind.MANIFEST, REQUEST))

    def test_limited_target_is_not_asked(self) -> None:
        """A target that limits us is not asked before its time, for this."""
        self.answers[CDN] = FakeResponse(429, headers={"Retry-After": "9"})
        self.fails(Limited)
        self.fails(Limited)
        self.assertEqual(1, self.urls.count(f"{CDN}/b"))
        self.answers[CDN] = FakeResponse(200)
        self.send(ApiRequest(Kind.BLOB, "team/other", "x"))
        self.clock.advance(9)
        self.send()

    def test_out_of_reach(self) -> None:
        """That no connection can be made to another server is that server's fault."""
        self.answers[CDN] = Refused()
        self.assertIn("refused the connection", self.fails(RegistryError))

    def test_silent(self) -> None:
        """A silent target has a little less time than the whole, so that the timeout is its own."""
        self.answers[CDN] = Deferred()
        asked = self.begin()
        self.clock.advance(19.96)
        self.fails(TimedOut, asked)
        asked = self.begin(wait=False)
        self.assertIn("the circuit breaker is open", self.fails(RegistryError, asked))

    def test_leaving(self) -> None:
        """A client that leaves meanwhile does not count as a failure."""
        self.answers[CDN] = Deferred()
        asked = self.begin()
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(0, self.breakers.wait("https://cdn.example:443", REQUEST))

    def test_token_server(self) -> None:
        """The failure of a token server is no failure of the registry either."""
        challenge = f'Bearer realm="{HOME}/token",service="s"'
        self.answers = {
            HOME: FakeResponse(401, headers={"WWW-Authenticate": challenge}),
            f"{HOME}/token": FakeResponse(429, headers={"Retry-After": "9"}),
        }
        self.assertIn("token server", self.fails(RegistryError))
        self.answers[f"{HOME}/token"] = FakeResponse(403)
        request = ApiRequest(Kind.MANIFEST, "team/secret", "v1")
        self.failureResultOf(self.begin(request, "team/secret/manifests/v1"), Denied)


class VanityNames(SessionTestCase):
    """A host that is only a name for another registry."""

    def real(self, sent: Sent) -> Answer:
        if sent.headers.get("Authorization") == "Bearer t":
            return FakeResponse(200)
        challenge = f'Bearer realm="{CDN}/token",service="real"'
        return FakeResponse(401, headers={"WWW-Authenticate": challenge})

    def setUp(self) -> None:
        super().setUp()
        self.answers = {
            HOME: moved(f"{CDN}/v2/{PATH}"),
            CDN: self.real,
            f"{CDN}/token": self.token,
        }
        self.tokens: list[Sent] = []

    def token(self, sent: Sent) -> Answer:
        self.tokens.append(sent)
        return FakeResponse(body=b'{"token":"t"}')

    def test_anonymous(self) -> None:
        """A target that challenges is answered, anonymously, and the token kept."""
        self.session = self.connect(credentials=PAT)
        for _ in range(2):
            self.assertEqual(200, self.send().response.code)
        self.assertEqual(1, len(self.tokens))
        self.assertNotIn("Authorization", self.tokens[0].headers)

    def test_configured(self) -> None:
        """Unless there are credentials for it in the configuration."""
        asked: list[str] = []

        def settings_of(origin: str) -> HostSettings:
            asked.append(origin)
            return HostSettings("cdn.example", credentials=PAT)

        self.session = self.connect(settings_of=settings_of)
        self.send()
        self.assertEqual(["https://cdn.example:443"], asked)
        self.assertIn("Authorization", self.tokens[0].headers)


class Namespaces(SessionTestCase):
    """A host that may know several registries."""

    def setUp(self) -> None:
        super().setUp()
        self.session = self.connect(namespace="quay.io")

    def test_sent(self) -> None:
        """It gets the name of the registry with each request."""
        self.answers = {HOME: FakeResponse(200)}
        self.send()
        path = f"{PATH}?n=1"
        self.successResultOf(self.begin(path=path))
        self.assertEqual(
            [f"{HOME}/v2/{PATH}?ns=quay.io", f"{HOME}/v2/{PATH}?n=1&ns=quay.io"], self.urls
        )

    def test_refused(self) -> None:
        """One that refuses the field is asked without it, and that is remembered."""
        self.answers = {
            HOME: lambda sent: FakeResponse(400 if "ns=" in sent.url else 200),
        }
        self.assertEqual([200, 200], [self.send().response.code for _ in range(2)])
        self.assertEqual(3, len(self.urls))

    def test_unknown(self) -> None:
        """A 404 is an answer: without the field it might mean another registry's image."""
        self.answers = {HOME: lambda sent: FakeResponse(404 if "ns=" in sent.url else 200)}
        self.assertEqual(404, self.send().response.code)

    def test_refused_for_another_reason(self) -> None:
        """A host that refuses the request without the field too may still know the field."""
        self.answers = {HOME: FakeResponse(400)}
        for _ in range(2):
            self.assertEqual(400, self.send().response.code)
        self.assertEqual(4, len(self.urls))

    def test_understood(self) -> None:
        """A host that has answered a request with the field is not asked without it."""
        self.answers = {HOME: FakeResponse(404)}
        self.send()
        self.answers = {HOME: FakeResponse(400)}
        self.assertEqual(400, self.send().response.code)
        self.assertEqual(2, len(self.urls))

    def test_another_registry(self) -> None:
        """An answer without the field that is about another registry is not used."""
        other = FakeResponse(200, headers={"OCI-Namespace": "docker.io"})
        self.answers = {HOME: lambda sent: FakeResponse(400) if "ns=" in sent.url else other}
        self.assertEqual(400, self.send().response.code)

    def test_path(self) -> None:
        """The path of a host stands before the repository, in URLs and in scopes."""
        self.session = self.connect(path="proxy/hub")
        challenge = f'Bearer realm="{HOME}/token",service="s"'
        self.answers = {
            HOME: FakeResponse(401, headers={"WWW-Authenticate": challenge}),
            f"{HOME}/token": FakeResponse(body=b'{"token":"t"}'),
        }
        self.send()
        self.assertEqual(f"{HOME}/v2/proxy/hub/{PATH}", self.urls[0])
        scope = quote("repository:proxy/hub/team/app:pull", safe="")
        self.assertTrue(any(f"scope={scope}" in url for url in self.urls), self.urls)
