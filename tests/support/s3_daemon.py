"""The daemon in this process with a bucket behind a proxy that does as it is told."""

from __future__ import annotations

from typing import Any

from attrs import astuple, evolve
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from zope.interface import directlyProvides, providedBy

from oci_registry.account.account import AccountLimits
from oci_registry.config.settings import S3Settings, Settings, UpstreamSettings
from oci_registry.eviction.limit import LimitTimes
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.drivers.s3.driver import S3Driver
from oci_registry.storage.drivers.s3.limits import ReadLimits, S3Limits
from oci_registry.storage.keys import blob_key
from oci_registry.streams.threads import Lanes
from tests.support import s3
from tests.support.daemon import PATIENT, MirrorTestCase, reactor, running, until
from tests.support.s3_proxy import S3Proxy

MIB = 1024 * 1024
PATIENT_READS = ReadLimits(patience=30.0, first_deadline=30.0, deadline=30.0)
"""Deadlines that no response of the server misses, however busy the machine is."""


class Later:
    """The reactor, but with a time that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0
        directlyProvides(self, providedBy(reactor))

    def seconds(self) -> float:
        return float(reactor.seconds()) + self.ahead

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class BucketTestCase(MirrorTestCase):
    """A bucket that is new and empty, looked at directly, while daemons reach it by a proxy."""

    limits = S3Limits(reads=PATIENT_READS)
    store_limits = PATIENT
    account_limits = AccountLimits()
    limit_times = LimitTimes()

    def setUp(self) -> None:
        super().setUp()
        self.direct = s3.new_bucket(str(self.root))
        self.bucket = s3.client(self.direct)
        self.proxy = S3Proxy(reactor, s3.endpoint())
        self.proxy.up()
        self.storage = evolve(self.direct, endpoint=self.proxy.url)
        self.clock = Later()
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)

    async def start(
        self, *upstreams: UpstreamSettings, grace: float = 5.0, **settings: Any
    ) -> Daemon:
        """Start a daemon (one more); `client` then talks to it. The first look at the bucket is over."""
        settings = {"storage": self.storage, "on": self.clock, **settings}
        makers = evolve(
            self.makers,
            driver=self.driver,
            store_limits=self.store_limits,
            account_limits=self.account_limits,
            limit_times=self.limit_times,
        )
        daemon = await super().start(*upstreams, grace=grace, makers=makers, **settings)
        if self.working:
            await until(lambda: daemon.parts.driver.started)
        return daemon

    def driver(self, settings: Settings, lanes: Lanes, on: Any) -> S3Driver:
        """Make the driver of a daemon."""
        assert isinstance(settings.storage, S3Settings)
        return S3Driver(settings.storage, lanes, on, limits=self.limits)

    working = True
    """Whether the server is expected to work when a daemon starts."""

    @running
    async def tearDown(self) -> None:
        self.proxy.unscript()
        self.proxy.closing = False
        # The daemon ends its threads in the reactor's, where the proxy could answer none of them.
        self.proxy.hang_up()
        pools = [pool for d in self.daemons for pool in astuple(d.parts.lanes, recurse=False)]
        await until(lambda: not any(pool._pool.working for pool in pools))
        await MirrorTestCase.tearDown(self)
        await self.proxy.down()
        await until(lambda: not self.proxy.channels and not self.proxy.forwarding)

    async def usable(self) -> None:
        """Wait until the daemon that was started last uses the bucket again."""
        while bytes((await self.client.get("/readyz")).body) != b"ready\n":
            await deferLater(reactor, 0.05)

    # -- what is there

    def key(self, digest: Digest) -> str:
        """Return where a blob is."""
        return blob_key(digest)

    def keys(self, prefix: str = "") -> set[str]:
        """Return the keys of all objects."""
        listed = self.bucket.list_objects_v2(Bucket=self.direct.bucket, Prefix=prefix)
        return {item["Key"] for item in listed.get("Contents", ())}

    def has(self, digest: Digest) -> bool:
        """Whether a blob is in the bucket."""
        return blob_key(digest) in self.keys(blob_key(digest))

    def content(self, digest: Digest) -> bytes:
        """Return the bytes of a blob in the bucket."""
        answer = self.bucket.get_object(Bucket=self.direct.bucket, Key=blob_key(digest))
        return bytes(answer["Body"].read())

    def place(self, digest: Digest, data: bytes, **more: Any) -> None:
        """Put an object where a blob belongs, as anybody could."""
        self.bucket.put_object(Bucket=self.direct.bucket, Key=blob_key(digest), Body=data, **more)

    def uploads(self) -> list[dict[str, Any]]:
        """Return the uploads in parts that are neither complete nor aborted."""
        answer = self.bucket.list_multipart_uploads(Bucket=self.direct.bucket)
        return list(answer.get("Uploads", ()))

    def said(self, level: LogLevel) -> list[str]:
        """Return what the daemons have logged at a level."""
        return [
            formatEvent(event)
            for event in self.logged
            if event.get("log_level") is level
            and str(event.get("log_namespace", "")).startswith("oci_registry.")
        ]

    def metric(self, daemon: Daemon, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        value: float | None = daemon.parts.metrics.registry.get_sample_value(name, labels)
        return value
