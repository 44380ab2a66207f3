"""Failures of hosts, as the operator sees them."""

from __future__ import annotations

import json
from collections.abc import Callable

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials, HostSettings, UpstreamSettings
from oci_registry.repeats import INTERVAL, RepeatLog
from oci_registry.spec.errors import ManifestUnknown, RegistryError
from oci_registry.spec.reference import Tag
from oci_registry.upstream.errors import CircuitOpen, LocalFailure
from oci_registry.upstream.reports import BreakerLog
from oci_registry.upstream.requests import ApiRequest, Kind
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.support.reports import Lines, breaker_log
from tests.unit.upstream.support import (
    A_TAG,
    APP,
    LATEST,
    A,
    HostsTestCase,
    RequestsTestCase,
    manifest,
)

BEARER = {"WWW-Authenticate": f'Bearer realm="https://{A}/token?x=y",service="s"'}
BASIC = {"WWW-Authenticate": 'Basic realm="r"'}
BOB = Credentials("bob", "s3cret")


class ReportsTestCase(RequestsTestCase):
    """One host."""

    names = (A,)

    def setUp(self) -> None:
        super().setUp()
        self.lines = Lines(self)

    def fails(self, answer: Answer | Callable[[Sent], Answer]) -> list[str]:
        """Let the host answer this; return the warnings of one request."""
        self.lines.clear()
        self.connect()
        self.answer(A, answer)
        self.failureResultOf(self.ask(), RegistryError)
        return self.lines.warnings

    def warnings_about_requests(self) -> list[str]:
        """Return the warnings, without those of circuits."""
        return [line for line in self.lines.warnings if line.startswith("example.com")]


class Kinds(ReportsTestCase):
    """Each kind of failure has its line."""

    def test_answers(self) -> None:
        """Statuses, and answers that are no manifests, are told with what was asked for."""
        sentence = f"example.com, manifests: upstream {A}"
        for answer, expected in (
            (401, "denied access to library/app, latest (status 401); it was asked without"),
            (403, "denied access to library/app, latest (status 403); it was asked without"),
            (429, "rate limits requests"),
            (500, "answered 500 for library/app, latest"),
            (503, "answered 503 for library/app, latest"),
            (504, "answered 504 for library/app, latest"),
            (400, "answered 400 for library/app, latest"),
        ):
            self.assertEqual(
                [f"{sentence} {expected}"],
                [line.removesuffix(" credentials") for line in self.fails(FakeResponse(answer))],
            )
        (line,) = self.fails(FakeResponse(body=b"<html>"))
        self.assertIn(f"{sentence} sent no manifest for latest", line)

    def test_connections(self) -> None:
        """Names, refused connections and TLS are told."""
        for error, expected in (
            (DNSLookupError(), "its name could not be resolved"),
            (Refused(), "refused the connection"),
            (SSL.Error([("ssl", "", "certificate verify failed")]), "certificate verify failed"),
        ):
            self.assertIn(expected, " ".join(self.fails(error)))

    def test_timeouts(self) -> None:
        """A host that does not answer is told."""
        self.answer(A, lambda _: Deferred())
        asked = self.ask()
        self.clock.advance(self.settings.response_timeout)
        self.failureResultOf(asked, RegistryError)
        self.assertEqual(
            [f"example.com, manifests: upstream {A} did not answer in time"],
            self.warnings_about_requests(),
        )

    def test_kinds_of_requests(self) -> None:
        """Lists, referrers, sizes and blobs fail each for itself."""
        host = self.group.hosts[0]
        for kind in Kind:
            host.reports.failed(ApiRequest(kind, APP, "x"), RegistryError("it is down"))
        self.assertEqual(
            {f"example.com, {kind.value}: it is down" for kind in Kind}, set(self.lines.warnings)
        )

    def test_no_connection_free(self) -> None:
        """That all connections to a host are in use for too long is reported as such."""
        self.connect(max_connections=1)
        self.answer(A, lambda _: Deferred())
        asked = [self.ask(), self.start(self.upstream.manifest("b/c", LATEST, patient=False))]
        self.clock.advance(self.settings.response_timeout)
        for one in asked:
            self.failureResultOf(one, RegistryError)
        self.assertIn(
            f"example.com, manifests: all connections to upstream {A} are in use",
            self.lines.warnings,
        )

    def test_token_server(self) -> None:
        """A token server that fails is told as one."""

        def answer(sent: Sent) -> Answer:
            return FakeResponse(500) if "/token" in sent.url else FakeResponse(401, headers=BEARER)

        (line,) = self.fails(answer)
        self.assertEqual(
            f"example.com, manifests: the token server of upstream {A} answered 500", line
        )

    def test_redirects(self) -> None:
        """That the target of a redirect fails is reported as such, without the query of the link."""

        def answer(sent: Sent) -> Answer:
            if "cdn.example" in sent.url:
                return FakeResponse(403)
            return FakeResponse(307, headers={"Location": "https://cdn.example/x?sig=secret"})

        (line,) = self.fails(answer)
        self.assertIn("which redirects to cdn.example:443, answered 403", line)
        self.assertNotIn("secret", line)

    def test_no_failures(self) -> None:
        """An image that is not there, a defect of ours and an open circuit are no failures of the host."""
        self.assertEqual([], self.fails(FakeResponse(404)))
        reports = self.group.hosts[0].reports
        for error in (ManifestUnknown("no"), LocalFailure("ours"), CircuitOpen("open")):
            reports.failed(A_TAG, error)
        self.assertEqual([], self.lines.warnings)


