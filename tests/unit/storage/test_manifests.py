"""Manifests in a store, and the recent ones in memory."""

from __future__ import annotations

import json

from twisted.logger import capturedLogs

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage import manifests
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import manifest_key
from oci_registry.storage.manifests import ManifestStore
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
        return ManifestStore(self.driver, self.usage)


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
                self.assertEqual(self.result(store.peek(HOST, one.digest)), one)

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
            self.result(self.store.peek(HOST, self.digest))
            self.result(self.fresh().peek(HOST, self.digest))
            self.assertFalse(self.store.used_since(HOST, self.digest, self.clock.seconds() - 50))
            use()
            self.assertTrue(self.store.used_since(HOST, self.digest, self.clock.seconds() - 50))
            self.assertEqual(self.used(self.key), self.clock.seconds())
        ((_, _, info),) = self.listed(self.store.list())
        self.assertEqual(info.used, NOW + 300)
        self.store.needed(HOST, self.digest, NOW + 400)
        self.assertEqual(self.used(self.key), NOW + 400)


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
            for ask in (self.store.get, self.store.peek):
                self.driver.place(self.key, data, sealed=True)
                with capturedLogs() as logs:
                    self.assertIsNone(self.result(ask(HOST, self.digest)), data)
                self.assertIn("unusable", logs[0]["log_format"])
                self.assertIsNone(self.used(self.key))

    def test_huge(self) -> None:
        """A file that is larger than any manifest is not read into memory, and not served."""
        self.driver.place(self.key, bytes(MAX_MANIFEST_SIZE + 2000), sealed=True)
        self.assertIsNone(self.result(self.store.get(HOST, self.digest)))

    def test_medium_fails(self) -> None:
        """When the medium fails, what is in memory is served, and what is put is kept there."""
        self.driver.broken = "I/O error"
        self.assertEqual(self.fails(self.store.put(HOST, self.manifest), StoreError), "I/O error")
        self.assertEqual(self.store.recall(HOST, self.digest), self.manifest)
        self.assertEqual(self.result(self.store.get(HOST, self.digest)), self.manifest)
        self.fails(self.fresh().get(HOST, self.digest), StoreError)


class Remembered(ManifestsTestCase):
    """What is in memory."""

    def put(self, number: int, size: int) -> Digest:
        """Put a manifest of about a size."""
        one = manifest(number, size)
        self.result(self.store.put(HOST, one))
        return one.digest

    def test_bounded(self) -> None:
        """The manifests in memory stay below 16 MiB, small ones counted with their overhead."""
        for size, numbers in ((0, 10_000), (1 << 20, 30)):
            digests = [self.put(n, size) for n in range(numbers)]
            known = [d for d in digests if self.store.recall(HOST, d) is not None]
            total = sum(len(m.raw) + manifests._OVERHEAD for m in self.store._recent.values())
            self.assertLessEqual(total, manifests.MEMORY)
            self.assertEqual(total, self.store._recent_bytes)
            self.assertEqual(known, digests[-len(known) :])
            self.assertGreater(total, manifests.MEMORY - size - 3000)

    def test_least_recently_used_go_first(self) -> None:
        """What is used stays."""
        first = self.put(0, 4 << 19)
        for number in range(1, 20):
            self.put(number, 4 << 19)
            self.assertIsNotNone(self.store.recall(HOST, first))
        self.assertIsNone(self.store.recall(HOST, manifest(1, 4 << 19).digest))

    def test_put_twice(self) -> None:
        """Putting a manifest again does not count it twice."""
        for _ in range(5):
            self.put(0, 100)
        self.assertEqual(self.store._recent_bytes, len(manifest(0, 100).raw) + manifests._OVERHEAD)
        self.result(self.store.delete(HOST, manifest(0, 100).digest))
        self.assertEqual(self.store._recent_bytes, 0)

    def test_read_is_remembered(self) -> None:
        """What was read from the medium once is in memory from then on; what was looked at is not."""
        self.result(self.store.put(HOST, self.manifest))
        store = self.fresh()
        self.result(store.peek(HOST, self.digest))
        self.assertIsNone(store.recall(HOST, self.digest))
        self.result(store.get(HOST, self.digest))
        self.assertEqual(store.recall(HOST, self.digest), self.manifest)
