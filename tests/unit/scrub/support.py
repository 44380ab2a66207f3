"""What the tests of the scrub have in common."""

from __future__ import annotations

from typing import Any

from attrs import Factory, define
from twisted.internet.defer import Deferred

from oci_registry.metrics import Metrics
from oci_registry.scrub.checks import Checker
from oci_registry.scrub.healing import Healing, Stores
from oci_registry.scrub.nouns import Fault, Kind, Progress, Subject
from oci_registry.scrub.one_pass import Pass, PassLimits, began_now
from oci_registry.scrub.pace import Pace, sleeping
from oci_registry.scrub.quarantine import Quarantine, QuarantineLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagRecord, TagStore
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from tests.support.streams import run_at_once
from tests.unit.storage.support import HOST, StoreTestCase

REPOSITORY = "library/app"


@define
class Noted:
    """Keeps what is reported."""

    objects: list[tuple[Kind, int]] = Factory(list)
    faults: list[Fault] = Factory(list)
    problems: list[str] = Factory(list)

    def checked(self, kind: Kind, size: int) -> None:
        """Keep it."""
        self.objects.append((kind, size))

    def found(self, fault: Fault) -> None:
        """Keep it."""
        self.faults.append(fault)

    def incomplete(self, problem: str) -> None:
        """Keep it."""
        self.problems.append(problem)


@define
class FakeMender:
    """Has the content that a test gives it."""

    driver: Any
    content: dict[str, bytes] = Factory(dict)
    asked: list[Subject] = Factory(list)

    async def images(self, subject: Subject) -> tuple[str, ...]:
        """Return one image."""
        return ("example.com/library/app:1",)

    async def repository(self, subject: Subject) -> str | None:
        """Return none."""
        return None

    async def fetch(self, subject: Subject) -> bool:
        """Store what there is."""
        self.asked.append(subject)
        if subject.key not in self.content:
            return False
        self.driver.place(subject.key, self.content[subject.key], sealed=True)
        return True


class ScrubTestCase(StoreTestCase):
    """A store in memory, and passes over it."""

    def setUp(self) -> None:
        super().setUp()
        self.metrics = Metrics()
        self.saved: list[Progress] = []
        self.mender = FakeMender(self.driver)
        self.restart()

    def restart(self) -> None:
        """Forget all but the medium."""
        self.noted = Noted()
        usage = Usage(self.driver, self.clock)
        self.totals = StoredTotals()
        self.totals.objects = self.totals.size = 0
        self.blobs = BlobStore(self.driver, usage, run_at_once, self.totals, check_always=False)
        self.manifests = ManifestStore(self.driver, usage, ManifestReader(run_at_once), self.totals)
        self.tags = TagStore(self.driver)
        self.referrers = ReferrersStore(self.driver, usage)
        self.stores = Stores(self.driver, self.blobs, self.manifests, self.tags, self.referrers)
        self.checker = Checker(
            self.driver, run_at_once, ManifestReader(run_at_once), self.clock.seconds, piece=4
        )

    async def save(self, progress: Progress) -> None:
        """Keep the progress."""
        self.saved.append(progress)

    def make(
        self,
        progress: Progress | None = None,
        limits: PassLimits = PassLimits(saving=0.0),  # noqa: B008 - it is frozen
        quarantine: QuarantineLimits | None = QuarantineLimits(),  # noqa: B008 - it is frozen
    ) -> Pass:
        """Make a pass."""
        kept = None if quarantine is None else Quarantine(self.driver, quarantine)
        return Pass(
            self.driver,
            self.checker,
            Healing(self.stores, kept, self.mender),
            self.noted,
            self.clock.seconds,
            self.save,
            progress or began_now(self.clock.seconds(), "me"),
            limits,
        )

    def begin(self, whole: Pass, rate: float = 0.0) -> Deferred[Progress]:
        """Begin a pass."""
        pace = Pace(rate, self.clock.seconds, sleeping(self.clock))
        return Deferred.fromCoroutine(whole.run(pace))

    def scrub(self, **options: Any) -> Progress:
        """Return the result of a pass that has no pauses."""
        return self.successResultOf(self.begin(self.make(**options)))

    # -- content

    def blob(self, data: bytes, stored: bytes | None = None, *, sealed: bool = True) -> Digest:
        """Store a blob, or other bytes in its place."""
        digest = Digest.of(data)
        self.driver.place(blob_key(digest), data if stored is None else stored, sealed=sealed)
        return digest

    def manifest(self) -> Manifest:
        """Store a manifest and its tag."""
        raw = b'{"schemaVersion":2,"config":{},"layers":[]}'
        manifest = Manifest.read(raw, OCI_MANIFEST)
        self.result(self.manifests.put(HOST, manifest))
        record = TagRecord(manifest.digest, manifest.media_type, self.clock.seconds())
        self.result(self.tags.put(HOST, REPOSITORY, "1", record))
        return manifest

    def spoil(self, key: str, data: bytes = b"spoilt") -> None:
        """Store other bytes in the place of an object."""
        self.driver.place(key, data, sealed=True)

    def at(self, key: str) -> bytes | None:
        """Return what is at a key."""
        return self.driver.fetch(key, 10_000)

    @property
    def tag_key(self) -> str:
        """The key of the tag."""
        return tag_key(HOST, REPOSITORY, "1")

    def manifest_key(self, manifest: Manifest) -> str:
        """Return the key of a manifest."""
        return manifest_key(HOST, manifest.digest)
