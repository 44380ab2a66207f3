"""Manifests in a store, and the recent ones in memory."""

from __future__ import annotations

import json

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest, memory_of
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1_SIGNED, OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import manifest_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.streams.parsing import LARGE, ManifestReader
from tests.support.streams import ManualThread, run_at_once
from tests.unit.spec.signing import schema_1, signed
from tests.unit.storage.support import HOST, NOW, StoreTestCase


def manifest(number: int = 0, size: int = 0) -> Manifest:
    """Return one of many manifests; JSON with odd spaces, to be kept as it is."""
    raw = b' { "schemaVersion" :2,  "n": %d%s}\n' % (number, b" " * size)
    return Manifest(raw, OCI_INDEX if number % 2 else OCI_MANIFEST, Digest.of(raw))


class ManifestsTestCase(StoreTestCase):
    """A store of manifests."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.fresh()
        self.manifest = manifest()
        self.digest = self.manifest.digest
        self.key = manifest_key(HOST, self.digest)

    def fresh(self) -> ManifestStore:
        """Return a store that remembers nothing, as after a restart."""
        return ManifestStore(self.driver, self.usage, ManifestReader(run_at_once))


class Kept(ManifestsTestCase):
    """Manifests that are kept."""

    def test_there_and_back(self) -> None:
        """A manifest comes back with the bytes and the type it had, after a restart too."""
        self.assertIsNone(self.result(self.store.get(HOST, self.digest)))
        for number in range(2):
            one = manifest(number)
            self.result(self.store.put(HOST, one))
            for store in (self.store, self.fresh()):
                found = self.result(store.get(HOST, one.digest))
                self.assertEqual(found, one)

    def test_signed(self) -> None:
        """A signed schema 1 manifest is kept under the digest of what was signed."""
        raw = signed(schema_1(str(self.digest)))
        one = Manifest.read(raw, DOCKER_SCHEMA1_SIGNED)
        self.assertNotEqual(one.digest, Digest.of(raw))
        self.result(self.store.put(HOST, one))
        found = self.result(self.fresh().get(HOST, one.digest))
        self.assertEqual(found, one)
        self.assertEqual(self.result(self.fresh().names(HOST, one.digest)), {self.digest})

    def test_no_json(self) -> None:
        """What is no JSON is kept as it came, if that is what the digest says."""
        for raw in (b"", b"\x80\n\x81", b"<html>\n", b"[" * 100_000):
            one = Manifest.read(raw, "text/plain", Digest.of(raw))
            self.result(self.store.put(HOST, one))
            self.assertEqual(self.result(self.fresh().get(HOST, one.digest)), one)

    def test_names(self) -> None:
        """What a stored manifest names is known, from memory and from the medium."""
        raw = json.dumps({"layers": [str(self.digest)]}).encode()
        one = Manifest.read(raw, OCI_MANIFEST)
        self.result(self.store.put(HOST, one))
        for store in (self.store, self.fresh()):
            self.assertEqual(self.result(store.names(HOST, one.digest)), {self.digest})
            self.assertEqual(self.result(store.names(HOST, self.digest)), frozenset())

    def test_sha512(self) -> None:
        """A manifest may be known by its sha512 digest."""
        one = Manifest(self.manifest.raw, OCI_MANIFEST, Digest.of(self.manifest.raw, "sha512"))
        self.result(self.store.put(HOST, one))
        self.assertEqual(self.result(self.fresh().get(HOST, one.digest)), one)

    def test_registries_are_apart(self) -> None:
        """What one registry has, another does not have."""
        self.result(self.store.put(HOST, self.manifest))
        self.assertIsNone(self.store.recall("other.com", self.digest))
        self.assertIsNone(self.result(self.store.get("other.com", self.digest)))

    def test_largest(self) -> None:
        """The largest manifest there may be is kept, with the longest type."""
        raw = b"{" + b" " * (MAX_MANIFEST_SIZE - 2) + b"}"
        one = Manifest(raw, "application/" + "x" * 200, Digest.of(raw))
        self.result(self.store.put(HOST, one))
        self.assertEqual(self.result(self.fresh().get(HOST, one.digest)), one)

    def test_delete(self) -> None:
        """A removed manifest is gone, from memory too."""
        self.store.remember(HOST, self.manifest)
        self.result(self.store.put(HOST, self.manifest))
        self.assertTrue(self.result(self.store.delete(HOST, self.digest)))
        self.assertIsNone(self.store.recall(HOST, self.digest))
        self.assertIsNone(self.result(self.store.get(HOST, self.digest)))
        self.assertFalse(self.result(self.store.delete(HOST, self.digest)))

    def test_list(self) -> None:
        """All manifests of all registries are listed, and nothing else."""
        self.result(self.store.put(HOST, self.manifest))
        self.result(self.store.put("localhost:5000", self.manifest))
        self.driver.place(f"repositories/{HOST}/a/_tags/latest", b"", sealed=True)
        self.driver.place(f"repositories/{HOST}/_manifests/README", b"", sealed=False)
        listed = self.listed(self.store.list())
        self.assertEqual(
            {(host, digest) for host, digest, _ in listed},
            {(HOST, self.digest), ("localhost:5000", self.digest)},
        )

    def test_uses(self) -> None:
        """Getting and recalling a manifest are uses of it, looking at it is none."""
        self.result(self.store.put(HOST, self.manifest))
        for use in (
            lambda: self.result(self.store.get(HOST, self.digest)),
            lambda: self.store.recall(HOST, self.digest),
            lambda: self.result(self.fresh().get(HOST, self.digest)),
        ):
            self.clock.advance(100)
            self.result(self.store.names(HOST, self.digest))
            self.result(self.fresh().names(HOST, self.digest))
            self.assertFalse(self.store.used_since(HOST, self.digest, self.clock.seconds() - 50))
            use()
            self.assertTrue(self.store.used_since(HOST, self.digest, self.clock.seconds() - 50))
            self.assertEqual(self.used(self.key), self.clock.seconds())
        ((_, _, info),) = self.listed(self.store.list())
        self.assertEqual(info.used, NOW + 300)
        self.store.needed(HOST, self.digest, NOW + 400)
        self.assertEqual(self.used(self.key), NOW + 400)


class Large(ManifestsTestCase):
    """Manifests that take their time to be hashed and read."""

    def setUp(self) -> None:
        super().setUp()
        self.thread = ManualThread()
        self.manifest = manifest(0, LARGE)
        self.digest = self.manifest.digest
        self.result(self.store.put(HOST, self.manifest))
        self.store = ManifestStore(self.driver, self.usage, ManifestReader(self.thread))

    def begin(self) -> Deferred[Manifest | None]:
        """Ask for the manifest."""
        return Deferred.fromCoroutine(self.store.get(HOST, self.digest))

    def test_in_a_thread(self) -> None:
        """A large manifest is checked in a thread, once for all who ask meanwhile."""
        first, second = self.begin(), self.begin()
        self.assertNoResult(first)
        self.assertTrue(self.thread.step())
        for asked in (first, second, self.begin()):
            self.assertEqual(self.successResultOf(asked), self.manifest)
        self.assertFalse(self.thread.waiting)
        names = Deferred.fromCoroutine(self.store.names(HOST, self.digest))
        self.thread.step()
        self.assertEqual(self.successResultOf(names), frozenset())

    def test_who_leaves(self) -> None:
        """A client that leaves meanwhile stops nothing for others."""
        first, second = self.begin(), self.begin()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.thread.step()
        self.assertEqual(self.successResultOf(second), self.manifest)

    def test_small_ones_wait_for_nobody(self) -> None:
        """A small manifest is served while large ones are in the thread."""
        waiting = self.begin()
        small = manifest(1)
        self.result(self.store.put(HOST, small))
        store = ManifestStore(self.driver, self.usage, ManifestReader(self.thread))
        self.assertEqual(self.result(store.get(HOST, small.digest)), small)
        self.assertNoResult(waiting)
        self.thread.step()
        self.successResultOf(waiting)


class Damaged(ManifestsTestCase):
    """Files that are not what they were."""

    def test_damaged(self) -> None:
        """Whatever happens to the file of a manifest, it is removed and logged, and not served."""
        head = json.dumps({"mediaType": OCI_MANIFEST}).encode()
        raw = self.manifest.raw
        for data in (
            b"",
            head,
            head + b"\n",
            head + b"\n" + raw[:-1],
            head + b"\n" + raw + b" ",
            head + b"\n" + raw.replace(b"2", b"3"),
            b"\n" + raw,
            b"[" * 100_000 + b"\n" + raw,
            b"[]\n" + raw,
            b"{}\n" + raw,
            b"{\n" + raw,
            b"\xff\xfe\n" + raw,
            raw,
        ):
            for ask in (self.store.get, self.store.names):
                self.driver.place(self.key, data, sealed=True)
                with capturedLogs() as logs:
                    self.assertFalse(self.result(ask(HOST, self.digest)), data)
                self.assertIn("removed manifest", logs[0]["log_format"])
                self.assertIsNone(self.used(self.key))

    def test_huge(self) -> None:
        """A file that is larger than any manifest is not read into memory, and not served."""
        self.driver.place(self.key, bytes(MAX_MANIFEST_SIZE + 2000), sealed=True)
        self.assertIsNone(self.result(self.store.get(HOST, self.digest)))

    def test_medium_fails(self) -> None:
        """When the medium fails, what is in memory is served."""
        self.driver.broken = "I/O error"
        self.store.remember(HOST, self.manifest)
        self.assertEqual(self.fails(self.store.put(HOST, self.manifest), StoreError), "I/O error")
        self.assertEqual(self.store.recall(HOST, self.digest), self.manifest)
        self.assertEqual(self.result(self.store.get(HOST, self.digest)), self.manifest)
        self.fails(self.fresh().get(HOST, self.digest), StoreError)


class Remembered(ManifestsTestCase):
    """What is in memory."""

    def test_twice(self) -> None:
        """A manifest that comes again does not count twice, and a removed one is not counted."""
        for _ in range(5):
            self.store.remember(HOST, self.manifest)
        self.assertEqual(self.store._recent.memory, memory_of(self.manifest.pack()))
        self.result(self.store.delete(HOST, self.digest))
        self.assertEqual(self.store._recent.memory, 0)

    def test_read_is_remembered(self) -> None:
        """What was read from the medium once is in memory from then on; what was looked at is not."""
        self.result(self.store.put(HOST, self.manifest))
        store = self.fresh()
        self.result(store.names(HOST, self.digest))
        self.assertIsNone(store.recall(HOST, self.digest))
        self.result(store.get(HOST, self.digest))
        self.assertEqual(store.recall(HOST, self.digest), self.manifest)