class Repetitions(ReportsTestCase):
    """What is the same failure."""

    def test_counted(self) -> None:
        """One failure of many images is one line, and a minute later their number."""
        reports = self.group.hosts[0].reports
        for number in range(38):
            request = ApiRequest(Kind.MANIFEST, f"library/app{number}", f"1.{number}")
            what = f"{request.repository}, {request.subject}"
            reports.failed(request, RegistryError(f"upstream {A} answered 500 for {what}"))
        self.assertEqual(1, len(self.lines.warnings))
        self.reporting.advance(INTERVAL)
        expected = f"example.com, manifests: upstream {A} answered 500 for library/app37, 1.37"
        self.assertEqual([f"{expected} (37 more in the last minute)"], self.lines.warnings[1:])

    def test_digests_and_sizes(self) -> None:
        """Digests and lengths in a failure do not make it another one."""
        reports = self.group.hosts[0].reports
        for number in range(5):
            error = RegistryError(f"announces {10_000 + number} bytes for sha256:{number:064x}")
            reports.failed(A_TAG, error)
            reports.broke(A_TAG, number * 1000, RegistryError("closed the connection"))
        self.assertEqual(2, len(self.lines.warnings))
        self.assertIn("latest broke off at byte 0: closed the conn", self.lines.warnings[1])

    def test_flood(self) -> None:
        """A host that invents failures makes few lines, and none of any length."""
        reports = self.group.hosts[0].reports
        for number in range(500):
            reports.failed(A_TAG, RegistryError(f"x{number} " + "y" * 10_000))
        self.assertEqual(10, len(self.lines.warnings))
        self.assertLess(max(map(len, self.lines.warnings)), 600)
        self.reporting.advance(INTERVAL)
        self.assertEqual(
            [f"example.com, {A}: other failures (490 more in the last minute)"],
            self.lines.warnings[10:],
        )


class NotConfigured(ReportsTestCase):
    """Registries that clients have named."""

    def test_shared_limit(self) -> None:
        """All of them together have one limit."""
        for number in range(100):
            self.connect(configured=False, namespace=f"x{number}.example")
            self.group.hosts[0].reports.failed(A_TAG, RegistryError("it is down"))
        self.assertEqual(30, len(self.lines.warnings))
        self.assertIn("x7.example, manifests: it is down", self.lines.warnings)


