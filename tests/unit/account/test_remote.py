"""The account of a bucket, to which others write too."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.account.account import Account
from oci_registry.account.observed import ObservedDriver
from oci_registry.account.queries import naming
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key
from tests.support.account import MemoryMedium, make_account, settle
from tests.unit.account.support import HUB, AccountTestCase, stopped


class Remote(AccountTestCase):
    """A medium where each look costs a request."""

    def begin(self, path: str | None = None) -> Account:
        self.medium = MemoryMedium(self.driver, remote=True)
        self.account = make_account(
            path or self.path, self.driver, self.clock, medium=self.medium, on_demand=True
        )
        self.observed = ObservedDriver(self.driver, self.account)
        self.account.start()
        settle(self.account, self.clock)
        self.addCleanup(lambda account: self.successResultOf(stopped(account)), self.account)
        return self.account

    def compare(self) -> None:
        comparing = Deferred.fromCoroutine(self.account.compare())
        settle(self.account, self.clock)
        self.successResultOf(comparing)

    def test_comparison(self) -> None:
        """A comparison finds what others have stored and removed, and looks only at what has gone."""
        images = [self.image(self.blob(b"%d" % number)) for number in range(5)]
        self.assertEqual(self.summed(), self.stored())
        for key in (blob_key(Digest.of(b"3")), manifest_key(HUB, images[3])):
            del self.driver._objects[key]
        self.driver.place(blob_key(Digest.of(b"new")), b"new", sealed=True)
        self.medium.looks = 0
        self.compare()
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(self.medium.looks, 2)
        self.compare()
        self.assertEqual(self.medium.looks, 2)

    def test_uses_of_others(self) -> None:
        """A use that another replica has noted counts as a pull."""
        image = self.image(self.blob(b"a"))
        self.successResultOf(self.account.flush())
        self.successResultOf(self.driver.touch(manifest_key(HUB, image), self.clock.seconds() + 99))
        self.compare()
        self.assertEqual(self.rows("manifests", "pulls"), [(1,)])
        self.compare()
        self.assertEqual(self.rows("manifests", "pulls"), [(1,)])

    def test_stopped_and_started(self) -> None:
        """It notes nothing while it is stopped, and is not complete before it was compared again."""
        self.image(self.blob(b"a"))
        self.successResultOf(stopped(self.account))
        self.assertFalse(self.account.is_complete)
        image = self.image(self.blob(b"b"))
        self.account.used(blob_key(Digest.of(b"b")), 1.0)
        self.assertFalse(self.account._changed or self.account._used)
        self.account.start()
        self.assertFalse(self.account.is_complete)
        settle(self.account, self.clock)
        self.assertTrue(self.account.is_complete)
        self.assertEqual(self.summed(), self.stored())
        self.assertEqual(self.ask(naming(Digest.of(b"b"))), [(HUB, image)])
