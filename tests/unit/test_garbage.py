"""How many objects of the caches the garbage collector scans, which delays all requests."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.events import EventLog
from oci_registry.logs import AccessEntry, AccessLog, Pieces
from oci_registry.metrics import Metrics
from oci_registry.pull_counts import PullCounts, PullLimits
from oci_registry.pullthrough.sizes import KnownSizes
from oci_registry.pullthrough.used_platforms import UsedPlatforms
from oci_registry.spec.contents import Child
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestUnknown, RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.platforms import Platform
from oci_registry.storage.recent import RecentManifests
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.usage import Usage
from oci_registry.streams.recent import RecentValues
from oci_registry.upstream.errors import CredentialsRefused
from oci_registry.upstream.negative_cache import NegativeCache
from oci_registry.upstream.requests import ApiRequest, Kind

COUNT = 200
LAYERS = 30


def image(number: int) -> Manifest:
    """Return the manifest of an image with layers of its own."""
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": str(Digest.of(b"%d %d" % (number, layer))),
            "size": 1000 + layer,
        }
        for layer in range(LAYERS)
    ]
    config = {**layers[0], "mediaType": "application/vnd.oci.image.config.v1+json"}
    return Manifest.read(
        json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode(), OCI_MANIFEST
    )


class Nowhere:
    """A driver that keeps nothing."""

    def put(self, *_: object) -> Deferred[None]:
        return succeed(None)

    touch = put


NOWHERE: Any = Nowhere()


class Garbage(SynchronousTestCase):
    """What is added to the caches."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        # What is there already need not be looked at each time; it stays frozen.
        gc.collect()
        gc.freeze()

    def tracked(self, add: Callable[[int], None]) -> float:
        """Return how many objects there are more for the collector after each call."""
        add(0)
        gc.collect()
        before = len(gc.get_objects())
        for number in range(1, COUNT + 1):
            add(number)
        # The collector finds out that a tuple need not be tracked, first the inner ones.
        gc.collect()
        gc.collect()
        return (len(gc.get_objects()) - before) / COUNT

    def test_manifests(self) -> None:
        """A manifest in memory is no object for the collector, however many layers it has."""
        recent = RecentManifests()
        found = self.tracked(lambda number: recent.add(str(number), image(number)))
        self.assertEqual(image(7).blobs, getattr(recent.get("7"), "blobs", None))
        self.assertLess(found, 0.5)

    def test_sizes(self) -> None:
        """The known sizes of layers are no objects for the collector."""
        sizes = KnownSizes()
        found = self.tracked(lambda number: sizes.learn("docker.io", "library/app", image(number)))
        self.assertEqual(1029, sizes.get("docker.io", "library/app", Digest.of(b"7 29")))
        self.assertLess(found, 0.5)

    def test_tags(self) -> None:
        """The record of a tag in memory is no object for the collector."""
        tags = TagStore(NOWHERE)

        def add(number: int) -> None:
            record = TagRecord(Digest.of(b"%d" % number), OCI_MANIFEST, float(number), first=1.0)
            tags.remember("docker.io", "library/app", str(number), record)
            self.successResultOf(
                Deferred.fromCoroutine(tags.put("docker.io", "library/app", str(number), record))
            )

        found = self.tracked(add)
        record = tags.recall("docker.io", "library/app", "7")
        self.assertEqual(Digest.of(b"7"), record and record.digest)
        self.assertLess(found, 0.5)

    def test_uses(self) -> None:
        """The last use of an object is none for the collector, and nothing goes over the table of them."""
        usage = Usage(NOWHERE, self.clock)
        found = self.tracked(lambda number: usage.used(str(number)))
        self.assertEqual(self.clock.seconds(), usage.last("7", 0.0))
        self.assertLess(found, 0.5)
        for table in (usage._used, usage._written):
            self.assertFalse(gc.is_tracked(table._values))

    def test_tables(self) -> None:
        """However much is in a table of values, the collector does not go over it."""
        for value in ("x", b"x", 1.0, True):
            values: RecentValues[Any] = RecentValues(COUNT)
            for number in range(COUNT):
                values.put(str(number), value)
            for number in range(COUNT, 3 * COUNT):
                values.put(str(number), value)
                values.get(str(number - 5))
            self.assertGreater(len(values), COUNT // 2)
            self.assertFalse(gc.is_tracked(values._values))

    def test_platforms(self) -> None:
        """The platform of a manifest in an index is no object for the collector."""
        platforms = UsedPlatforms()
        repository = ("docker.io", "library/app")

        def add(number: int) -> None:
            entry = Descriptor(OCI_MANIFEST, Digest.of(b"%d" % number), 1)
            platforms.learn(repository, [Child(entry, Platform("linux", "amd64"))])

        self.assertLess(self.tracked(add), 0.5)
        self.assertTrue(platforms.use(repository, Digest.of(b"7")))

    def test_negative_responses(self) -> None:
        """A 404 or a denial of an upstream is no object for the collector."""
        errors = (
            ManifestUnknown("no", detail={"a": 1}, headers={"X-A": "b"}),
            CredentialsRefused("no", "user", "https://example.com", 401),
        )
        for error in errors:
            cache = NegativeCache(self.clock, not_found=10.0, denied=60.0)

            def add(
                number: int, cache: NegativeCache = cache, error: RegistryError = error
            ) -> None:
                request = ApiRequest(Kind.MANIFEST, "library/app", str(number))
                cache.remember(request, error.again())
                self.assertRaises(type(error), cache.check, request)

            self.assertLess(self.tracked(add), 0.5)
            self.assertEqual(COUNT + 1, len(cache))

    def test_log_lines(self) -> None:
        """A line of the access log that may be repeated is no object for the collector, in any format."""
        for form in ("combined", "json", "text"):
            log = AccessLog(StringIO(), form, self.clock)
            lines: list[Pieces] = []

            def add(number: int, log: AccessLog = log, lines: list[Pieces] = lines) -> None:
                words = ("10.0.0.1", "GET", f"/{number}", "HTTP/1.1", 200, 5, 0.0)
                lines.append(log.pieces(AccessEntry(*words, "agent", "docker.io", "hit", None)))

            self.assertLess(self.tracked(add), 0.5)
            self.assertEqual(COUNT + 1, len(set(lines)))

    def test_events(self) -> None:
        """An event that is kept for those who watch the daemon is no object for the collector."""
        events = EventLog(self.clock)
        found = self.tracked(
            lambda number: events.record("pull", repository="app", tag=str(number), bytes=number)
        )
        self.assertEqual({"repository": "app", "tag": "7", "bytes": 7}, events.since(7)[0].fields)
        self.assertLess(found, 0.5)

    def test_pulls(self) -> None:
        """An image that was pulled lately is one object, however many layers it has."""
        counts = PullCounts(PullLimits(images=2 * COUNT, blobs=2 * COUNT * (LAYERS + 1)))

        def add(number: int) -> None:
            pulled = image(number)
            counts.served("docker.io", "library/app", pulled, cached=False)
            for digest in {blob.digest for blob in pulled.blobs}:
                counts.missed("docker.io", "library/app", digest)

        found = self.tracked(add)
        self.assertEqual(COUNT + 1, counts.images_fetched)
        self.assertLess(found, 1.5)

    def test_counters(self) -> None:
        """All answers from a registry count their hits with the same function."""
        metrics = Metrics(("docker.io",))
        one, other = (metrics.hits("manifest", "docker.io") for _ in range(2))
        self.assertIs(one, other)
        self.assertIsNot(one, metrics.hits("blob", "docker.io"))
        other()
        self.assertEqual((1, 0), metrics.hits_and_misses())
