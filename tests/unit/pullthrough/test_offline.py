"""Tags and lists of an upstream that is offline."""

from __future__ import annotations

from attrs import evolve

from oci_registry.pullthrough.lists import TagLists
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.served import StaleReason
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, ManifestUnknown, NameUnknown
from oci_registry.spec.reference import Tag
from oci_registry.storage.referrers import KeptReferrers
from oci_registry.storage.tags import TagRecord
from oci_registry.upstream.offline import OfflineUpstream
from oci_registry.upstream.table import Target
from tests.support.settings import upstream_settings
from tests.unit.pullthrough.manifest_case import HOUR, LATEST, ManifestTestCase

YEAR = 365 * 86400.0


class Offline(ManifestTestCase):
    """A tag was pulled, and then its upstream was set offline."""

    def setUp(self) -> None:
        super().setUp()
        self.get()
        self.restart()
        settings = upstream_settings(
            self.upstream.namespace, "a.example", manifest_invalidation_time=HOUR
        )
        self.target = Target(OfflineUpstream(settings), self.target.repository)

    def test_fresh(self) -> None:
        """Within its max age the tag is a hit like any other."""
        served = self.get()
        self.assertEqual((Outcome.HIT, None), (served.outcome, served.stale_reason))

    def test_old(self) -> None:
        """Later it is served however old it is, with its age and the reason."""
        self.clock.advance(10 * YEAR)
        served = self.get()
        self.assertEqual(self.one, served.manifest)
        self.assertEqual(
            (Outcome.STALE, StaleReason.OFFLINE), (served.outcome, served.stale_reason)
        )
        self.assertEqual(10 * YEAR, served.age)

    def test_not_stored(self) -> None:
        """What is not stored does not exist, and nothing that is stored is forgotten for it."""
        self.refused(ManifestUnknown, Tag("other"))
        self.clock.advance(YEAR)
        self.refused(ManifestUnknown, Tag("other"))
        self.assertEqual(self.one, self.get().manifest)

    def test_manifest_that_cannot_be_read(self) -> None:
        """A record of a tag stays, even if its manifest is missing."""
        host = self.upstream.namespace
        self.now(self.manifest_store.delete(host, self.one.digest))
        self.restart()
        self.refused(ManifestUnknown)
        record = self.tag_store.peek(host, self.target.repository, LATEST.name)
        self.assertIsNotNone(self.now(record))

    def test_tags(self) -> None:
        """Stored tags are listed, page by page; a repository without any does not exist."""
        lists = TagLists(self.tag_store, self.health, self.repeats)
        served = self.now(lists.get(self.target, None, None))
        self.assertEqual(("latest",), served.page.tags)
        self.assertEqual((True, False), (served.offline, served.asked))
        self.fails(lists.get(evolve(self.target, repository="a/other"), None, None), NameUnknown)

    def test_referrers(self) -> None:
        """A stored list of referrers is served with its age, and there is none otherwise."""
        host, repository = self.upstream.namespace, self.target.repository
        index = b'{"manifests": []}'
        kept = KeptReferrers(index, self.clock.seconds() - YEAR)
        self.now(self.referrers_store.put(host, repository, self.one.digest, kept))
        served = self.now(self.referrers.get(self.target, self.one.digest, None))
        self.assertEqual((index, YEAR), (served.body, served.age))
        other = Digest.of(b"other")
        self.fails(self.referrers.get(self.target, other, None), ManifestUnknown)

    def test_not_counted(self) -> None:
        """What is served stale on purpose is no trouble: it is not counted, and nothing is logged."""
        self.clock.advance(YEAR)
        self.get()
        self.assertNotIn(b"stale_served_total{", self.metrics.page())


class Imported(ManifestTestCase):
    """A tag came from a bundle, just now."""

    def setUp(self) -> None:
        super().setUp()
        self.get()
        self.restart()
        self.asked()
        record = TagRecord(
            self.one.digest, self.one.media_type, self.clock.seconds(), imported=True
        )
        names = (self.upstream.namespace, self.target.repository, LATEST.name)
        self.now(self.tag_store.put(*names, record))

    def test_revalidated(self) -> None:
        """The first pull revalidates it, and from then on it is like any other."""
        self.assertIs(Outcome.REVALIDATED, self.get().outcome)
        self.assertIs(Outcome.HIT, self.get().outcome)
        self.assertEqual(["HEAD"], self.asked())
        self.restart()
        self.assertIs(Outcome.HIT, self.get().outcome)

    def test_unreachable(self) -> None:
        """While upstream is unreachable it is served stale."""
        self.upstream.error = BadGateway("down")
        served = self.get()
        self.assertEqual(
            (Outcome.STALE, StaleReason.UNREACHABLE), (served.outcome, served.stale_reason)
        )
        self.assertEqual(self.one, served.manifest)

    def test_offline(self) -> None:
        """While upstream is offline it is as fresh as its import."""
        self.upstream.change(offline=True)
        self.assertIs(Outcome.HIT, self.get().outcome)
        self.assertEqual([], self.asked())
