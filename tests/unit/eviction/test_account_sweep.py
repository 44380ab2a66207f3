"""The sweep that asks the account: whatever the walking sweep is tested for, and what is its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.account.observed import ObservedDriver
from oci_registry.eviction.account_sweep import AccountSweep
from oci_registry.eviction.sweep import Lifetimes, Swept
from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.blobs import BlobStore
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.storage.keys import PINS, blob_key, manifest_key
from oci_registry.storage.manifests import ManifestStore
from oci_registry.storage.referrers import ReferrersStore
from oci_registry.storage.tags import TagStore
from oci_registry.storage.totals import StoredTotals
from oci_registry.storage.usage import Usage
from oci_registry.streams.parsing import ManifestReader
from tests.support.account import make_account, settle
from tests.support.streams import run_at_once
from tests.unit.eviction import test_sweep_objects, test_sweep_times
from tests.unit.eviction.support import DAY, HOST, LIFETIMES, SweepTestCase, descriptor

if TYPE_CHECKING:
    from oci_registry.account.account import Account


class AccountMixin(SweepTestCase):
    """A store with an account, and the sweep that asks it."""

    account: Account | None = None

    def restart(self, by_host: dict[str, float] | None = None, otherwise: float = 14 * DAY) -> None:
        super().restart(by_host, otherwise)
        if self.account is not None:
            self.result(self.account.stop())
        else:
            self.path = self.mktemp()
        self.totals = StoredTotals()
        self.account = make_account(
            self.path, self.driver, self.clock, self.totals, self.metrics, comparison=1e9
        )
        observed = ObservedDriver(self.driver, self.account)
        self.usage = Usage(observed, self.clock)
        self.blobs = BlobStore(observed, self.usage, run_at_once, self.totals, check_always=False)
        self.manifests = ManifestStore(
            observed, self.usage, ManifestReader(run_at_once), self.totals
        )
        self.tags = TagStore(observed)
        self.referrers = ReferrersStore(observed, self.usage)
        self.sweep: Any = AccountSweep(
            self.account,
            self.blobs,
            self.manifests,
            self.tags,
            self.referrers,
            Lifetimes(LIFETIMES if by_host is None else by_host, otherwise),
            observed.begin_sweep,
            self.downloading.__contains__,
            self.clock.seconds,
            self.metrics,
            self.totals,
            batch=self.batch,
            pinned=self.pinned,
            announce=self.announce,
        )
        self.account.start()
        settle(self.account, self.clock)

    def swept(self, days: float = 0.0) -> Swept:
        # What was placed without the driver is found by a comparison.
        assert self.account is not None
        self.clock.advance(days * DAY)
        self.compare()
        swept: Swept = self.result(self.sweep.run())
        return swept

    def blob(self, data: bytes) -> bytes:
        super().blob(data)
        assert self.account is not None
        self.account.changed(blob_key(Digest.of(data)))
        return data

    def compare(self) -> None:
        """Compare the account with the store."""
        assert self.account is not None
        self.account._due = 0.0
        self.account._step()
        settle(self.account, self.clock)


class Blobs(AccountMixin, test_sweep_objects.Blobs):
    """Blobs that are used, and not."""


class Times(AccountMixin, test_sweep_times.Times):
    """Registries with lifetimes of their own."""

    def test_used_in_the_same_instant(self) -> None:
        """A use after the account was asked counts, though the account does not know of it yet."""
        self.blob(b"data")
        image = self.manifest(b"elsewhere")
        self.clock.advance(30 * DAY)
        assert self.account is not None
        real = self.account.ask

        def ask_and_use(query: Any) -> Deferred[Any]:
            asked = real(query)
            self.open(b"data").close()
            self.read(image)
            return asked

        with patch.object(self.account, "ask", ask_and_use):
            self.assertEqual(self.swept(), Swept())


class Troubles(AccountMixin, test_sweep_times.Troubles):
    """A medium that fails."""


class Manifests(AccountMixin, test_sweep_objects.Manifests):
    """Manifests, and what they keep."""

    def test_needed_across_a_restart(self) -> None:
        """What a manifest needs is remembered in the account, and follows from the manifest without it."""
        image = self.manifest(self.blob(b"config"), self.blob(b"layer"))
        self.clock.advance(10 * DAY)
        self.read(image)
        for lost in (False, True):
            self.restart()
            if lost:
                os.unlink(self.path)
                self.compare()
            self.assertEqual(self.swept(), Swept())
        self.clock.advance(14 * DAY)
        self.assertEqual(self.swept(), Swept())
        self.assertTrue(self.has(b"layer"))
        self.assertEqual(self.swept(1), Swept(blobs=2, size=11, manifests=1))

    def test_index_of_itself(self) -> None:
        """Indexes that list what is not there, or whose bytes are wrong, delay nothing."""
        missing = Manifest(b"{}", OCI_MANIFEST, Digest.of(b"{}"))
        index = self.manifest(children=(missing,))
        child = self.manifest(self.blob(b"config"))
        raw = json.dumps({"manifests": [descriptor(child.raw, OCI_MANIFEST)]}).encode()
        wrong = Manifest(raw, OCI_INDEX, Digest.of(b"other bytes"))
        self.result(self.manifests.put(HOST, wrong))
        self.clock.advance(10 * DAY)
        self.read(index)
        self.usage.used(manifest_key(HOST, wrong.digest))
        self.assertEqual(self.swept(10), Swept(blobs=1, size=6, manifests=1))
        self.assertEqual(self.swept(5), Swept(manifests=2))


class Referrers(AccountMixin, test_sweep_objects.Referrers):
    """Lists of referrers."""


class Itself(AccountMixin):
    """What only this sweep does."""

    def test_nothing_is_listed(self) -> None:
        """A sweep lists nothing but the pins, and reads no manifest."""
        self.tag(self.manifest(self.blob(b"config"), self.blob(b"layer")))
        self.result(self.sweep.run())
        self.clock.advance(30 * DAY)
        walk = self.driver.walk

        def walk_pins(prefix: str) -> Iterator[ObjectInfo]:
            self.assertEqual(prefix, PINS)
            return walk(prefix)

        with (
            patch.object(self.driver, "walk", walk_pins),
            patch.object(self.manifests, "names", side_effect=AssertionError),
        ):
            swept = self.result(self.sweep.run())
        self.assertEqual(swept, Swept(blobs=2, size=11, manifests=1, tags=1))
        self.assertEqual((self.totals.objects, self.totals.size), (0, 0))

    def test_incomplete(self) -> None:
        """Nothing is removed before the account is complete."""
        self.blob(b"data")
        self.clock.advance(30 * DAY)
        assert self.account is not None
        self.successResultOf(self.account.flush())
        os.unlink(self.path)
        self.assertEqual(self.result(self.sweep.run()), Swept())
        self.assertTrue(self.has(b"data"))
        self.clock.advance(1)
        settle(self.account, self.clock)
        self.assertEqual(self.result(self.sweep.run()), Swept(blobs=1, size=4))

    def test_off(self) -> None:
        """While the account cannot be used, the store is walked."""
        self.blob(b"data")
        assert self.account is not None
        self.account._turn_off("locked")
        self.clock.advance(30 * DAY - 0.5)
        self.account._turn_off("locked")
        self.assertEqual(self.result(self.sweep.run()), Swept(blobs=1, size=4))

    def test_used_by_another_process(self) -> None:
        """What another process has used stays, and the account learns of the use."""
        image = self.manifest(self.blob(b"config"))
        self.blob(b"data")
        self.compare()
        self.clock.advance(10 * DAY)
        for key in (manifest_key(HOST, image.digest), blob_key(Digest.of(b"data"))):
            self.driver.touch(key, self.clock.seconds())
        self.clock.advance(10 * DAY)
        self.assertEqual(self.result(self.sweep.run()), Swept())
        self.assertTrue(self.has(image) and self.has(b"data") and self.has(b"config"))
        self.assertEqual(self.swept(5), Swept(blobs=2, size=10, manifests=1))
