"""Any story of a tag, compared with a model of what is to be served."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from oci_registry.config.settings import AgeRule, MinAges
from oci_registry.pullthrough.served import OlderReason
from oci_registry.pullthrough.tag_control import NotPossible
from oci_registry.spec.digest import Digest
from oci_registry.spec.patterns import parse_pattern
from oci_registry.spec.reference import Tag
from tests import examples
from tests.support.generated import evenly, events
from tests.unit.pullthrough.manifest_case import LATEST, raw
from tests.unit.pullthrough.support import CacheTestCase

AGES = (0.0, 1000.0, 5000.0)
IMAGES = range(4)
NAMES = ("example.com", "library/app", "latest")
WAITS = (0, 1, 300, 997, 998, 999, 1000, 2000, 4000, 4997, 4998, 4999, 5000, 6000)
"""Seconds; a minimum age is exactly over after some of them, and after sums of others."""
STEPS = evenly(
    events("move", IMAGES),
    events("wait", WAITS),
    events("age", range(len(AGES))),
    events("hold", IMAGES),
    [(step, 0) for step in ("release", "adopt", "restart", "evict", "lose", "by digest")],
)


class Model:
    """What is to be served: `served` without a hold, and since when upstream names the digest `named`."""

    def __init__(self) -> None:
        self.held: Digest | None = None
        self.served: Digest | None = None
        self.known: set[Digest] = set()
        self.seen: set[Digest] = set()
        self.named: Digest | None = None
        self.since = 0.0

    def pulled(self, named: Digest, age: float, now: float) -> Digest:
        """Return what a pull gets while upstream names a digest."""
        if named != self.named:
            self.named, self.since = named, now
        self.seen.add(named)
        if self.served is None or named in self.known or now - self.since >= age:
            self.adopt()
        assert self.served is not None
        return self.held or self.served

    def adopt(self) -> None:
        """Serve what upstream names."""
        assert self.named is not None
        self.served = self.named
        self.known.add(self.named)

    @property
    def waits(self) -> bool:
        return self.served != self.named


class Stories(CacheTestCase):
    """A tag that is revalidated at each pull, and whatever may happen to it."""

    def begin(self) -> None:
        """Begin a story."""
        super().setUp()
        self.model = Model()
        self.upstream.change(manifest_invalidation_time=0.0)
        self.digests = [self.upstream.add(raw(str(number))).digest for number in IMAGES]
        self.do("age", 1)
        self.do("move", 0)
        self.check()

    def do(self, step: str, number: int) -> None:
        """Let one thing happen, if it can."""
        self.clock.advance(1)
        model = self.model
        if step == "move":
            self.upstream.add(raw(str(number)), "latest")
        elif step == "wait":
            self.clock.advance(number)
        elif step == "age":
            self.age = AGES[number]
            self.upstream.change(min_age=MinAges((AgeRule(parse_pattern("*"), self.age),)))
        elif step == "hold" and self.digests[number] in model.seen:
            self.now(self.control.hold(*NAMES, self.digests[number]))
            model.held = self.digests[number]
        elif step == "release" and model.held is not None:
            self.now(self.control.release(*NAMES))
            model.held = None
        elif step == "adopt":
            self.try_to_adopt()
        elif step == "restart":
            self.restart()
        elif step == "evict" and self.age and model.served is not None:
            # As the sweep does: the tag, then the manifest.
            self.now(self.tag_store.delete(*NAMES))
            self.now(self.manifest_store.delete("example.com", model.served))
        elif step == "lose" and self.age:
            # The tag is gone upstream for a while.
            current = self.upstream.manifests.pop("latest")
            Deferred.fromCoroutine(self.manifests.get(self.target, LATEST)).addErrback(
                lambda _: None
            )
            self.upstream.manifests["latest"] = current
        elif step == "by digest":
            for digest in self.digests:
                served = self.now(self.manifests.get(self.target, digest))
                self.assertEqual((digest, None), (served.manifest.digest, served.older_reason))

    def try_to_adopt(self) -> None:
        """Adopt what waits; nothing waits if it is served already, and a hold forbids it."""
        if self.model.waits and self.model.held is None:
            self.now(self.control.adopt(*NAMES))
            self.model.adopt()
        else:
            self.fails(self.control.adopt(*NAMES), NotPossible)

    def check(self) -> None:
        """Pull, and compare with the model; again from memory."""
        named = self.upstream.manifests["latest"].digest
        expected = self.model.pulled(named, self.age, self.clock.seconds())
        for _ in range(2):
            served = self.now(self.manifests.get(self.target, Tag("latest")))
            self.assertEqual(expected, served.manifest.digest)
            reason = None
            if self.model.held is not None:
                reason = OlderReason.HOLD
            elif self.model.waits:
                reason = OlderReason.MIN_AGE
            self.assertIs(reason, served.older_reason)
        status = self.now(self.control.history(*NAMES))
        self.assertEqual(expected, status.digest)
        self.assertEqual(self.model.seen, {one.digest for one in status.history.sightings})
        adopted = {one.digest for one in status.history.sightings if one.adopted}
        self.assertEqual(self.model.known, adopted)

    @settings(max_examples=examples(2))
    @given(st.lists(STEPS, min_size=12, max_size=25))
    def test_any_story(self, steps: list[tuple[str, int]]) -> None:
        """A hold always wins; no digest is served before its time, unless it was served or adopted before."""
        self.begin()
        for step in steps:
            self.do(*step)
            self.check()
