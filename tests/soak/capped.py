"""A store with a limit, which somebody looks after all the time while its disk goes bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from traceback import format_exc
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater

from tests.soak.admin import Admin
from tests.soak.afterwards import Remains
from tests.soak.capped_figures import CappedFigures
from tests.soak.client import Habits, Puller
from tests.soak.damage import Damage, is_right, stored_blobs
from tests.soak.getting import Getter, NotHarmed
from tests.soak.images import Images
from tests.soak.operator import Operator
from tests.soak.scrubbing import Scrubber
from tests.soak.watching import DiskUse, Kept

HABITS = Habits(moving=0.3, by_digest=0.2, by_tag=0.2, aborts=0.05, popular=True)
BEGINNING = 5.0
"""Seconds after the start until the store is looked after."""
SETTLING = 40.0
"""Seconds after the last pull in which images without all of their blobs are removed."""
_HARM_EVERY = (1.0, 5.0)
_SCRUB_EVERY = (0.0, 6.0)
_ACT_EVERY = (0.0, 0.6)
_COMMAND_EVERY = (0.0, 2.0)


@frozen
class Place:
    """Where the daemon is: its *port*, the *root* of its store; and the *seed* of the run."""

    reactor: Any
    port: int
    root: Path
    seed: int


class Capped:
    """Looks after the store while clients pull, and looks at what is left in the end.

    *cap*: the limit in bytes. *seen*: what clients count.
    """

    def __init__(self, place: Place, images: Images, cap: int, seen: Counter[str]) -> None:
        self.figures = CappedFigures(cap, seen=seen)
        self._place = place
        self._images = images
        self._seen = seen
        self._clock = place.reactor
        counts = self.figures.counts
        self._admin = Admin(self._clock, place.root)
        self._use = DiskUse(place.root)
        self._damage = Damage(place.root, self._random("damage"), counts)
        self._kept = Kept(place.root, self._damage)
        self._scrubber = Scrubber(
            self._clock, self._admin, self._random("scrub"), counts, self._damage
        )
        # A client of its own, for what the operator wants to have.
        self._own = self._puller("operator")
        self._operator = Operator(
            self._admin,
            images,
            self._random("operator"),
            counts,
            self._kept,
            self._own,
            f"http://127.0.0.1:{place.port}",
        )
        self._watching = LoopingCall(self._look)
        self._watching.clock = self._clock
        self._loops: list[Deferred[None]] = []
        self._going_on = True
        self._crashes: list[str] = []

    def _random(self, name: str) -> Random:
        return Random(f"{self._place.seed}/{name}")

    def _puller(self, name: str) -> Puller:
        held = {} if name == "operator" else self._operator.held
        return Puller(
            self._clock,
            self._place.port,
            self._images,
            self._random(name),
            self._seen,
            Habits() if name == "operator" else HABITS,
            self._damage,
            held,
        )

    def puller(self, number: int) -> Puller:
        """Return a client."""
        return self._puller(str(number))

    def begin(self) -> None:
        """Begin to look after the store."""
        self._watching.start(1.0).addErrback(lambda failure: failure.printTraceback())
        for act, pauses in (
            (self._operator.act, _ACT_EVERY),
            (self._operator.command, _COMMAND_EVERY),
            (self._scrubber.one_pass, _SCRUB_EVERY),
            (self._harm, _HARM_EVERY),
        ):
            self._loops.append(Deferred.fromCoroutine(self._repeat(act, pauses)))

    def _look(self) -> None:
        self._use.look()
        self._kept.look()
        self._damage.look()

    async def _harm(self) -> None:
        self._damage.harm(self._clock.seconds())

    async def _repeat(
        self, act: Callable[[], Awaitable[object]], pauses: tuple[float, float]
    ) -> None:
        random = self._random(f"pauses {act.__name__}")
        await deferLater(self._clock, BEGINNING)
        while self._going_on:
            try:
                await act()
            except Exception:
                # Without it, others would wait for ever; it is among what must not be.
                self._crashes.append(f"{act.__name__}: {format_exc()}")
            await deferLater(self._clock, random.uniform(*pauses))

    async def settle(self) -> None:
        """The clients have left: do no more, and wait until the store is at rest."""
        self._going_on = False
        await gatherResults(self._loops, consumeErrors=True)
        # Nobody has pulled these whole so far.
        for digest in sorted(self._operator.unfinished, key=str):
            image = self._images.by_digest(digest)
            assert image is not None
            await self._own.pull(image)
        await self._scrubber.last()
        await deferLater(self._clock, SETTLING)
        self._watching.stop()
        self._look()

    async def afterwards(self) -> None:
        """The upstream is gone: pull what is left."""
        lost = {
            digest for digest in self._damage.ever if digest not in stored_blobs(self._place.root)
        }
        getter = Getter(
            self._clock, self._place.port, self._random("getter"), Counter(), NotHarmed()
        )
        remains = Remains(getter, self._images, lost)
        await remains.pull_all(self._random("remains"))
        self._collect(remains)

    def _collect(self, remains: Remains) -> None:
        figures, root = self.figures, self._place.root
        figures.afterwards = remains.found
        figures.most, figures.most_written = self._use.most, self._use.most_written
        figures.looks, figures.kept_looks = self._use.looks, self._kept.looks
        figures.gone, figures.left = self._kept.gone, self._damage.left
        figures.wrong = self._operator.wrong + self._scrubber.wrong + self._crashes
        figures.corrupt = [str(one) for one in stored_blobs(root) if not is_right(root, one)]

    def failures(self) -> list[str]:
        """Return what the operator's own pulls have met."""
        return self._own.failures
