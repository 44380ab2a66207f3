"""Hosts whose answers are made up, with a clock that only the test advances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials, HostSettings, UpstreamSettings
from oci_registry.metrics import Metrics
from oci_registry.repeats import RepeatLog
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.reference import Tag
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.group import HostGroup
from oci_registry.upstream.host import Host
from oci_registry.upstream.other_servers import OtherServers
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.registry import RemoteRegistry
from oci_registry.upstream.reports import BreakerLog, HostReports
from oci_registry.upstream.requests import ApiRequest, Kind
from oci_registry.upstream.session import Session
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent
from tests.support.streams import run_at_once

NOW = 1_700_000_000.0
APP = "library/app"
A, B = "a.example", "b.example"
LATEST = Tag("latest")


A_TAG = ApiRequest(Kind.MANIFEST, APP, "latest")
"""What `RequestsTestCase.ask` asks."""
OTHER = "library/other"


def half() -> float:
    """The one number that chance brings here."""
    return 0.5


class HostsTestCase(SynchronousTestCase):
    """An upstream at `A` and `B`, each of which answers with what `answers` makes of a request."""

    names: tuple[str, ...] = (A, B)
    credentials: Credentials | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.reporting = Clock()
        self.repeats = RepeatLog(Logger("oci_registry.upstream"), self.reporting)
        self.metrics = Metrics(["example.com"])
        self.answers: dict[str, Callable[[Sent], Answer]] = {}
        self.asked: list[tuple[str, Sent]] = []
        self.connect()

    def connect(self, **settings: Any) -> None:
        """Make the upstream (again), with other *settings*."""
        hosts = tuple(HostSettings(name, credentials=self.credentials) for name in self.names)
        self.settings = UpstreamSettings(
            settings.pop("namespace", "example.com"), hosts, **settings
        )
        self.group = HostGroup(
            [self._host(host) for host in hosts],
            self.settings.response_timeout,
            self.clock,
            half,
        )
        self.upstream = RemoteRegistry(self.settings, self.group, ManifestReader(run_at_once))

    def _host(self, settings: HostSettings) -> Host:
        def answer(sent: Sent) -> Answer:
            self.asked.append((settings.host, sent))
            return self.answers[settings.host](sent)

        metrics = self.metrics.host("example.com", settings.host)
        http = FakeHttp(answer).as_http
        alternatives = len(self.names) > 1
        log = BreakerLog(self.settings, settings.host, self.repeats)
        breakers = Breakers(
            settings.host, self.clock, half, metrics, log, alternatives=alternatives
        )
        limit = RateLimit(self.clock, metrics)
        reports = HostReports(self.settings, settings, self.repeats, metrics)
        others = OtherServers(settings, http, self.clock, breakers)
        session = Session(self.settings, settings, http, self.clock, others, limit, reports)
        connections = self.settings.max_connections
        return Host(session, breakers, limit, connections, self.settings.body_timeout, metrics)

    def wait(self, request: ApiRequest, host: int = 0) -> float:
        """Return the seconds until a host may be asked."""
        return self.group.hosts[host].breakers.wait(request.kind, request)

    def answer(self, host: str, answer: Answer | Callable[[Sent], Answer]) -> None:
        """Let a host answer, always with the same or with what *answer* makes of the request."""
        self.answers[host] = answer if callable(answer) else lambda _: answer

    def asked_of(self, host: str, method: str | None = None) -> int:
        """Return how often a host was asked."""
        return sum(1 for h, s in self.asked if h == host and method in (None, s.method))

    def start(self, request: Any) -> Deferred[Any]:
        """Begin to ask something."""
        return Deferred.fromCoroutine(request)

    def counted(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels)


class RequestsTestCase(HostsTestCase):
    """Requests about a tag."""

    def ask(self, *, patient: bool = False) -> Deferred[Any]:
        """Begin to ask for the manifest."""
        return self.start(self.upstream.manifest(APP, LATEST, patient=patient))

    def works(self) -> None:
        """It is answered at once."""
        self.successResultOf(self.ask())

    def error(self, asked: Deferred[Any], kind: type[RegistryError]) -> RegistryError:
        """Return the error of a request that has failed."""
        error = self.failureResultOf(asked, kind).value
        assert isinstance(error, RegistryError)
        return error

    def first_falls_silent(self) -> None:
        """Let the first host cost one request its share of the time; the second answers it."""
        self.answer(A, lambda _: Deferred())
        self.answer(B, manifest())
        asked = self.ask()
        self.clock.advance(self.settings.response_timeout / 2)
        self.successResultOf(asked)


def manifest(raw: bytes = b'{"schemaVersion":2,"mediaType":"m/t"}') -> FakeResponse:
    """Return an answer that is a manifest."""
    return FakeResponse(
        body=raw, headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    )


def blob_of(data: bytes) -> Callable[[Sent], Answer]:
    """Return what answers for a blob, whole or in parts, with an ETag."""

    def answer(sent: Sent) -> Answer:
        asked = sent.headers.get("Range")
        tag = {"ETag": f'"{Digest.of(data)}"'}
        if asked is None:
            return FakeResponse(body=data, headers=tag)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1 if last else len(data), len(data))
        told = f"bytes {start}-{stop - 1}/{len(data)}"
        return FakeResponse(206, data[start:stop], {**tag, "Content-Range": told})

    return answer


def path_of(sent: Sent) -> str:
    """Return the path that was asked for."""
    return urlsplit(sent.url).path
