"""A directory with a limit, filled to three times of it by clients that pull at the same time."""

from __future__ import annotations

import contextlib
import errno
import os
import random
from itertools import chain
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from oci_registry.account.account import AccountLimits
from oci_registry.account.images import registry_size
from oci_registry.config.settings import UpstreamSettings
from oci_registry.eviction.limit import LimitTimes
from oci_registry.makers import Makers
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.patterns import parse_pattern
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.keys import blob_key
from oci_registry.storage.pins import Pins
from tests.support.daemon import PATIENT, MirrorTestCase, reactor, running, until
from tests.support.disk import failing
from tests.support.patterns import noise

MIB = 2**20
CAP = 16 * MIB
LAYER = 400_000
MAKERS = Makers(account_limits=AccountLimits(interval=0.02), store_limits=PATIENT)
CHANCE = random.Random(1)


def sizes_below(top: str, without: str | None = None) -> dict[str, int]:
    """Return how many bytes each file below a directory takes on the disk; *without*: a folder in it."""
    found: dict[str, int] = {}
    folders, skipped = [top], f"{top}/{without}"
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.path != skipped:
                        folders.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    found[entry.path] = entry.stat(follow_symlinks=False).st_blocks * 512
    return found


class LimitTestCase(MirrorTestCase):
    """An upstream with images of two layers; each shares one with its neighbours."""

    makers = MAKERS

    def setUp(self) -> None:
        super().setUp()
        self.images: dict[int, tuple[Digest, list[Digest]]] = {}
        self.namespaces: dict[int, str] = {}
        """Where images are from, if not from docker.io."""
        self.seen: dict[str, int] = {}
        self.most = 0
        """The most bytes that the files have taken beyond those in flight."""

    def image(self, number: int, size: int = LAYER) -> tuple[Digest, list[Digest]]:
        """Return an image, which upstream has from then on."""
        if number not in self.images:
            base = noise(number // 5, LAYER)
            own = noise(CHANCE.getrandbits(64), size)
            self.images[number] = self.registry.add_image("library/app", str(number), base, own)
        return self.images[number]

    async def pull(self, number: int, size: int = LAYER) -> None:
        """Pull an image as clients do; everything must be right."""
        digest, blobs = self.image(number, size)
        namespace = self.namespaces.get(number, "docker.io")
        for path in (f"manifests/{number}", f"manifests/{digest}"):
            await self.get(path, namespace)
        for blob in blobs:
            body = await self.get(f"blobs/{blob}", namespace)
            self.assertTrue(body == self.registry.blobs[str(blob)], f"the bytes of {blob} differ")

    async def get(self, path: str, namespace: str = "docker.io") -> bytes:
        got = await self.client.get(f"/v2/library/app/{path}?ns={namespace}")
        self.assertEqual((200, True), (got.status, got.complete), f"{path} {namespace}")
        return bytes(got.body)

    def taken(self, folder: str = "") -> int:
        """Return how many bytes the files take on the disk."""
        return sum(sizes_below(str(self.root / folder)).values())

    def look(self) -> None:
        """Note how much is stored: what was seen before and is seen now was there all the time between."""
        before, self.seen = self.seen, sizes_below(str(self.root), without="transfers")
        both = before.keys() & self.seen.keys()
        self.most = max(self.most, sum(min(before[path], self.seen[path]) for path in both))

    async def begin(self, *upstreams: UpstreamSettings, **settings: Any) -> Daemon:
        """Start the daemon, and wait until it knows what is stored."""
        settings.setdefault("max_size", parse_size(f"{CAP // MIB}MiB"))
        daemon = await self.start(*(upstreams or [self.upstream("docker.io")]), **settings)
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.is_complete)
        return daemon

    async def rest(self, daemon: Daemon) -> None:
        """Wait until everything is stored."""
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        assert daemon.parts.account is not None
        await daemon.parts.account.flush()

    async def settle(self, daemon: Daemon) -> None:
        """Wait until images without all of their blobs have been removed."""
        limit = daemon.parts.limit
        assert limit is not None
        while limit._missing:
            self.time.forward(16)
            await deferLater(reactor, 0.05)
        await self.rest(daemon)

    def tags(self, namespace: str = "docker.io") -> set[int]:
        """Return the tags that are stored."""
        folder = f"repositories/{namespace}/library/app/_tags"
        return {int(file.rpartition("/")[2]) for file in self.files(folder)}

    def counted(self, daemon: Daemon, name: str, **labels: str) -> float:
        return daemon.parts.metrics.registry.get_sample_value(f"oci_registry_{name}", labels) or 0


