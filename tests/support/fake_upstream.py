"""An upstream that is a dictionary: what the registry room asks, it answers or refuses as told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import Factory, define, evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from oci_registry.config.catch_all import unlisted
from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, BlobUnknown, ManifestUnknown, RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Tag
from oci_registry.streams.follower import TransferFailed
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.interfaces import FREE, NoHostLeft, Page, Referrers, Spare
from tests.support.settings import upstream_settings

CHUNK = 64 * 1024


def fake_settings(namespace: str = "example.com", **settings: Any) -> UpstreamSettings:
    """Return settings of a registry whose tags are fresh for an hour."""
    defaults = {"manifest_invalidation_time": 3600.0, "blob_invalidation_time": 3600.0}
    return upstream_settings(namespace, namespace, **(defaults | settings))


def manifest_of(raw: bytes, media_type: str = OCI_MANIFEST) -> Manifest:
    """Return a manifest with these bytes."""
    return Manifest.read(raw, media_type, Digest.of(raw))


@implementer(IPushProducer)
class FakeBody:
    """A download, sent whole at once or, with *manual*, as the test says."""

    def __init__(
        self, data: bytes, size: int | None, *, manual: bool, hosts: frozenset[str] = frozenset()
    ) -> None:
        self.size = size
        self.hosts = hosts
        self.data = data
        self.abandoned = False
        self.stopped = False
        self.paused = False
        self.done: Deferred[int] = Deferred(lambda _: self.stopProducing())
        self._manual = manual
        self._consumer: IConsumer | None = None

    def pump(self, consumer: IConsumer) -> Deferred[int]:
        """Begin to write to *consumer*."""
        self._consumer = consumer
        consumer.registerProducer(self, True)
        if not self._manual:
            self.send(self.data)
            self.end()
        return self.done

    def send(self, data: bytes) -> None:
        """Write some bytes."""
        assert self._consumer is not None
        for start in range(0, len(data), CHUNK):
            if not self.stopped:
                self._consumer.write(data[start : start + CHUNK])

    def end(self, error: RegistryError | None = None) -> None:
        """The body is over, in order or with *error*."""
        assert self._consumer is not None
        self._consumer.unregisterProducer()
        if self.done.called:
            return
        if error is None:
            self.done.callback(len(self.data))
        else:
            self.done.errback(error)

    def abandon(self) -> None:
        """The body is not wanted."""
        self.abandoned = True

    def switch_decoding(self) -> bool:
        """It is not encoded."""
        return False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.end(TransferFailed("the download was cancelled"))


@define(eq=False)
class FakeUpstream:
    """An `oci_registry.upstream.interfaces.Upstream`.

    *error* is raised by every question, *get_error* by GETs of manifests and *head_error* by HEADs.
    *head_size* is what a HEAD of a blob tells in place of its length. With *holding* every
    question waits for `release`. *says_digest* and *says_size*: whether upstream tells. `asked` is
    what was asked, one sentence each. Blobs come from the first of *hosts* that need not be avoided,
    and with the bytes in *wrong* where it has some for that host. *whole*: no parts are sent. *state*: how
    its hosts are doing, if not well.
    """

    settings: UpstreamSettings = Factory(fake_settings)
    capacity: Spare = FREE
    hosts: tuple[str, ...] = ("a.example",)
    wrong: dict[str, bytes] = Factory(dict)
    whole: bool = False
    quarantined: list[tuple[Digest, frozenset[str]]] = Factory(list)
    manifests: dict[str, Manifest] = Factory(dict)
    blobs: dict[str, bytes] = Factory(dict)
    error: Exception | None = None
    get_error: RegistryError | None = None
    head_error: RegistryError | None = None
    head_size: int | None = None
    holding: bool = False
    says_digest: bool = True
    says_size: bool = True
    manual: bool = False
    page: Page = Factory(lambda: Page((), None))
    found: Referrers = Factory(lambda: Referrers(()))
    asked: list[str] = Factory(list)
    bodies: list[FakeBody] = Factory(list)
    closed: int = 0
    state: tuple[HostHealth, ...] = ()
    _waiting: list[Deferred[None]] = Factory(list)

    @property
    def namespace(self) -> str:
        return self.settings.namespace

    @property
    def max_age(self) -> float:
        return self.settings.manifest_invalidation_time

    def change(self, **settings: Any) -> None:
        """Go by other settings."""
        self.settings = evolve(self.settings, **settings)

    def release(self) -> None:
        """Answer the questions that wait, and hold no more."""
        self.holding = False
        waiting, self._waiting = self._waiting, []
        for question in waiting:
            if not question.called:
                question.callback(None)

    def release_one(self) -> None:
        """Answer the question that waits longest, and continue holding."""
        self._waiting.pop(0).callback(None)

    def add(self, raw: bytes, tag: str | None = None) -> Manifest:
        """Have a manifest."""
        manifest = manifest_of(raw)
        self.manifests[str(manifest.digest)] = manifest
        if tag is not None:
            self.manifests[tag] = manifest
        return manifest

    def add_blob(self, data: bytes, digest: Digest | None = None) -> Digest:
        """Have a blob; *digest*: that of *data*, if it is known."""
        digest = digest or Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    def spare(self, repository: str, *, blob: bool, under_way: int = 0) -> Spare:
        return self.capacity

    async def manifest(
        self, repository: str, reference: Tag | Digest, *, patient: bool = True
    ) -> Manifest:
        await self._begin(f"GET {repository} {reference}{'' if patient else ' (once)'}")
        if self.get_error is not None:
            raise self.get_error
        return self._found(reference)

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        await self._begin(f"HEAD {repository} {tag}")
        if self.head_error is not None:
            raise self.head_error
        digest = self._found(tag).digest
        return digest if self.says_digest else None

    async def blob(
        self,
        repository: str,
        digest: Digest,
        size: int | None = None,
        *,
        excluded: frozenset[str] = frozenset(),
    ) -> FakeBody:
        await self._begin(f"GET {repository} {digest}")
        host = next((host for host in self.hosts if host not in excluded), None)
        if host is None:
            raise NoHostLeft(f"no host of {self.namespace} is left for {digest}")
        data = self.wrong.get(host, self._blob(digest))
        return self._body(data, len(data) if self.says_size else None, host)

    async def part(self, repository: str, digest: Digest, start: int, stop: int) -> FakeBody:
        await self._begin(f"GET {repository} {digest} {start}-{stop}")
        if self.whole:
            raise BadGateway(f"{self.namespace} sends no parts")
        data = self._blob(digest)
        return self._body(data[start:stop], len(data), self.hosts[0])

    def _body(self, data: bytes, size: int | None, host: str) -> FakeBody:
        body = FakeBody(data, size, manual=self.manual, hosts=frozenset({host}))
        self.bodies.append(body)
        return body

    def quarantine(self, digest: Digest, hosts: frozenset[str]) -> None:
        self.quarantined.append((digest, hosts))

    async def blob_size(self, repository: str, digest: Digest) -> int | None:
        await self._begin(f"HEAD {repository} {digest}")
        if self.head_error is not None:
            raise self.head_error
        data = self._blob(digest)
        if self.head_size is not None:
            return self.head_size
        return len(data) if self.says_size else None

    async def tags(
        self,
        repository: str,
        n: int | None,
        last: str | None,
        query: str | None = None,
        *,
        wait: bool = False,
    ) -> Page:
        asked = f"tags {repository} {n} {last}" + ("" if query is None else f" {query}")
        await self._begin(asked + (" waiting" if wait else ""))
        return self.page

    async def referrers(self, repository: str, digest: Digest) -> Referrers:
        await self._begin(f"referrers {repository} {digest}")
        return self.found

    def health(self) -> tuple[HostHealth, ...]:
        return self.state or (HostHealth(self.namespace),)

    def close(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)

    async def _begin(self, question: str) -> None:
        self.asked.append(question)
        if self.holding:
            answer: Deferred[None] = Deferred()
            self._waiting.append(answer)
            await answer
        if self.error is not None:
            raise self.error

    def _found(self, reference: Tag | Digest) -> Manifest:
        manifest = self.manifests.get(str(reference))
        if manifest is None:
            raise ManifestUnknown(f"upstream {self.namespace} does not have {reference}")
        return manifest

    def _blob(self, digest: Digest) -> bytes:
        data = self.blobs.get(str(digest))
        if data is None:
            raise BlobUnknown(f"upstream {self.namespace} does not have {digest}")
        return data


@define(eq=False)
class FakeCatchAll:
    """The entry for all registries without one, by which *make* makes them."""

    make: Callable[[UpstreamSettings], FakeUpstream]
    settings: UpstreamSettings
    closed: int = 0

    def connect(self, namespace: str) -> FakeUpstream:
        return self.make(unlisted(namespace, self.settings))

    def close(self) -> Deferred[None]:
        self.closed += 1
        return succeed(None)


def no_catch_all(settings: UpstreamSettings) -> FakeCatchAll:
    """There is no such entry."""
    raise AssertionError(f"an entry for all registries was not expected: {settings}")
