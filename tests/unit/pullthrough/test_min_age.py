"""A minimum age for new digests of tags, above a store in memory and an upstream."""

from __future__ import annotations

from unittest.mock import patch

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from oci_registry.config.settings import AgeRule, MinAges
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.served import OlderReason, StaleReason
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, ManifestUnknown
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.patterns import parse_pattern
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import history_key, manifest_key, tag_key
from oci_registry.storage.tags import TagRecord
from tests.support.fake_upstream import FakeUpstream
from tests.unit.pullthrough.manifest_case import HOUR, ManifestTestCase, raw

DAY = 24 * HOUR
AGE = 3 * DAY
NAMES = ("example.com", "library/app", "latest")


class MinAgeTestCase(ManifestTestCase):
    """A tag that was pulled, is fresh for an hour, and whose new digests wait for three days."""

    def setUp(self) -> None:
        super().setUp()
        self.set_age(AGE)
        self.get()
        self.asked()

    def set_age(self, seconds: float, pattern: str = "*") -> None:
        """Set another minimum age, as a reload does."""
        self.upstream.change(min_age=MinAges((AgeRule(parse_pattern(pattern), seconds),)))

    def move(self, name: str = "two") -> Manifest:
        """Move the tag upstream, and let the time come at which it is revalidated."""
        self.clock.advance(HOUR)
        return self.upstream.add(raw(name), "latest")

    def served(self) -> Manifest:
        return self.get().manifest

    def lines(self) -> list[str]:
        """Return the lines that are logged from now on."""
        found: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_namespace", "").startswith("oci_registry"):
                found.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return found


