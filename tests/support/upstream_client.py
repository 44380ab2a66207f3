"""A client of a fake registry, for tests of what is between them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from oci_registry.config.settings import EgressSettings
from oci_registry.metrics import HostMetrics, Metrics
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream import operations
from oci_registry.upstream.agent import USER_AGENT, UpstreamHttp
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.breakers import Breakers
from oci_registry.upstream.errors import TargetFailed
from oci_registry.upstream.exchange import Exchange
from oci_registry.upstream.host import Operation
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.other_servers import OtherServers
from oci_registry.upstream.rate_limit import RateLimit
from oci_registry.upstream.referrers import ReferrersLister
from oci_registry.upstream.requests import ApiRequest, Kind
from oci_registry.upstream.session import Session
from oci_registry.upstream.tags import TagsLister
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.reports import breaker_log, reports_of
from tests.support.settings import upstream_settings
from tests.support.streams import run_at_once

T = TypeVar("T")
READER = ManifestReader(run_at_once)


class _Outcomes(HostMetrics):
    """Keeps the outcomes of requests."""

    def __init__(self, outcomes: list[str]) -> None:
        super().__init__(Metrics(), "example.com", None)
        self._outcomes = outcomes

    def answered(self, outcome: str) -> None:
        self._outcomes.append(outcome)


_DIRECT = EgressSettings()
_LIMITS = UpstreamLimits()


class Client:
    """One host, sent one request at a time, without what a group of hosts does around it."""

    def __init__(
        self, session: Session, metrics: HostMetrics, within: float, idle: float, clock: Any
    ) -> None:
        self.session = session
        self._metrics = metrics
        self._within = within
        self._idle = idle
        self._clock = clock

    async def ask(self, kind: Kind, repository: str, subject: object, ask: Operation[T]) -> T:
        """Send a request; raises the error of whoever failed."""
        request = ApiRequest(kind, repository, str(subject))
        exchange = Exchange(self.session, request, self._within, self._idle, wait=True)
        try:
            return await exchange.run(ask(exchange), self._metrics)
        except TargetFailed as failed:
            raise failed.error from None

    async def manifest(self, repository: str, reference: Tag | Digest) -> Manifest:
        return await self.ask(
            Kind.MANIFEST,
            repository,
            reference,
            lambda exchange: operations.fetch_manifest(exchange, repository, reference, READER),
        )

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        return await self.ask(
            Kind.DIGEST,
            repository,
            tag,
            lambda exchange: operations.head_manifest(exchange, repository, tag),
        )

    async def blob(self, repository: str, digest: Digest, *part: Any) -> HttpBlob:
        return await self.ask(
            Kind.BLOB,
            repository,
            digest,
            lambda exchange: operations.open_blob(
                exchange, operations.Wanted(repository, digest, *part)
            ),
        )

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        return await self.ask(
            Kind.SIZE,
            repository,
            digest,
            lambda exchange: operations.head_blob(exchange, repository, digest),
        )

    async def tags(self, repository: str, n: int | None, last: str | None) -> Page:
        def fetch(exchange: Exchange) -> Any:
            lister = TagsLister(exchange.host, self._clock, repository)
            return lister.fetch(exchange.ask, n, last)

        return await self.ask(Kind.TAGS, repository, last, fetch)

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        def fetch(exchange: Exchange) -> Any:
            lister = ReferrersLister(exchange.host, self._clock, repository)
            return lister.fetch(exchange.ask, digest)

        return await self.ask(Kind.REFERRERS, repository, digest, fetch)

    async def close(self) -> None:
        await self.session.close()


class ClientTestCase(TestCase):
    """A fake registry, and clients of it."""

    timeout = 120

    def setUp(self) -> None:
        self.registry = FakeRegistry()
        self.registry.start(reactor)
        self.clients: list[Client] = []
        self.outcomes: list[str] = []

    def connect(
        self,
        *,
        on: Any = reactor,
        egress: EgressSettings = _DIRECT,
        limits: UpstreamLimits = _LIMITS,
        **options: Any,
    ) -> Client:
        """Return a client; without options, of the fake registry over http. *on*: its reactor."""
        options.setdefault("host", self.registry.host)
        options.setdefault("tls", False)
        settings = upstream_settings("example.com", **options)
        (host,) = settings.hosts
        http = UpstreamHttp(
            on,
            host,
            guarded=host.guarded,
            egress=egress,
            connect_timeout=settings.connect_timeout,
            user_agent=settings.user_agent or USER_AGENT,
        )
        metrics = _Outcomes(self.outcomes)
        breakers = Breakers(
            host.host, on, lambda: 0.5, metrics, breaker_log("example.com", host.host)
        )
        reports = reports_of(settings, host, metrics)
        limit = RateLimit(on, metrics)
        others = OtherServers(host, http, on, breakers, limits)
        session = Session(settings, host, http, on, others, limit, reports)
        within, idle = settings.response_timeout, settings.body_timeout
        client = Client(session, metrics, within, idle, on)
        self.clients.append(client)
        return client

    async def error(
        self, request: Awaitable[Any], kind: type[RegistryError], host: str | None = None
    ) -> str:
        """Return the message of the error that a request ends with; it names the host."""
        try:
            answer = await request
        except RegistryError as error:
            self.assertIsInstance(error, kind)
            self.assertEqual(kind.status, error.status)
            self.assertIn(host or self.registry.host, error.message)
            return error.message
        raise AssertionError(f"no error, but {answer!r}")

    @running
    async def tearDown(self) -> None:
        await self.registry.stop()
        await until(lambda: not self.registry.channels)
        for client in self.clients:
            await client.close()
        # Sockets that were closed just now are noticed in the reactor's next round.
        await deferLater(reactor, 0)


class _Blurting(Protocol):
    """Sends fixed bytes at the first request, and closes the connection."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self._words)
        self.transport.loseConnection()


class Talk(Factory):
    """Listens on a port, says *words* to whoever asks anything, and hangs up."""

    noisy = False

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.host = f"127.0.0.1:{self._port.getHost().port}"

    def buildProtocol(self, addr: Any) -> Protocol:
        return _Blurting(self._words)

    async def stop(self) -> None:
        """Listen no more."""
        await self._port.stopListening()


async def read(blob: HttpBlob) -> bytes:
    """Return a blob's body."""
    sink = StringTransport()
    await blob.pump(sink)
    data: bytes = sink.value()
    return data


async def all_of(requests: list[Awaitable[Any]]) -> list[Any]:
    """Send requests at once and return their answers."""
    asked = [Deferred.fromCoroutine(_answer(request)) for request in requests]
    return [await one for one in asked]


async def _answer(request: Awaitable[Any]) -> Any:
    return await request
