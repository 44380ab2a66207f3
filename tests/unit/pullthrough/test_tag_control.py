"""What an operator does about tags, and what is served then."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.holding import INTERVAL, PATIENCE
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.served import OlderReason
from oci_registry.pullthrough.tag_control import NotPossible, TagStatus, shown_time
from oci_registry.spec.errors import BadGateway, ManifestUnknown
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Tag
from oci_registry.storage.holds import HoldStore
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import HOLDS, history_key, hold_key, tag_key
from tests.unit.pullthrough.manifest_case import HOUR, LATEST, raw
from tests.unit.pullthrough.test_min_age import AGE, MinAgeTestCase

NAMES = ("example.com", "library/app", "latest")


class ControlTestCase(MinAgeTestCase):
    """A tag that has moved once, long ago, and what controls it."""

    def setUp(self) -> None:
        super().setUp()
        self.set_age(0.0)
        self.two = self.move()
        self.assertEqual(self.two, self.served())
        self.asked()

    def ask(self, work: Coroutine[Any, Any, TagStatus]) -> TagStatus:
        return self.now(work)

    def is_held(self, manifest: Manifest) -> None:
        """The tag is held, and this is what it is held at."""
        served = self.get()
        self.assertEqual(
            (manifest, OlderReason.HOLD, None),
            (served.manifest, served.older_reason, served.ttl),
        )
        self.assertIsNone(self.manifests.hit(self.target, LATEST, served))


class Holds(ControlTestCase):
    """Tags that are held."""

    def test_hold(self) -> None:
        """A held tag stays at what was served, across restarts, whatever upstream says; a release ends that."""
        self.ask(self.control.hold(*NAMES))
        three = self.move("three")
        self.is_held(self.two)
        self.restart()
        self.is_held(self.two)
        status = self.ask(self.control.release(*NAMES))
        self.assertIsNone(status.hold)
        self.assertEqual(three, self.served())
        self.restart()
        self.assertEqual(three, self.served())

    def test_at_a_digest(self) -> None:
        """A tag can be held at any digest that it has had, and at another one then."""
        for manifest in (self.one, self.two):
            status = self.ask(self.control.hold(*NAMES, manifest.digest))
            self.assertEqual(manifest.digest, status.digest)
            self.is_held(manifest)
        unseen = self.upstream.add(raw("unseen"))
        self.fails(self.control.hold(*NAMES, unseen.digest), ManifestUnknown)
        self.is_held(self.two)

    def test_rollback(self) -> None:
        """A rollback holds the digest that was served before; another one the one before that."""
        three = self.move("three")
        self.served()
        for manifest in (self.two, self.one):
            self.assertEqual(manifest.digest, self.ask(self.control.rollback(*NAMES)).digest)
            self.is_held(manifest)
        self.fails(self.control.rollback(*NAMES), NotPossible)
        self.ask(self.control.rollback(*NAMES, three.digest))
        self.is_held(three)

    def test_wins(self) -> None:
        """A hold wins over a minimum age, and the time during the hold counts."""
        self.set_age(AGE)
        self.ask(self.control.hold(*NAMES))
        three = self.move("three")
        self.is_held(self.two)
        self.clock.advance(AGE)
        self.is_held(self.two)
        self.fails(self.control.adopt(*NAMES), NotPossible)
        self.ask(self.control.release(*NAMES))
        self.assertEqual(three, self.served())

    def test_manifest_is_gone(self) -> None:
        """A manifest that is not stored is fetched before the hold; if it is nowhere, nothing is held."""
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        self.ask(self.control.hold(*NAMES, self.one.digest))
        self.assertEqual(["GET"], self.asked())
        self.is_held(self.one)
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)
        self.upstream.error = None
        del self.upstream.manifests[str(self.one.digest)]
        error = self.fails(self.manifests.get(self.target, LATEST), ManifestUnknown)
        self.assertIn(f"is held here at {self.one.digest}", str(error))
        self.ask(self.control.release(*NAMES))
        self.fails(self.control.rollback(*NAMES), ManifestUnknown)
        self.assertEqual(self.two, self.served())

    def test_recorded(self) -> None:
        """While a tag is held, upstream is asked in the background, no more often than otherwise."""
        self.ask(self.control.hold(*NAMES))
        three = self.move("three")
        for _ in range(3):
            self.is_held(self.two)
        self.assertEqual(["HEAD", "GET once"], self.asked())
        status = self.ask(self.control.history(*NAMES))
        self.assertIsNotNone(status.history.find(three.digest))
        self.upstream.change(offline=True)
        self.clock.advance(HOUR)
        self.is_held(self.two)
        self.assertEqual([], self.asked())

    def test_outcome(self) -> None:
        """A held tag is a hit, as a digest is."""
        self.ask(self.control.hold(*NAMES))
        self.assertEqual(Outcome.HIT, self.get().outcome)

    def test_head(self) -> None:
        """Upstream is asked with HEAD, whatever is in memory; the record outlives a 404 as without a hold."""
        self.upstream.change(trust_not_found=False)
        self.ask(self.control.hold(*NAMES, self.one.digest))
        self.restart()
        self.clock.advance(HOUR)
        self.is_held(self.one)
        self.assertEqual(["HEAD"], self.asked())
        del self.upstream.manifests["latest"]
        self.restart()
        self.clock.advance(HOUR)
        self.is_held(self.one)
        self.assertIn(tag_key(*NAMES), self.stored())
        self.ask(self.control.release(*NAMES))
        self.assertEqual(self.two, self.served())

    def test_meanwhile(self) -> None:
        """A hold that is set while a client waits for the store counts for it."""
        get, gate = self.driver.get, Deferred[None]()

        async def slow(key: str, limit: int) -> bytes | None:
            if key == tag_key(*NAMES):
                await gate
            return await get(key, limit)

        self.restart()
        self.get(self.one.digest)
        with patch.object(self.driver, "get", slow):
            waiting = self.begin()
            self.assertNoResult(waiting)
            self.now(self.holds.put(*NAMES, self.one.digest, self.clock.seconds()))
            gate.callback(None)
        served = self.successResultOf(waiting)
        self.assertEqual((self.one, OlderReason.HOLD), (served.manifest, served.older_reason))

    def test_ready_answers(self) -> None:
        """A hold ends the answers that could be repeated, and none is made of what was served before."""
        served = self.get()
        hit = self.manifests.hit(self.target, LATEST, served)
        assert hit is not None
        self.assertTrue(hit.hits.holds(hit.packed))
        self.now(self.holds.put(*NAMES, self.one.digest, self.clock.seconds()))
        self.assertFalse(hit.hits.holds(hit.packed))
        self.assertIsNone(self.manifests.hit(self.target, LATEST, served))
        self.is_held(self.one)

    def test_warmed(self) -> None:
        """What is warmed is what the tag is held at."""
        self.ask(self.control.hold(*NAMES, self.one.digest))
        warmed, _ = self.now(self.background.manifest(self.target, LATEST))
        self.assertEqual(self.one, warmed)
        self.restart()
        warmed, _ = self.now(self.background.manifest(self.target, LATEST))
        self.assertEqual(self.one, warmed)
        self.now(self.manifest_store.delete("example.com", self.one.digest))
        warmed, _ = self.now(self.background.manifest(self.target, LATEST))
        self.assertEqual(self.one, warmed)

    def test_durable(self) -> None:
        """A hold that cannot be written is an error, and does not hold."""
        self.driver.broken = "disk on fire"
        self.fails(self.control.hold(*NAMES), StoreError)
        self.driver.broken = None
        self.move("three")
        self.assertIsNone(self.get().older_reason)

    def test_other_process(self) -> None:
        """A hold that another process has set is known after some seconds; those that are known stay."""
        self.now(HoldStore(self.driver).put(*NAMES, self.one.digest, self.clock.seconds()))
        self.assertEqual(self.two, self.served())
        self.holding.start()
        self.addCleanup(self.holding.stop)
        self.is_held(self.one)
        self.driver.broken = "disk on fire"
        self.clock.advance(INTERVAL)
        self.is_held(self.one)
        self.driver.broken = None
        self.now(HoldStore(self.driver).remove(*NAMES))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.two, self.served())

    def test_unreadable(self) -> None:
        """If holds cannot be read at the start, pulls go on, and they are read as soon as that is possible."""
        self.driver.place(hold_key(*NAMES, self.one.digest), b"", sealed=True)
        self.restart()
        self.driver.broken = "disk on fire"
        self.assertEqual(self.two, self.served())
        self.driver.broken = None
        self.clock.advance(INTERVAL)
        self.is_held(self.one)

    def test_hanging(self) -> None:
        """A client waits for the first reading for a moment and no longer."""

        async def hang(_prefix: str) -> Any:
            await self.upstream._begin("hang")
            yield None

        self.restart()
        self.driver.list = hang  # type: ignore[method-assign, assignment]
        self.upstream.holding = True
        waiting = self.begin()
        self.assertNoResult(waiting)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.two, self.successResultOf(waiting).manifest)
        self.assertEqual(self.two, self.served())


class Others(ControlTestCase):
    """Histories, adoptions and errors."""

    def test_history(self) -> None:
        """The history says what is served, what waits, until when, and what was served before."""
        self.set_age(AGE)
        three = self.move("three")
        seen = self.clock.seconds()
        self.served()
        told = self.ask(self.control.history(*NAMES)).to_json()
        history = told.pop("history")
        self.assertEqual(
            {
                "digest": str(self.two.digest),
                "hold": None,
                "waiting": {
                    "digest": str(three.digest),
                    "since": shown_time(seen),
                    "adoptable": shown_time(seen + AGE),
                },
            },
            told,
        )
        assert isinstance(history, list)
        self.assertEqual(
            [
                (str(three.digest), False),
                (str(self.two.digest), True),
                (str(self.one.digest), True),
            ],
            [(one["digest"], one["adopted"]) for one in history],
        )
        self.assertEqual("2023-11-14T22:13:20Z", history[2]["first_seen"])
        self.assertEqual(shown_time(seen - HOUR), history[1]["first_seen"])
        self.assertEqual(["HEAD"], self.asked())

    def test_of_a_record_alone(self) -> None:
        """A tag that has never moved has a history too, and one that is not stored any more."""
        self.upstream.add(raw("other"), "other")
        self.get(Tag("other"))
        other = self.ask(self.control.history("example.com", "library/app", "other"))
        self.assertEqual([True], [one.adopted for one in other.history.sightings])
        self.now(self.tag_store.delete(*NAMES))
        gone = self.ask(self.control.history(*NAMES))
        self.assertEqual((None, 2), (gone.digest, len(gone.history.sightings)))
        self.fails(self.control.hold(*NAMES), NotPossible)

    def test_adopt(self) -> None:
        """What waits can be adopted at once."""
        self.set_age(AGE)
        three = self.move("three")
        self.assertEqual(self.two, self.served())
        status = self.ask(self.control.adopt(*NAMES))
        self.assertEqual(three.digest, status.digest)
        self.asked()
        served = self.get()
        self.assertEqual(
            (three, Outcome.HIT, None), (served.manifest, served.outcome, served.older_reason)
        )
        self.assertEqual([], self.asked())
        self.restart()
        self.clock.advance(HOUR)
        self.assertEqual(three, self.served())
        self.fails(self.control.adopt(*NAMES), NotPossible)

    def test_adopt_meanwhile(self) -> None:
        """An adoption is not undone by a revalidation that began before it."""
        self.set_age(AGE)
        three = self.move("three")
        self.served()
        decision = self.now(self.known.decide(self.target, LATEST, three.digest))
        self.ask(self.control.adopt(*NAMES))
        self.known.confirm(self.target, LATEST, self.two, decision)
        self.assertEqual(three, self.served())

    def test_release_of_nothing_else(self) -> None:
        """A hold can be released when nothing else is known of the tag any more."""
        self.ask(self.control.hold(*NAMES))
        self.now(self.tag_store.delete(*NAMES))
        self.driver._objects.pop(history_key(*NAMES))
        status = self.ask(self.control.release(*NAMES))
        self.assertEqual((None, None), (status.digest, status.hold))
        self.assertEqual([], [key for key in self.driver._objects if key.startswith(HOLDS)])

    def test_errors(self) -> None:
        """What cannot be done says why, and nothing changes."""
        unknown = ("example.com", "library/app", "unknown")
        for work in (
            self.control.history(*unknown),
            self.control.hold(*unknown),
            self.control.release(*unknown),
            self.control.rollback(*unknown),
            self.control.adopt(*unknown),
        ):
            self.fails(work, ManifestUnknown)
        self.fails(self.control.release(*NAMES), NotPossible)
        self.fails(self.control.adopt(*NAMES), NotPossible)
        self.assertEqual(self.two, self.served())

    def test_too_many(self) -> None:
        """There is a most of holds."""
        self.holds._most = 0
        self.fails(self.control.hold(*NAMES), NotPossible)

    def test_odd_times(self) -> None:
        """Any time can be shown."""
        self.assertEqual("1970-01-01T00:00:00Z", shown_time(-5))
        self.assertEqual("9999-12-31T23:59:59Z", shown_time(1e300))
