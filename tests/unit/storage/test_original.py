"""Manifests that another program has left in the store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import Logger

from oci_registry.repeats import RepeatLog
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Reference, Tag
from oci_registry.storage import original
from oci_registry.storage.interfaces import ObjectInfo, StoreError, StoreUnavailable
from oci_registry.storage.original import (
    FOLDER,
    LOOK,
    LOOK_AGAIN,
    OriginalManifest,
    OriginalManifests,
)
from oci_registry.streams.parsing import LARGE, ManifestReader
from tests.support.fake_upstream import manifest_of
from tests.support.original import original_file, original_key
from tests.support.reports import Lines
from tests.support.streams import ManualThread, run_at_once
from tests.unit.storage.support import HOST, NOW, StoreTestCase

LATEST = Tag("latest")
REPOSITORY = "library/app"


class OriginalsTestCase(StoreTestCase):
    """A store with one manifest of the other program, by tag and by digest."""

    def setUp(self) -> None:
        super().setUp()
        self.repeats = RepeatLog(Logger(), Clock())
        self.manifest = manifest_of(b'{"schemaVersion": 2, "name": "one"}')
        for reference in (LATEST, self.manifest.digest):
            self.place(reference, original_file(self.manifest))
        self.originals = OriginalManifests(
            self.driver, ManifestReader(run_at_once), self.clock, self.repeats
        )

    def place(self, reference: Reference, data: bytes) -> None:
        key = original_key(HOST, REPOSITORY, reference)
        self.driver.place(key, data, sealed=False)

    def get(
        self, reference: Reference, host: str = HOST, repository: str = REPOSITORY
    ) -> OriginalManifest | None:
        return self.result(self.originals.get(host, repository, reference))


class TakenOver(OriginalsTestCase):
    """What is found."""

    def test_found(self) -> None:
        """A manifest is found by tag and by digest, with the time when it was written."""
        self.clock.advance(1000)
        for reference in (LATEST, self.manifest.digest):
            self.assertEqual(OriginalManifest(self.manifest, NOW), self.get(reference))

    def test_not_found(self) -> None:
        """Another registry, repository or reference has none."""
        self.assertIsNone(self.get(LATEST, host="other.example"))
        self.assertIsNone(self.get(LATEST, repository="library/other"))
        self.assertIsNone(self.get(Tag("1")))

    def test_without_a_claim(self) -> None:
        """Without a digest in the file only what was asked for by digest can be checked."""
        for reference in (LATEST, self.manifest.digest):
            self.place(reference, original_file(self.manifest, claimed=False))
        self.assertIsNone(self.get(LATEST))
        found = self.get(self.manifest.digest)
        assert found is not None
        self.assertEqual(self.manifest, found.manifest)

    def test_wrong(self) -> None:
        """What is cut short, changed or something else is not taken over, and stays where it is."""
        good = json.loads(original_file(self.manifest))
        other = manifest_of(b'{"schemaVersion": 2, "name": "two"}')
        for wrong in (
            b"",
            b"{",
            b"[]",
            b"7",
            b"\xff",
            b"[" * 100_000,
            original_file(self.manifest)[:-1],
            json.dumps({**good, "manifest": list(other.raw)}).encode(),
            json.dumps({**good, "manifest": "text"}).encode(),
            json.dumps({**good, "manifest": [1, 2, 300]}).encode(),
            json.dumps({**good, "manifest": 10**10}).encode(),
            json.dumps({**good, "digest": "sha256:x"}).encode(),
            json.dumps({"manifest": good["manifest"]}).encode(),
        ):
            for reference in (LATEST, self.manifest.digest):
                self.place(reference, wrong)
                self.assertIsNone(self.get(reference), wrong[:80])
                self.assertIn(original_key(HOST, REPOSITORY, reference), self.driver._objects)
        self.place(self.manifest.digest, original_file(other))
        self.assertIsNone(self.get(self.manifest.digest))

    def test_unreadable(self) -> None:
        """A file that cannot be read is as good as none: the store works; one that hangs is not."""
        get = self.driver.get
        lines = Lines(self)
        error = StoreError("Permission denied")

        def refused(key: str, limit: int) -> Deferred[bytes | None]:
            return fail(error) if key.startswith(FOLDER) else get(key, limit)

        self.patch(self.driver, "get", refused)
        for _ in range(100):
            self.assertIsNone(self.get(LATEST))
        key = original_key(HOST, REPOSITORY, LATEST)
        self.assertEqual([f"ignored {key}: Permission denied"], lines.warnings)
        error = StoreUnavailable("it hangs")
        self.fails(self.originals.get(HOST, REPOSITORY, LATEST), StoreUnavailable)

    def test_odd_types(self) -> None:
        """A media type that is none does not become a header."""
        for odd in ("text\r\nX-Evil: 1", "", None, 7):
            value = {**json.loads(original_file(self.manifest)), "media_type": odd}
            self.place(LATEST, json.dumps(value).encode())
            found = self.get(LATEST)
            if found is not None:
                self.assertTrue(found.manifest.media_type.isprintable())

    def test_large(self) -> None:
        """A large one is parsed in a thread; one that is far too large is not read at all."""
        large = Manifest(b"{}" + b" " * LARGE, OCI_MANIFEST, manifest_of(b"{}").digest)
        self.place(LATEST, original_file(large))
        thread = ManualThread()
        self.originals = OriginalManifests(
            self.driver, ManifestReader(thread), self.clock, self.repeats
        )
        self.assertNoResult(Deferred.fromCoroutine(self.originals.get(HOST, REPOSITORY, LATEST)))
        self.originals = OriginalManifests(
            self.driver, ManifestReader(thread), self.clock, self.repeats, largest=10
        )
        self.assertIsNone(self.get(LATEST))

    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are a manifest or are refused."""
        with contextlib.suppress(RegistryError, ValueError, KeyError, TypeError):
            original._unpack(data, LATEST)


class Looking(OriginalsTestCase):
    """Whether there are any at all."""

    def setUp(self) -> None:
        super().setUp()
        self.looked: list[str] = []
        self.gate: Deferred[None] | None = None
        listing = self.driver.list

        async def watched(prefix: str) -> AsyncIterator[ObjectInfo]:
            self.looked.append(prefix)
            if self.gate is not None:
                await self.gate
            async for info in listing(prefix):
                yield info

        self.patch(self.driver, "list", watched)

    def test_once(self) -> None:
        """The folder is looked for once, and where there is none nothing is looked up in it."""
        self.get(LATEST)
        self.get(LATEST)
        self.assertEqual(["manifests"], self.looked)
        self.driver._objects.clear()
        self.originals = OriginalManifests(
            self.driver, ManifestReader(run_at_once), self.clock, self.repeats
        )
        self.patch(self.driver, "get", None)
        for _ in range(2):
            self.assertIsNone(self.get(LATEST))
        self.assertEqual(2, len(self.looked))

    def test_failing(self) -> None:
        """A store that fails, or does not answer in time, is asked again after a minute."""
        self.gate = Deferred()
        asking = Deferred.fromCoroutine(self.originals.get(HOST, REPOSITORY, LATEST))
        self.assertNoResult(asking)
        self.clock.advance(LOOK)
        self.failureResultOf(asking, StoreError)
        self.assertIsNone(self.get(LATEST))
        self.gate = None
        self.clock.advance(LOOK_AGAIN)
        self.driver.broken = "disk on fire"
        self.fails(self.originals.get(HOST, REPOSITORY, LATEST), StoreError)
        self.driver.broken = None
        self.clock.advance(LOOK_AGAIN)
        self.assertIsNotNone(self.get(LATEST))
