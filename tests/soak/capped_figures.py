"""What a capped soak has shown besides, and what of it must not be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import Factory, define

from tests.soak.afterwards import Afterwards

MIB = 1024 * 1024
FILLED = 0.7
"""The part of the limit that the store must have reached, or it was not tried."""
MUST = (
    "passes",
    "scrubbed found",
    "removals",
    "pins",
    "holds",
    "warmed images",
)
"""What has to be done at least once."""


@define
class CappedFigures:
    """*cap*, *most*, *most_written*: bytes. *counts*: what was done, and found.

    *gone*: what was pinned or held, and was not there. *left*: what was damaged, and no scrub has found.
    *wrong*: answers of the API and commands that must not be. *corrupt*: blobs that are wrong in the end.
    *errors*: lines of the log. *seen*: what clients have counted.
    """

    cap: int
    counts: Counter[str] = Factory(Counter)
    seen: Counter[str] = Factory(Counter)
    most: int = 0
    most_written: int = 0
    looks: int = 0
    kept_looks: int = 0
    gone: Sequence[str] = ()
    left: Sequence[str] = ()
    wrong: Sequence[str] = ()
    corrupt: Sequence[str] = ()
    errors: Sequence[str] = ()
    afterwards: Afterwards = Factory(Afterwards)

    def broken(self) -> list[str]:
        """Return a sentence for each bound that does not hold."""
        counts, after = self.counts, self.afterwards
        held = self.seen["wrong digests of held tags"]
        bounds = {
            f"{self.most} bytes were stored, {self.most - self.cap} more than the limit": (
                self.most > self.cap
            ),
            f"only {self.most} of {self.cap} bytes were stored at most": (
                self.most < FILLED * self.cap
            ),
            f"of what is pinned or held, {len(self.gone)} files were gone": self.gone,
            f"{held} answers for held tags had another digest": held,
            f"{len(self.left)} damaged blobs were not found by a scrub": self.left,
            f"{len(self.corrupt)} blobs are corrupt in the end": self.corrupt,
            f"{len(self.wrong)} answers to the operator were wrong": self.wrong,
            f"{len(self.errors)} errors in the daemon's log": self.errors,
            f"{len(after.incomplete)} tags were answered but not whole without the upstream": (
                after.incomplete
            ),
            "no tag was answered without the upstream": not after.answered,
            "nothing that is pinned or held was ever looked at": not self.kept_looks,
        }
        bounds |= {f"there were no {name}": not counts[name] for name in MUST}
        return [sentence for sentence, broken in bounds.items() if broken]

    def details(self) -> list[str]:
        """Return a line for each thing that must not be."""
        return [*self.gone, *self.left, *self.wrong, *self.errors, *self.afterwards.incomplete]

    def lines(self) -> list[str]:
        """Return the figures as text."""
        counts, seen, after = self.counts, self.seen, self.afterwards
        rows = {
            "limit, MiB": (
                f"{self.cap / MIB:.1f}; stored at most {self.most / MIB:.1f} "
                f"({100 * self.most / self.cap:.1f}%), being written at most "
                f"{self.most_written / MIB:.1f}; {self.looks} looks"
            ),
            "removals": (
                f"{counts['removals']} and {counts['removals by command']} by command, "
                f"{counts['removed blobs']} blobs; {counts['refused removals']} of "
                "what is pinned or held refused"
            ),
            "pins and tags": (
                f"{counts['pins']} pinned, {counts['unpinned']} unpinned, {counts['holds']} held, "
                f"{counts['rollbacks']} rolled back, {counts['releases']} released, "
                f"{counts['refreshed']} refreshed; {self.kept_looks} files were there"
            ),
            "warmed": f"{counts['warmed images']}, {counts['warms that failed']} commands failed",
            "damaged": (
                f"{counts['flipped']} flipped, {counts['truncated']} truncated; "
                f"{seen['stale corruption']} responses of them before they were found"
            ),
            "scrubs": (
                f"{counts['passes']}, {counts['passes by command']} by command, "
                f"{counts['interrupted passes']} interrupted; {counts['scrubbed objects']} objects, "
                f"{counts['scrubbed bytes'] / 1e9:.2f} GB, {counts['scrubbed found']} corrupt, "
                f"{counts['scrubbed refetched']} stored again"
            ),
            "clients": (
                f"{seen['aborted']} left early, {seen['pulls of moving tags']} pulls of moving tags"
            ),
            "without the upstream": (
                f"{after.answered} tags answered, {after.whole} whole, {after.excused} excused"
            ),
        }
        width = max(map(len, rows))
        return [f"{name:{width}}  {value}" for name, value in rows.items()]