class Filling(LimitTestCase):
    """Pulls beyond the limit."""

    @running
    async def test_three_times(self) -> None:
        """The limit is kept, no pull fails, and what is left is complete without upstream."""
        # On a busy machine a pull waits for long until others are evicted.
        self.makers = evolve(MAKERS, limit_times=LimitTimes(patience=60.0))
        daemon = await self.begin()
        looking = LoopingCall(self.look)
        looking.start(0.02)
        numbers = iter(range(40))

        async def client() -> None:
            for number in numbers:
                await self.pull(number, 3 * LAYER)
                await self.pull(number % 3, 3 * LAYER)

        await gatherResults([Deferred.fromCoroutine(client()) for _ in range(4)])
        looking.stop()
        await self.rest(daemon)
        bases = {blobs[1] for _, blobs in self.images.values()}
        self.assertGreater((3 * len(self.images) + len(bases)) * LAYER, 3 * CAP)
        self.assertLessEqual(self.most, CAP)
        self.assertGreater(self.taken(), 0.7 * CAP)
        self.assertEqual(0, self.counted(daemon, "store_reserved_bytes"))
        self.assertGreater(self.counted(daemon, "evicted_bytes_total"), CAP)
        await self.settle(daemon)
        await self.registry.stop()
        # An image for which there was no room may still be in memory.
        await self.stop()
        await self.begin()
        left = self.tags()
        # Each takes as much as four layers at most, three of its own and the one that it shares.
        self.assertGreaterEqual(len(left), 0.7 * CAP // (4 * LAYER))
        for number in left:
            await self.pull(number, 3 * LAYER)
        gone = await self.client.get(f"/v2/library/app/manifests/{min(set(self.images) - left)}")
        self.assertNotEqual(200, gone.status)

    @running
    async def test_full_quarantine(self) -> None:
        """What a scrub has put into the quarantine counts: with it, too, the files never exceed the limit."""
        self.makers = evolve(MAKERS, limit_times=LimitTimes(patience=60.0))
        for number in range(10):
            kept = self.root / "quarantine" / blob_key(Digest.of(b"%d" % number))
            kept.parent.mkdir(parents=True)
            kept.write_bytes(noise(CHANCE.getrandbits(64), MIB // 2))
        daemon = await self.begin()
        limit = daemon.parts.limit
        assert limit is not None
        self.time.forward(2.5)
        await until(lambda: (limit.use.other.quarantine or 0) >= 5 * MIB)
        looking = LoopingCall(self.look)
        looking.start(0.05)
        for number in range(20):
            await self.pull(number, 3 * LAYER)
        looking.stop()
        await self.rest(daemon)
        self.assertGreater(self.taken("quarantine"), 5 * MIB - 1)
        self.assertLessEqual(self.most, CAP)
        self.assertGreater(self.taken(), 0.7 * CAP)

    @running
    async def test_pins_and_upstreams(self) -> None:
        """Under the same load, pins stay, an upstream keeps its limit, and what is left is complete."""
        pin = (parse_pattern("library/app:5*"),)
        small = parse_size("5MiB")
        daemon = await self.begin(
            self.upstream("docker.io", pin=pin), self.upstream("example.com", max_size=small)
        )
        limit, account = daemon.parts.limit, daemon.parts.account
        assert limit is not None
        assert account is not None
        pinned = [5, 7]
        await Pins(daemon.parts.driver).add(parse_image("docker.io/library/app:7"))
        for number in pinned:
            await self.pull(number, 3 * LAYER)
        await self.rest(daemon)
        self.namespaces = dict.fromkeys(range(200, 227), "example.com")
        looking = LoopingCall(self.look)
        looking.start(0.02)
        numbers = chain.from_iterable(zip(range(10, 37), range(200, 227), strict=True))

        async def client() -> None:
            for number in numbers:
                await self.pull(number, 3 * LAYER)

        await gatherResults([Deferred.fromCoroutine(client()) for _ in range(4)])
        looking.stop()
        await self.rest(daemon)
        self.assertLessEqual(self.most, CAP)
        await self.settle(daemon)
        # Once more ahead of need, until there is none.
        for _ in range(3):
            self.time.forward(2.5)
            await deferLater(reactor, 0.1)
            await until(lambda: not (len(limit._evicting) or len(limit.upstreams._evicting)))
        while await account.ask(registry_size("example.com")) > small.bytes:
            self.time.forward(2.5)
            await deferLater(reactor, 0.1)
        name = "upstream_store_bytes"
        await until(lambda: self.counted(daemon, name, namespace="example.com") > 0)
        await self.registry.stop()
        left = self.tags()
        self.assertLessEqual(set(pinned), left)
        others = self.tags("example.com")
        self.assertGreater(len(others), 0)
        for number in left | others:
            await self.pull(number, 3 * LAYER)

    @running
    async def test_reloaded(self) -> None:
        """An upstream that gets a limit, or a pin, has it from then on."""
        daemon = await self.begin(max_size=None)
        for number in range(12):
            await self.pull(number, 3 * LAYER // 2)
        await self.rest(daemon)
        assert daemon.parts.limit is not None
        assert daemon.parts.account is not None
        small = parse_size("3MiB")
        daemon.parts.limit.upstreams.follow({"docker.io": small})
        self.time.forward(2.5)
        await until(lambda: self.taken("blobs") < small.bytes)
        await self.pull(30)

    @running
    async def test_pulled_often(self) -> None:
        """What is pulled again and again stays, while others are pulled once."""
        daemon = await self.begin()
        await self.pull(1000)
        for number in range(30):
            await self.pull(number, 2 * LAYER)
            if number % 3 == 0:
                self.time.forward(61)
                await self.pull(1000)
                await self.rest(daemon)
        asked = len(self.registry.matching("/v2/library/app/(manifests|blobs)/.*"))
        await self.pull(1000)
        self.assertEqual(asked, len(self.registry.matching("/v2/library/app/(manifests|blobs)/.*")))

    @running
    async def test_too_large(self) -> None:
        """A blob larger than a quarter of the limit is served without being stored, and so is its image."""
        daemon = await self.begin()
        await self.pull(1, CAP // 4 + 1)
        await self.rest(daemon)
        self.assertEqual(1, self.counted(daemon, "not_stored_total", reason="too_large"))
        self.assertLess(self.taken("blobs"), CAP // 4)
        await self.pull(2)
        await self.settle(daemon)
        self.assertEqual({2}, self.tags())
        await self.pull(1, CAP // 4 + 1)

    @running
    async def test_filled_before(self) -> None:
        """A directory that has more than a new limit allows is brought below it."""
        daemon = await self.begin(max_size=None)
        for number in range(24):
            await self.pull(number, 2 * LAYER)
        await self.rest(daemon)
        await self.stop()
        self.assertGreater(self.taken(), CAP)
        daemon = await self.begin()
        self.time.forward(2.5)
        await until(lambda: self.taken() <= CAP)
        await self.pull(7)


class FullDisk(LimitTestCase):
    """A disk that is filled by others."""

    @running
    async def test_evicts(self) -> None:
        """If the disk is full in spite of the limit, a part of the store is evicted, and pulls continue."""
        daemon = await self.begin()
        for number in range(18):
            await self.pull(number)
        await self.rest(daemon)
        room = self.taken("blobs") - LAYER // 2

        def full(path: object, flags: int, *_: object) -> None:
            if flags & os.O_CREAT and self.taken("blobs") > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        with failing(self.root, open=full):
            limit = daemon.parts.limit
            assert limit is not None
            for number in range(100, 110):
                await self.pull(number)
                await self.idle()
                await until(lambda: not len(limit._evicting))
                if self.taken("blobs") <= room:
                    break
                # Not sooner if it was in vain.
                self.time.forward(11)
        # There is room again, and nothing has to be restarted.
        await self.pull(18)
        await self.rest(daemon)
        stored = {file.replace("/", "").removeprefix("blobssha256") for file in self.files("blobs")}
        missing = [blob for blob in self.images[18][1] if blob.encoded not in stored]
        self.assertEqual([], missing)
        self.assertGreater(self.counted(daemon, "evicted_bytes_total"), 0)