class RefusedCredentials(HostsTestCase):
    """Passwords that are not accepted."""

    names = (A,)
    credentials: Credentials | None = BOB

    def setUp(self) -> None:
        super().setUp()
        self.lines = Lines(self)
        self.token: Answer = FakeResponse(401)
        self.challenge = BEARER
        self.answer(A, self.respond)

    def respond(self, sent: Sent) -> Answer:
        if "/token" in sent.url:
            return self.token
        if self.challenge is BEARER and sent.headers.get("Authorization") == "Bearer t":
            return manifest()
        return FakeResponse(401, headers=self.challenge)

    def ask(self, tag: str = "1") -> Deferred[object]:
        return self.start(self.upstream.manifest(APP, Tag(tag), patient=False))

    def refused(self) -> float | None:
        name = "oci_registry_upstream_credentials_refused_total"
        return self.counted(name, namespace="example.com")

    def test_by_the_token_server(self) -> None:
        """The line names user, server and where to look, and never the password; it is counted."""
        self.assertEqual(0, self.refused())
        error = self.failureResultOf(self.ask(), RegistryError).value
        (line,) = self.lines.warnings
        self.assertEqual(
            (
                f'example.com: the credentials for user "bob" were refused by https://{A}/token (401): '
                "check username and password in the upstream file or UPSTREAM_CREDENTIALS"
            ),
            line,
        )
        self.assertEqual(1, self.refused())
        self.assertNotIn("s3cret", f"{self.lines.warnings} {error!r} {error}")
        self.assertNotIn("bob", f"{error!r} {error}")

    def test_by_the_registry(self) -> None:
        """Basic authentication that is refused is told in the same way."""
        self.challenge = BASIC
        self.failureResultOf(self.ask(), RegistryError)
        (line,) = self.lines.warnings
        self.assertIn(f'for user "bob" were refused by https://{A} (401)', line)
        self.assertEqual(1, self.refused())

    def test_forbidden(self) -> None:
        """A 403 of a token server that has given tokens is about the repository."""
        self.token = FakeResponse(403)
        self.failureResultOf(self.ask(), RegistryError)
        self.assertEqual(1, self.refused())
        self.token = FakeResponse(body=json.dumps({"token": "t"}).encode())
        self.successResultOf(self.ask("2"))
        self.lines.clear()
        self.clock.advance(600)
        self.token = FakeResponse(403)
        self.failureResultOf(self.ask("3"), RegistryError)
        self.assertEqual(1, self.refused())
        (line,) = self.lines.warnings
        self.assertIn(f'gave user "bob" no token for {APP} (403): the user may not pull it', line)

    def test_anonymous(self) -> None:
        """Without credentials none can be refused."""
        self.credentials = None
        self.connect()
        self.failureResultOf(self.ask(), RegistryError)
        (line,) = self.lines.warnings
        self.assertIn("refused the request (status 401)", line)


class Changes(SynchronousTestCase):
    """Circuit breakers and pauses."""

    def setUp(self) -> None:
        self.lines = Lines(self)
        self.clock = Clock()
        self.log = breaker_log("example.com", A, self.clock)

    def open(self, *key: str | Kind, error: str = "it is on fire") -> None:
        self.log.change(
            key, "circuit breaker open for {seconds:.0f} s: {error}", seconds=1.0, error=error
        )  # type: ignore[arg-type]

    def test_lines(self) -> None:
        """An open breaker is a warning with its reason; that of a single subject is none."""
        self.open(Kind.MANIFEST)
        self.open(Kind.MANIFEST, APP)
        self.open(Kind.MANIFEST, APP, "latest")
        self.log.change((Kind.MANIFEST,), "circuit breaker closed: it answers again")
        said = "circuit breaker open for 1 s: it is on fire"
        self.assertEqual(
            [f"upstream {A}, manifests: {said}", f"upstream {A}, manifests, {APP}: {said}"],
            self.lines.warnings,
        )
        closed = f"upstream {A}, manifests: circuit breaker closed: it answers again"
        self.assertEqual([closed], self.lines.of(LogLevel.info))

    def test_many(self) -> None:
        """Many repositories and other servers make few lines, and hide none of a whole kind."""
        for number in range(1000):
            self.open(Kind.BLOB, f"library/{number}")
            self.open(f"https://cdn{number}.example:443", error=f"reason {number}")
        self.assertEqual(10, len(self.lines.warnings))
        for kind in Kind:
            self.open(kind)
            self.log.change((kind,), "circuit breaker closed: it answers again")
            self.log.change((kind,), "rate limited, paused for {seconds:.0f} s", seconds=9)
        self.assertEqual(16, len(self.lines.warnings))
        self.assertEqual(12, len(self.lines.of(LogLevel.info)))
        self.clock.advance(INTERVAL)
        self.assertEqual(17, len(self.lines.warnings))
        self.assertEqual(
            "example.com, circuit breakers of repositories and other servers: further changes "
            "(1990 more in the last minute)",
            self.lines.warnings[-1],
        )

    def test_flapping(self) -> None:
        """A breaker that opens and closes all the time is counted."""
        for _ in range(100):
            self.open(Kind.BLOB)
            self.log.change((Kind.BLOB,), "circuit breaker closed: it answers again")
        self.clock.advance(INTERVAL)
        self.assertEqual(2, len(self.lines.warnings))
        self.assertIn("(99 more in the last minute)", self.lines.of(LogLevel.info)[-1])

    def test_many_registries(self) -> None:
        """Registries without an entry share one limit."""
        repeats = RepeatLog(Logger(), self.clock)
        for number in range(1000):
            name = f"x{number}.example"
            settings = UpstreamSettings(name, (HostSettings(name),), configured=False)
            self.log = BreakerLog(settings, name, repeats)
            self.open(Kind.MANIFEST)
        self.assertEqual(30, len(self.lines.warnings))
