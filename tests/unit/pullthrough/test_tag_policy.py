"""Which digest of a tag is served: a pure decision."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.pullthrough.tag_policy import (
    Decision,
    decide,
    effective_max_age,
    sightings_of,
)
from oci_registry.spec.digest import Digest
from oci_registry.storage.histories import Sighting, TagHistory
from oci_registry.storage.tags import LONG_AGO, TagRecord, Waiting

A, B, C, D = (Digest.of(name.encode()) for name in "abcd")
DAY = 86400.0
AGE = 3 * DAY
NOW = 1_700_000_000.0


class Story:
    """A tag as it is seen from time to time; *age*: its minimum age in seconds."""

    def __init__(self, age: float = AGE) -> None:
        self.age = age
        self.now = NOW
        self.record: TagRecord | None = None
        self.history = TagHistory()

    def see(self, named: Digest, after: float = 0.0) -> Digest:
        """Upstream names a digest some time later; return what is served."""
        self.now += after
        self.decide(named)
        assert self.record is not None
        return self.record.digest

    def decide(self, named: Digest) -> Decision:
        """Decide, and record that."""
        decision = decide(self.record, self.history, named, self.age, self.now)
        self.history = self.history.merged(decision.seen)
        seen = self.history.find(decision.digest)
        first = None if seen is None else seen.first
        waiting = decision.waiting
        self.record = TagRecord(decision.digest, "t", self.now, first=first, waiting=waiting)
        return decision


class Decisions(SynchronousTestCase):
    """`decide`."""

    def test_first(self) -> None:
        """The first digest of a tag is served at once."""
        self.assertEqual(A, Story().see(A))

    def test_waits(self) -> None:
        """A new digest waits until it has been seen for the minimum age, to the instant."""
        story = Story()
        story.see(A)
        served = [story.see(B, after) for after in (DAY, DAY, AGE - DAY - 0.5, 0.5)]
        self.assertEqual([A, A, A, B], served)

    def test_none(self) -> None:
        """Without a minimum age a new digest is served at once, also one that has been waiting."""
        story = Story()
        story.see(A)
        self.assertEqual(A, story.see(B, 1))
        story.age = 0.0
        self.assertEqual(B, story.see(B, 1))
        self.assertEqual(C, story.see(C, 1))

    def test_back_again(self) -> None:
        """A digest that was served before is served at once when upstream names it again."""
        story = Story()
        self.assertEqual([A, A, B], [story.see(A), story.see(B, 1), story.see(B, AGE)])
        self.assertEqual(A, story.see(A, 1))

    def test_withdrawn(self) -> None:
        """One that upstream has replaced before it was served is not; its wait begins again later."""
        story = Story()
        served = [story.see(A), story.see(B, 1), story.see(A, DAY), story.see(B, AGE)]
        self.assertEqual([A] * 4, served)
        self.assertEqual([A, B], [story.see(B, AGE - 1), story.see(B, 1)])

    def test_superseded(self) -> None:
        """The same if a third one has replaced it: only what upstream names now is adopted."""
        story = Story()
        served = [story.see(A), story.see(B, 1), story.see(C, DAY), story.see(C, AGE - 1)]
        self.assertEqual([A] * 4, served)
        self.assertEqual(C, story.see(C, 1))

    def test_hosts_disagree(self) -> None:
        """While hosts of an upstream name different digests, the one that was served stays."""
        story = Story()
        story.see(A)
        self.assertEqual({A}, {story.see(named, AGE / 2) for named in (B, A) * 10})

    def test_clock_set_back(self) -> None:
        """A wait that began in the future begins now; it does not last longer than the minimum age."""
        story = Story()
        story.see(A)
        story.see(B, 100 * DAY)
        self.assertEqual(A, story.see(B, -90 * DAY))
        self.assertEqual([A, B], [story.see(B, AGE - 1), story.see(B, 1)])

    def test_another_process(self) -> None:
        """What another process has seen earlier counts, without a record too."""
        seen = Sighting.at(B, NOW, adopted=False)
        old = TagRecord(A, "t", NOW - DAY)
        for record in (old, None):
            served = Sighting.at(A, NOW - DAY, adopted=True)
            history = TagHistory().merged([served, seen])
            decision = decide(record, history, B, AGE, NOW + AGE - 1)
            self.assertEqual((A, Waiting(B, NOW)), (decision.digest, decision.waiting))
            self.assertEqual(B, decide(record, history, B, AGE, NOW + AGE).digest)

    def test_gone_and_new(self) -> None:
        """A tag that was removed and made again is the same tag."""
        story = Story()
        story.see(A)
        story.record = None
        self.assertEqual(A, story.see(B, 1))

    def test_moved(self) -> None:
        """It is said whether something has changed, so that it is recorded only then."""
        story = Story()
        moved = [story.decide(named).moved for named in (A, A, B, B, A, A)]
        self.assertEqual([True, False, True, False, True, False], moved)

    def test_adopted_early(self) -> None:
        """A decision can be lifted."""
        story = Story()
        story.see(A)
        decision = decide(story.record, story.history, B, AGE, story.now + 1)
        lifted = decision.adopted()
        self.assertEqual((B, None, True), (lifted.digest, lifted.waiting, lifted.moved))
        self.assertEqual([True, True], [one.adopted for one in lifted.seen])
        self.assertIs(lifted, lifted.adopted())

    def test_due(self) -> None:
        """A digest that is due is adopted, and was first seen when it was first seen."""
        record = TagRecord(A, "t", NOW, first=NOW - DAY, waiting=Waiting(B, LONG_AGO))
        seen = Sighting(B, NOW - 5, NOW - 5, NOW, adopted=True)
        history = TagHistory().merged([seen, *sightings_of(record)])
        decision = decide(record, history, B, AGE, NOW + 10)
        self.assertEqual((B, None), (decision.digest, decision.waiting))
        known = history.merged(decision.seen)
        self.assertEqual([NOW - 5, NOW - DAY], [one.first for one in known.sightings])
        # The history may be lost.
        alone = decide(record, TagHistory(), B, AGE, NOW + 10)
        self.assertEqual((B, NOW + 10), (alone.digest, alone.seen[-1].first))
        self.assertEqual(A, decide(record, history, C, AGE, NOW + 10).digest)

    @given(
        st.lists(
            st.tuples(st.sampled_from([A, B, C, D]), st.floats(0.0, 2 * AGE)),
            min_size=1,
            max_size=30,
        ),
        st.sampled_from([0.0, DAY, AGE]),
    )
    def test_any_story(self, seen: list[tuple[Digest, float]], age: float) -> None:
        """Never is a digest served that is younger, unless it was served before; all times are in order."""
        story, served = Story(age), set[Digest]()
        begun = NOW
        before: Digest | None = None
        for named, after in seen:
            begun = begun if named == before else story.now + after
            before = named
            digest = story.see(named, after)
            if served and digest not in served:
                self.assertEqual(named, digest)
                self.assertGreaterEqual(story.now - begun, age)
            if named in served or story.now - begun >= age:
                self.assertEqual(named, digest)
            served.add(digest)
            assert story.record is not None
            waiting = story.record.waiting
            self.assertEqual(named == digest, waiting is None)
            if waiting is not None:
                self.assertEqual((named, begun), (waiting.digest, waiting.since))
            for one in story.history.sightings:
                self.assertTrue(NOW <= one.first <= one.since <= one.last <= story.now, one)
                self.assertEqual(one.digest in served, one.adopted)


class MaxAges(SynchronousTestCase):
    """`effective_max_age`, and what a record says."""

    def test_until_due(self) -> None:
        """A tag is fresh until a waiting digest is due, and no longer than it would be."""
        record = TagRecord(A, "t", NOW, waiting=Waiting(B, NOW - DAY))
        for max_age, expected in ((14 * DAY, 2 * DAY), (DAY, DAY)):
            self.assertEqual(expected, effective_max_age(record, max_age, AGE))
        self.assertEqual(0, effective_max_age(record, 14 * DAY, 0.0))
        self.assertEqual(DAY, effective_max_age(evolve(record, waiting=None), DAY, AGE))

    def test_sightings(self) -> None:
        """A record is a history, however old its format."""
        self.assertEqual((), sightings_of(None))
        self.assertEqual((Sighting.at(A, NOW, adopted=True),), sightings_of(TagRecord(A, "t", NOW)))
        record = TagRecord(A, "t", NOW, first=NOW - DAY)
        self.assertEqual(
            (Sighting(A, NOW - DAY, NOW - DAY, NOW, adopted=True),), sightings_of(record)
        )
        served, waits = sightings_of(evolve(record, waiting=Waiting(B, NOW - 5)))
        self.assertEqual((A, NOW - DAY, True), (served.digest, served.last, served.adopted))
        self.assertEqual(Sighting(B, NOW - 5, NOW - 5, NOW, adopted=False), waits)