class Waiting(MinAgeTestCase):
    """A new digest waits."""

    def test_adopted(self) -> None:
        """The previous digest is served until the instant at which the new one is old enough."""
        two = self.move()
        served = self.get()
        self.assertEqual(
            (self.one, Outcome.REVALIDATED, OlderReason.MIN_AGE, HOUR),
            (served.manifest, served.outcome, served.older_reason, served.ttl),
        )
        # The new manifest is not fetched before it is needed.
        self.assertEqual(["HEAD"], self.asked())
        for _ in range(71):
            self.clock.advance(HOUR)
            self.assertEqual(self.one, self.served())
        again = self.get()
        self.assertEqual((Outcome.HIT, HOUR), (again.outcome, again.ttl))
        self.assertEqual(["HEAD"] * 71, self.asked())
        self.clock.advance(HOUR - 0.5)
        late = self.get()
        self.assertEqual((self.one, 0.5), (late.manifest, late.ttl))
        self.clock.advance(0.5)
        adopted = self.get()
        self.assertEqual(
            (two, Outcome.MISS, None), (adopted.manifest, adopted.outcome, adopted.older_reason)
        )
        self.assertEqual(["HEAD", "GET once"], self.asked())
        self.assertEqual(Outcome.HIT, self.get().outcome)

    def test_due_before_stale(self) -> None:
        """A tag is revalidated when its waiting digest is due, however long it would be fresh."""
        self.upstream.change(manifest_invalidation_time=14 * DAY)
        self.clock.advance(14 * DAY)
        two = self.upstream.add(raw("two"), "latest")
        self.assertEqual((self.one, AGE), (self.served(), self.get().ttl))
        self.clock.advance(AGE)
        self.assertEqual(two, self.served())

    def test_used(self) -> None:
        """The previous manifest is in use while it is served, and so is not evicted for being idle."""
        self.move()
        self.clock.advance(AGE / 2)
        self.served()
        now = self.clock.seconds()
        self.assertTrue(self.manifest_store.used_since("example.com", self.one.digest, now))

    def test_by_digest(self) -> None:
        """A pull by digest gets what it asks for."""
        two = self.move()
        self.served()
        served = self.get(two.digest)
        self.assertEqual((two, None), (served.manifest, served.older_reason))
        self.assertEqual(self.one, self.served())

    def test_unknown_tags(self) -> None:
        """The first digest of a tag is served at once."""
        two = self.upstream.add(raw("two"), "new")
        self.assertEqual(two, self.get(Tag("new")).manifest)

    def test_patterns(self) -> None:
        """A tag that no pattern matches follows upstream at once."""
        self.set_age(AGE, "other/*")
        self.assertEqual(self.move(), self.served())

    def test_back(self) -> None:
        """If upstream goes back before that, nothing has happened."""
        self.move()
        self.served()
        self.move("one")
        served = self.get()
        self.assertEqual((self.one, None), (served.manifest, served.older_reason))
        self.clock.advance(AGE)
        self.assertEqual(self.one, self.served())

    def test_reload(self) -> None:
        """Another minimum age holds at once."""
        two = self.move()
        self.served()
        self.set_age(2 * HOUR)
        self.clock.advance(HOUR)
        self.assertEqual(self.one, self.served())
        self.set_age(0.0)
        self.assertEqual(two, self.served())

    def test_restart(self) -> None:
        """A wait continues where it was after a restart."""
        two = self.move()
        self.served()
        self.clock.advance(AGE - 1)
        self.restart()
        self.assertEqual(self.one, self.served())
        self.clock.advance(1)
        self.restart()
        self.assertEqual(two, self.served())

    def test_upstream_down(self) -> None:
        """While upstream is down nothing is adopted, and the previous digest is served stale."""
        two = self.move()
        self.served()
        self.upstream.error = BadGateway("down")
        self.clock.advance(AGE)
        served = self.get()
        self.assertEqual(
            (self.one, StaleReason.UNREACHABLE), (served.manifest, served.stale_reason)
        )
        self.upstream.error = None
        self.assertEqual(two, self.served())

    def test_without_head(self) -> None:
        """The same if upstream says digests only with the manifest."""
        self.upstream.says_digest = False
        two = self.move()
        served = self.get()
        self.assertEqual((self.one, Outcome.REVALIDATED), (served.manifest, served.outcome))
        self.clock.advance(AGE)
        self.assertEqual(two, self.served())

    def test_while_revalidating(self) -> None:
        """A tag that is served while it is revalidated is adopted in the background."""
        self.upstream.change(stale_while_revalidate=30 * DAY)
        two = self.move()
        self.assertEqual(self.one, self.served())
        self.clock.advance(AGE)
        stale = self.get()
        self.assertEqual((self.one, Outcome.STALE), (stale.manifest, stale.outcome))
        self.assertEqual(two, self.served())

    def test_removed_and_made_again(self) -> None:
        """A tag that was gone upstream is not unknown when it comes back."""
        two = self.move()
        del self.upstream.manifests["latest"]
        self.refused(ManifestUnknown)
        self.assertNotIn(tag_key("example.com", "library/app", "latest"), self.stored())
        self.restart()
        self.upstream.add(raw("two"), "latest")
        self.assertEqual(self.one, self.served())
        self.clock.advance(AGE)
        self.assertEqual(two, self.served())

    def test_evicted(self) -> None:
        """If the previous manifest is not stored any more, it is fetched by its digest."""
        self.move()
        self.served()
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        self.clock.advance(HOUR)
        self.asked()
        served = self.get()
        self.assertEqual((self.one, OlderReason.MIN_AGE), (served.manifest, served.older_reason))
        self.assertEqual(["GET", "GET"], self.asked())
        self.assertIn(manifest_key("example.com", self.one.digest), self.stored())

    def test_previous_is_gone(self) -> None:
        """If it is nowhere, the new one is served, and a warning is logged."""
        two = self.move()
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        del self.upstream.manifests[str(self.one.digest)]
        lines = self.lines()
        self.assertEqual(two, self.served())
        (line,) = (line for line in lines if "before its min_age" in line)
        self.assertIn(str(two.digest), line)
        self.clock.advance(HOUR)
        self.assertEqual(two, self.served())

    def test_previous_is_out_of_reach(self) -> None:
        """If it cannot be fetched just now, that is the error."""
        self.move()
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        manifest = FakeUpstream.manifest

        async def fail(
            upstream: FakeUpstream, repository: str, reference: Tag | Digest, **_: bool
        ) -> Manifest:
            if reference == self.one.digest:
                raise BadGateway("down")
            return await manifest(upstream, repository, reference)

        with patch.object(FakeUpstream, "manifest", fail):
            self.refused(BadGateway)

    def test_imported(self) -> None:
        """An imported tag is served until the digest that upstream names is old enough."""
        two = self.upstream.add(raw("two"), "imported")
        self.clock.advance(HOUR)
        record = TagRecord(self.one.digest, "t", self.clock.seconds(), imported=True)
        self.now(self.tag_store.put("example.com", "library/app", "imported", record))
        served = self.get(Tag("imported"))
        self.assertEqual((self.one, OlderReason.MIN_AGE), (served.manifest, served.older_reason))
        self.clock.advance(AGE)
        self.assertEqual(two, self.get(Tag("imported")).manifest)

    def test_clock_set_back(self) -> None:
        """After the clock was set back, a digest waits no longer than its minimum age."""
        two = self.move()
        self.served()
        self.clock.rightNow -= 30 * DAY
        self.assertEqual(self.one, self.served())
        self.clock.advance(AGE)
        self.assertEqual(two, self.served())

    def test_offline(self) -> None:
        """A registry that is offline names nothing, so nothing is adopted."""
        self.move()
        self.served()
        self.upstream.change(offline=True)
        self.clock.advance(AGE)
        served = self.get()
        self.assertEqual((self.one, StaleReason.OFFLINE), (served.manifest, served.stale_reason))


