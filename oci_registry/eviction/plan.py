"""Which images to evict when room is needed: S3-FIFO over whole images, as pure functions.

Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023). A new image is on probation,
in a queue that has a tenth of the space. An image that is pulled again before its turn comes moves to the
main queue, where each further pull gives it one more turn, three at most. What is evicted on probation is
remembered (a ghost) and goes straight to the main queue if it comes back.

A blob goes when the last image that needs it does. A manifest that names others, such as an index, has no
turn of its own while one of them is stored, and goes with the first of them: whatever manifest stays, stays
as complete as it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from attrs import define, field, frozen

from oci_registry.account.nouns import MAIN, PROBATION

SHARE = 0.1
"""The part of the space that images on probation may have before they are evicted first."""


@frozen
class Image:
    """A stored manifest. *size* is in bytes on the disk.

    *pulls*: how often it was pulled since it was queued, three at most. *kept*: it is pinned, or cannot be
    judged. *blobs*: the stored blobs that it names. *parents*: the stored manifests of its registry that name
    it. *is_parent*: it names such a manifest itself.
    """

    number: int
    size: int
    queue: int
    pulls: int = 0
    kept: bool = False
    blobs: frozenset[int] = frozenset()
    parents: frozenset[int] = frozenset()
    is_parent: bool = False


@frozen
class Blob:
    """A stored blob. *needed*: how many manifests name it. *kept*: it is being read or written."""

    number: int
    size: int
    needed: int
    kept: bool = False


@frozen
class Snapshot:
    """What may be evicted: the heads of both queues, in their order, and all that belongs to them.

    *images* has the queued ones and their ancestors, *blobs* those of all of them, and the loose ones.
    *loose*: blobs that no manifest names, the least recently used first. *sizes*: the bytes that the
    images of each queue need, shared ones counted each time.
    """

    images: Mapping[int, Image]
    blobs: Mapping[int, Blob]
    probation: tuple[int, ...] = ()
    main: tuple[int, ...] = ()
    loose: tuple[int, ...] = ()
    sizes: tuple[int, int] = (0, 0)


@frozen
class Plan:
    """What to do.

    *images*, *blobs*: what to evict, in this order. *ghosts*: the images among them that were on probation.
    *moves*: images that go to the end of a queue, with the pulls that are left: number, queue, pulls.
    *freed*: bytes. *sizes*: those of the queues afterwards.
    """

    images: tuple[int, ...] = ()
    blobs: tuple[int, ...] = ()
    ghosts: frozenset[int] = frozenset()
    moves: tuple[tuple[int, int, int], ...] = ()
    freed: int = 0
    sizes: tuple[int, int] = field(default=(0, 0), eq=False)


def plan(snapshot: Snapshot, need: int) -> Plan:
    """Return how to free *need* bytes, or as many as can be freed from the snapshot.

    Each image has one turn. If less is freed, carry the plan out and make another one from what is then at
    the heads of the queues.
    """
    planning = _Planning(snapshot)
    for number in snapshot.loose:
        if planning.freed < need:
            planning.evict_blob(number)
    while planning.freed < need and planning.take_turn():
        pass
    return planning.result()


@define
class _Planning:
    """A plan that is being made."""

    snapshot: Snapshot
    freed: int = 0
    _queues: tuple[deque[int], deque[int]] = field(init=False)
    _sizes: list[int] = field(init=False)
    _evicted: dict[int, Image] = field(factory=dict)
    _blobs: list[int] = field(factory=list)
    _needed: dict[int, int] = field(factory=dict)
    _moves: list[tuple[int, int, int]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._queues = (deque(self.snapshot.probation), deque(self.snapshot.main))
        self._sizes = list(self.snapshot.sizes)

    def take_turn(self) -> bool:
        """Evict or move the image whose turn it is; return whether there was one."""
        crowded = self._sizes[PROBATION] > SHARE * sum(self._sizes)
        probation, main = self._queues
        if not (probation or main):
            return False
        from_probation = bool(probation) and (crowded or not main)
        image = self.snapshot.images[(probation if from_probation else main).popleft()]
        if image.number in self._evicted:
            return True
        group = self._group(image)
        if image.pulls:
            # In the main queue for the first time, or once more.
            self._move(image, MAIN, 0 if image.queue == PROBATION else image.pulls - 1)
        elif group is None or image.is_parent:
            self._move(image, image.queue, 0)
        else:
            for one in group:
                self._evict(one)
        return True

    def _group(self, image: Image) -> list[Image] | None:
        """Return an image and all that names it; None if any of that must stay."""
        group: dict[int, Image] = {}
        waiting = [image.number]
        while waiting:
            number = waiting.pop()
            member = self.snapshot.images.get(number)
            if number in group or number in self._evicted:
                continue
            if member is None or member.kept or any(map(self._is_kept, member.blobs)):
                return None
            group[number] = member
            waiting += member.parents
        return list(group.values())

    def _is_kept(self, blob: int) -> bool:
        found = self.snapshot.blobs.get(blob)
        return found is not None and found.kept

    def _move(self, image: Image, queue: int, pulls: int) -> None:
        size = self._size(image)
        self._sizes[image.queue] -= size
        self._sizes[queue] += size
        self._moves.append((image.number, queue, pulls))

    def _evict(self, image: Image) -> None:
        self._evicted[image.number] = image
        self._sizes[image.queue] -= self._size(image)
        self.freed += image.size
        for number in image.blobs:
            blob = self.snapshot.blobs.get(number)
            if blob is not None:
                self._needed[number] = self._needed.get(number, blob.needed) - 1
                if self._needed[number] == 0:
                    self.evict_blob(number)

    def evict_blob(self, number: int) -> None:
        """Evict a blob that no manifest needs."""
        blob = self.snapshot.blobs[number]
        if not blob.kept:
            self._blobs.append(number)
            self.freed += blob.size

    def _size(self, image: Image) -> int:
        blobs = (self.snapshot.blobs.get(number) for number in image.blobs)
        return image.size + sum(blob.size for blob in blobs if blob is not None)

    def result(self) -> Plan:
        """Return the plan."""
        return Plan(
            tuple(self._evicted),
            tuple(self._blobs),
            frozenset(n for n, image in self._evicted.items() if image.queue == PROBATION),
            # A later image may have taken one with it that was moved before.
            tuple(move for move in self._moves if move[0] not in self._evicted),
            self.freed,
            (self._sizes[PROBATION], self._sizes[MAIN]),
        )
