"""A cache of everything, in memory, for tests of the registry room."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.background import Background
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.download import Downloader
from oci_registry.pullthrough.far import FarLimits
from oci_registry.pullthrough.holding import Holding
from oci_registry.pullthrough.known import KnownManifests
from oci_registry.pullthrough.manifests import ManifestCache
from oci_registry.pullthrough.progress import DownloadLog
from oci_registry.pullthrough.records import RecordWriter
from oci_registry.pullthrough.referrers import ReferrersLists
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.pullthrough.transfers import Transfers
from oci_registry.repeats import RepeatLog
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.drivers.memory import MemoryDriver
from oci_registry.storage.histories import HistoryStore
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.original import OriginalManifests
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.growing import GrowingBlob
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.support.streams import run_at_once

T = TypeVar("T")
NOW = 1_700_000_000.0


def at_once(call: Callable[..., T], *args: object) -> Deferred[T]:
    """Run a call where it is; a `RunInThread`."""
    done: Deferred[T] = execute(call, *args)
    return done


class CacheTestCase(SynchronousTestCase):
    """All of the registry room above a store in memory and one upstream."""

    transfer_limits = TransferLimits()
    far_limits = FarLimits()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.driver = MemoryDriver(self.clock)
        self.reporting = Clock()
        self.repeats = RepeatLog(Logger("oci_registry.upstream"), self.reporting)
        self.metrics = Metrics()
        self.upstream = FakeUpstream()
        self.target = Target(self.upstream, "library/app")
        self.restart()

    def restart(self) -> None:
        """Forget everything but what is stored."""
        usage = Usage(self.driver, self.clock)
        self.sizes = KnownSizes()
        self.blob_store = BlobStore(self.driver, usage, at_once, check_always=False)
        self.manifest_store = ManifestStore(self.driver, usage, ManifestReader(run_at_once))
        self.tag_store = TagStore(self.driver)
        self.referrers_store = ReferrersStore(self.driver, usage)
        self.histories = HistoryStore(self.driver)
        self.holds = HoldStore(self.driver)
        self.health = StoreHealth(self.clock, self.metrics)
        downloader = Downloader(
            self.blob_store,
            at_once,
            self.clock,
            self.health,
            self.sizes,
            self.metrics,
            DownloadLog(self.reporting, self.repeats),
            self.transfer_limits,
        )
        self.transfers = Transfers(downloader)
        self.blobs = BlobCache(
            self.blob_store,
            self.transfers,
            self.sizes,
            self.health,
            self.metrics,
            self.far_limits,
        )
        self.writer = RecordWriter(self.clock, self.health)
        self.holding = Holding(self.holds, self.clock, self.health)
        self.known = known = KnownManifests(
            self.manifest_store,
            self.tag_store,
            self.writer,
            self.clock,
            self.health,
            OriginalManifests(self.driver, ManifestReader(run_at_once), self.clock, self.repeats),
            self.histories,
            self.holding,
        )
        self.manifests = ManifestCache(known, self.sizes, self.clock, self.metrics, self.repeats)
        self.background = Background(self.manifests, self.blobs, self.clock)
        self.control = TagControl(
            self.tag_store,
            self.histories,
            self.holds,
            known,
            self.obtain,
            lambda _, repository, tag: self.upstream.settings.min_age.of(repository, tag),
            self.clock.seconds,
        )
        self.referrers = ReferrersLists(
            self.referrers_store,
            self.manifest_store,
            self.writer,
            self.clock,
            self.health,
            self.repeats,
        )

    async def obtain(self, _host: str, _repository: str, digest: Digest) -> Manifest:
        """Return a manifest from the store or from upstream."""
        return (await self.manifests.get(self.target, digest)).manifest

    def limit(self, transfers: TransferLimits | None = None, far: FarLimits | None = None) -> None:
        """Begin again with other limits."""
        self.transfer_limits = transfers or self.transfer_limits
        self.far_limits = far or self.far_limits
        self.restart()

    def start(self, work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Begin some work."""
        return Deferred.fromCoroutine(work)

    def now(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what some work that waits for nothing gives."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Coroutine[Any, Any, Any], *kinds: type[Exception]) -> Exception:
        """Return what some work fails with."""
        failure = self.failureResultOf(Deferred.fromCoroutine(work), *kinds)
        assert isinstance(failure.value, Exception)
        return failure.value

    def other(self, namespace: str = "other.example.com") -> Target:
        """Return a target on another upstream."""
        return Target(FakeUpstream(fake_settings(namespace)), "library/app")

    def read(self, blob: GrowingBlob) -> Deferred[bytes]:
        """Follow a growing blob to its end."""
        return Deferred.fromCoroutine(_read(blob))

    def stored(self) -> set[str]:
        """Return the keys of all that is stored."""
        return set(self.driver._objects)

    def counted(self, name: str, **labels: str) -> float:
        """Return the value of a metric."""
        value = self.metrics.registry.get_sample_value(name, labels)
        return value or 0.0


async def _read(blob: GrowingBlob) -> bytes:
    follower = blob.follow()
    data = b""
    try:
        while True:
            piece = follower.read(100_000)
            if isinstance(piece, Deferred):
                piece = await piece
            if not piece:
                return data
            data += piece
    finally:
        follower.close()
