"""What counts for the limit beside what is in the account."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.account.nouns import BLOCK
from oci_registry.eviction.other_use import INTERVAL, OtherUse
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import QUARANTINE, blob_key, history_key
from tests.unit.storage.support import HOST, StoreTestCase

ASIDE = f"{QUARANTINE}/{blob_key(Digest.of(b''))}"
UNKNOWN = 7


class Looking(StoreTestCase):
    """What it says is taken."""

    def setUp(self) -> None:
        super().setUp()
        self.use = OtherUse(self.driver, self.clock.seconds)

    def size(self) -> int:
        self.result(self.use.look())
        return self.use.size(UNKNOWN)

    def test_counted(self) -> None:
        """The quarantine and the histories of tags count in whole blocks, and nothing else does."""
        self.driver.place(ASIDE, b"x" * (BLOCK + 1), sealed=False)
        self.driver.place(history_key(HOST, "a/b", "1"), b"{}", sealed=False)
        self.driver.place(blob_key(Digest.of(b"")), b"", sealed=True)
        self.assertEqual(3 * BLOCK, self.size())

    def test_not_known(self) -> None:
        """Before the first look the quarantine takes what it may, and so it does if the store fails."""
        self.assertEqual(UNKNOWN, self.use.size(UNKNOWN))
        self.driver.broken = "gone"
        self.assertEqual(UNKNOWN, self.size())

    def test_deleted(self) -> None:
        """What people delete is known after ten minutes; there is no look before."""
        self.driver.place(ASIDE, b"x", sealed=False)
        self.assertEqual(BLOCK, self.size())
        self.successResultOf(self.driver.delete(ASIDE))
        self.clock.advance(INTERVAL - 1)
        self.assertEqual(BLOCK, self.size())
        self.clock.advance(1)
        self.assertEqual(0, self.size())

    def test_admitted_meanwhile(self) -> None:
        """What the scrub says while it looks is newer than what it finds."""
        late: Deferred[Any] = Deferred()

        async def slow(prefix: str) -> Any:
            await late
            for _ in ():
                yield

        self.patch(self.driver, "list", slow)
        looking = Deferred.fromCoroutine(self.use.look())
        self.use.admitted(5 * BLOCK)
        late.callback(None)
        self.successResultOf(looking)
        self.assertEqual(5 * BLOCK, self.use.size(UNKNOWN))
