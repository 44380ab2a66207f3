"""Which digest of a tag is served: a pure decision.

All times are seconds since the epoch, all durations seconds. Only what this daemon has seen counts:
dates in images and headers can be forged.
"""

from __future__ import annotations

from attrs import evolve, frozen

from oci_registry.spec.digest import Digest
from oci_registry.storage.histories import Sighting, TagHistory
from oci_registry.storage.tags import TagRecord, Waiting


@frozen
class Decision:
    """The *digest* to serve, which digest is *waiting*, if any, and *seen*: what is to be recorded.

    *moved*: another digest is served than before, or waits.
    """

    digest: Digest
    waiting: Waiting | None
    seen: tuple[Sighting, ...]
    moved: bool

    def adopted(self) -> Decision:
        """Return the same without waiting: the previous digest cannot be had any more."""
        if self.waiting is None:
            return self
        digest = self.waiting.digest
        seen = tuple(evolve(one, adopted=one.adopted or one.digest == digest) for one in self.seen)
        return Decision(digest, None, seen, moved=True)


def decide(
    record: TagRecord | None,
    history: TagHistory,
    named: Digest,
    min_age: float,
    now: float,
) -> Decision:
    """Decide about a tag of which upstream says now that it means the digest *named*.

    *record*: what was served so far; None if the tag has no record. A new digest is adopted when it has
    been seen for *min_age* without another digest in between. One that was served before is adopted at
    once, and so is the first digest of a tag. A time in the future, after the clock was set back, counts as
    now.
    """
    history = history.merged(sightings_of(record))
    served = _served(history) if record is None else record.digest
    found = history.find(named)
    since = _since(record, history, named, now)
    first = since if found is None else min(found.first, since)
    is_known = found is not None and found.adopted
    is_due = record is not None and record.waiting is not None and record.waiting.is_due
    lifted = is_due and record is not None and record.named == named
    adopted = served is None or is_known or lifted or now - since >= min_age
    seen = (*sightings_of(record), Sighting(named, first, since, now, adopted=adopted))
    is_new = record is None or record.named != named
    if served is None or adopted:
        return Decision(named, None, seen, is_new or served != named)
    return Decision(served, Waiting(named, since), seen, is_new)


def _since(record: TagRecord | None, history: TagHistory, named: Digest, now: float) -> float:
    """Return since when upstream has named a digest without another one in between."""
    waiting = None if record is None else record.waiting
    if waiting is not None and waiting.digest == named and not waiting.is_due:
        return min(waiting.since, now)
    found = history.find(named)
    if found is None or any(one.last > found.last for one in history.sightings):
        return now
    if record is not None and record.checked >= found.last:
        return now
    return min(found.since, now)


def sightings_of(record: TagRecord | None) -> tuple[Sighting, ...]:
    """Return what a record says: the digest that is served, and the one that waits."""
    if record is None:
        return ()
    first = min(record.since, record.checked)
    if record.waiting is None:
        return (Sighting(record.digest, first, first, record.checked, adopted=True),)
    if record.waiting.is_due:
        return (Sighting.at(record.digest, first, adopted=True),)
    since = min(record.waiting.since, record.checked)
    return (
        # When it was last named is in the history; it was before the other one was seen.
        Sighting.at(record.digest, min(first, since), adopted=True),
        Sighting(record.waiting.digest, since, since, record.checked, adopted=False),
    )


def effective_max_age(record: TagRecord, max_age: float, min_age: float) -> float:
    """Return how long a record is fresh after it was checked: at most until a waiting digest is due."""
    if record.waiting is None:
        return max_age
    return max(0.0, min(max_age, record.waiting.since + min_age - record.checked))


def _served(history: TagHistory) -> Digest | None:
    served = history.last_adopted
    return None if served is None else served.digest
