"""What the sweep does about held tags and old histories."""

from __future__ import annotations

from oci_registry.eviction.sweep import Lifetimes, Sweep
from oci_registry.eviction.tag_upkeep import DAY, TagUpkeep
from oci_registry.spec.digest import Digest
from oci_registry.storage.histories import LIFETIME, HistoryStore, Sighting
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.keys import blob_key, history_key
from tests.unit.eviction.support import HOST, LIFETIMES, SweepTestCase


class Upkeep(SweepTestCase):
    """A sweep of a store with a held image, and one that is not."""

    def restart(self, by_host: dict[str, float] | None = None, otherwise: float = 14 * DAY) -> None:
        super().restart(by_host, otherwise)
        self.holds = HoldStore(self.driver)
        self.histories = HistoryStore(self.driver)
        self.sweep = Sweep(
            self.blobs,
            self.manifests,
            self.tags,
            self.referrers,
            Lifetimes(LIFETIMES, otherwise),
            self.driver.begin_sweep,
            self.downloading.__contains__,
            self.clock.seconds,
            self.metrics,
            self.totals,
            upkeep=TagUpkeep(self.holds, self.histories, self.manifests),
        )

    def test_held(self) -> None:
        """A held image stays with all its blobs, however long it is unused; it goes after its release."""
        held, other = self.manifest(self.blob(b"held")), self.manifest(self.blob(b"other"))
        self.result(self.holds.put(HOST, "a", "v1", held.digest, 0.0))
        for _ in range(3):
            self.clock.advance(10 * DAY)
            self.restart()
            self.result(self.sweep.run())
        self.assertIsNotNone(self.result(self.manifests.peek(HOST, held.digest)))
        self.assertIsNone(self.result(self.manifests.peek(HOST, other.digest)))
        blobs = {name: self.driver.look(blob_key(Digest.of(name))) for name in (b"held", b"other")}
        self.assertEqual([True, False], [info is not None for info in blobs.values()])
        self.result(self.holds.remove(HOST, "a", "v1"))
        self.clock.advance(15 * DAY)
        self.result(self.sweep.run())
        self.assertIsNone(self.result(self.manifests.peek(HOST, held.digest)))

    def test_histories(self) -> None:
        """Histories that are old enough go, once a day; that of a held tag stays."""
        seen = [Sighting.at(Digest.of(b"x"), 1.0, adopted=True)]
        for tag in ("v1", "v2"):
            self.histories.remember(HOST, "a", tag, seen)
            self.result(self.histories.write(HOST, "a", tag))
        self.result(self.holds.put(HOST, "a", "v2", Digest.of(b"x"), 0.0))
        self.clock.advance(LIFETIME)
        self.result(self.sweep.run())
        key = history_key(HOST, "a", "v1")
        for passed, there in ((DAY - 1, True), (1, False)):
            self.clock.advance(passed)
            self.result(self.sweep.run())
            self.assertEqual(there, self.driver.look(key) is not None)
        self.assertIsNotNone(self.driver.look(history_key(HOST, "a", "v2")))
