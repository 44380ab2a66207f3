"""Lists of what refers to manifests."""

from __future__ import annotations

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import referrers_key
from oci_registry.storage.referrers import LARGEST, REWRITTEN, KeptReferrers, ReferrersStore
from tests.unit.storage.support import HOST, NOW, StoreTestCase

DIGEST = Digest.of(b"subject")
KEY = referrers_key(HOST, "a/b", DIGEST)
INDEX = b'{"manifests":[]}'


class Kept(StoreTestCase):
    """What is kept."""

    def setUp(self) -> None:
        super().setUp()
        self.store = ReferrersStore(self.driver, self.usage)

    def put(self, index: bytes = INDEX) -> None:
        kept = KeptReferrers(index, self.clock.seconds())
        self.result(self.store.put(HOST, "a/b", DIGEST, kept))

    def get(self, repository: str = "a/b") -> KeptReferrers | None:
        return self.result(self.store.get(HOST, repository, DIGEST))

    def test_there_and_back(self) -> None:
        """A list is read as it was written, byte for byte, with its time."""
        self.assertIsNone(self.get())
        for index in (INDEX, b'{"manifests":[{"a":"\n\xc3\xbc"}]}'):
            self.put(index)
            self.assertEqual(KeptReferrers(index, NOW), self.get())
        self.assertIsNone(self.get("a/c"))
        self.assertTrue(self.result(self.store.delete(HOST, "a/b", DIGEST)))
        self.assertIsNone(self.get())

    def test_listed(self) -> None:
        """Lists are listed with their last use; reading one is a use."""
        self.put()
        self.driver.place("repositories/example.com/a/b/_referrers/x", b"foreign", sealed=False)
        self.clock.advance(1000)
        self.get()
        ((host, repository, digest, info),) = self.listed(self.store.list())
        self.assertEqual((HOST, "a/b", DIGEST, NOW + 1000), (host, repository, digest, info.used))

    def test_not_written_again(self) -> None:
        """A list that has not changed is written again after a while only; that it is used counts."""

        def kept(index: bytes = INDEX) -> bool:
            now = KeptReferrers(index, self.clock.seconds())
            return self.store.is_kept(HOST, "a/b", DIGEST, now)

        self.assertFalse(kept())
        self.put()
        self.assertTrue(kept())
        self.assertFalse(kept(b"{}"))
        self.clock.advance(REWRITTEN - 1)
        self.assertTrue(kept())
        self.assertEqual(NOW + REWRITTEN - 1, self.used(KEY))
        self.clock.advance(1)
        self.assertFalse(kept())
        self.put()
        self.assertTrue(kept())
        self.result(self.store.delete(HOST, "a/b", DIGEST))
        self.assertFalse(kept())

    def test_too_large(self) -> None:
        """What could not be read again is not written."""
        self.put(b"x" * LARGEST)
        self.assertIsNone(self.used(KEY))

    def test_damaged(self) -> None:
        """What is no list counts as none."""
        for data in (b"", b"{}", b"x\n{}", b"[]\n{}", b'{"checked": 1}\n', b'{"checked": NaN}\n{}'):
            self.driver.place(KEY, data, sealed=False)
            self.assertIsNone(self.get(), data)

    def test_broken_medium(self) -> None:
        """A medium that fails is told of, and nothing counts as written."""
        self.driver.broken = "disk on fire"
        kept = KeptReferrers(INDEX, NOW)
        self.fails(self.store.put(HOST, "a/b", DIGEST, kept), StoreError)
        self.fails(self.store.get(HOST, "a/b", DIGEST), StoreError)
        self.assertFalse(self.store.is_kept(HOST, "a/b", DIGEST, kept))