class Recorded(MinAgeTestCase):
    """What is recorded, logged and counted."""

    def test_history(self) -> None:
        """The history has both digests, from the first sight on."""
        begun = self.clock.seconds()
        two = self.move()
        seen = self.clock.seconds()
        self.served()
        self.restart()
        history = self.now(self.histories.get("example.com", "library/app", "latest"))
        assert history is not None
        found = {one.digest: (one.first, one.adopted) for one in history.sightings}
        self.assertEqual({self.one.digest: (begun, True), two.digest: (seen, False)}, found)

    def test_written_once(self) -> None:
        """Revalidations while a digest waits write nothing that has not changed."""
        self.upstream.change(manifest_invalidation_time=0.0)
        self.move()
        self.served()
        before = self.driver._objects[history_key("example.com", "library/app", "latest")]
        for _ in range(10):
            self.clock.advance(1)
            self.served()
        after = self.driver._objects[history_key("example.com", "library/app", "latest")]
        self.assertIs(before, after)

    def test_never_moved(self) -> None:
        """A tag without a minimum age that has never moved has no history beside its record."""
        self.set_age(0.0)
        self.upstream.add(raw("two"), "other")
        self.get(Tag("other"))
        self.assertNotIn(history_key("example.com", "library/app", "other"), self.stored())
        self.assertIn(history_key("example.com", "library/app", "latest"), self.stored())

    def test_known_before(self) -> None:
        """A tag that was known before it had a minimum age is not new after its record was evicted."""
        self.set_age(0.0)
        tag, names = Tag("other"), (*NAMES[:2], "other")
        self.upstream.add(raw("one"), "other")
        self.get(tag)
        self.assertNotIn(history_key(*names), self.stored())
        self.set_age(AGE)
        self.clock.advance(HOUR)
        self.driver.broken = "disk on fire"
        self.get(tag)
        self.driver.broken = None
        for _ in range(2):
            self.clock.advance(HOUR)
            self.get(tag)
        before = self.driver._objects[history_key(*names)]
        self.restart()
        self.clock.advance(HOUR)
        self.get(tag)
        self.assertIs(before, self.driver._objects[history_key(*names)])
        self.now(self.tag_store.delete(*names))
        self.restart()
        self.upstream.add(raw("two"), "other")
        self.assertEqual(self.one, self.get(tag).manifest)

    def test_logged(self) -> None:
        """Each step is logged once, with both digests, and counted."""
        lines = self.lines()
        two = self.move()
        for _ in range(3):
            self.served()
            self.clock.advance(HOUR)
        self.clock.advance(AGE)
        self.served()
        waits, adopted = (line for line in lines if "library/app" in line)
        self.assertEqual(
            f"example.com/library/app:latest: the new digest {two.digest} is adopted when it has been seen "
            f"for 3d (min_age); {self.one.digest} is served until then",
            waits,
        )
        self.assertEqual(
            f"example.com/library/app:latest: now {two.digest}, before {self.one.digest}", adopted
        )
        for result, count in (("waiting", 3), ("adopted", 1)):
            labels = {"namespace": "example.com", "result": result}
            self.assertEqual(count, self.counted("oci_registry_tag_moves_total", **labels))

    def test_broken_store(self) -> None:
        """With a store that cannot be read, what is in memory decides."""
        two = self.move()
        self.driver.broken = "disk on fire"
        self.assertEqual(self.one, self.served())
        self.clock.advance(AGE)
        self.assertEqual(two, self.served())
