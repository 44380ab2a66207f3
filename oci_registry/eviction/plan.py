"""Which images to evict when room is needed: S3-FIFO over whole images, as pure functions.

Yang et al., "FIFO queues are all you need for cache eviction" (SOSP 2023). A new image is on probation,
in a queue that has a tenth of the space. An image that is pulled again before its turn comes moves to the
main queue, where each further pull gives it one more turn, three at most. What is evicted on probation is
remembered (a ghost) and goes straight to the main queue if it comes back.

Two biases. An image whose upstream has little left of its rate limit goes to the main queue instead of being
evicted on probation. An image with one of the newest tags of its repository goes to a queue of its own instead
of being evicted, from which images are evicted when nothing else is left.

A blob is evicted with the last image that needs it. A manifest that names others, such as an index, has
no turn of its own while one of them is stored, and is evicted with the first of them: a manifest that
stays is as complete as before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from attrs import define, field, frozen

from oci_registry.account.nouns import MAIN, NEWEST, PROBATION

SHARE = 0.1
"""The part of the space that images on probation may take before they are evicted first."""


@frozen
class Image:
    """A stored manifest. *size* is in bytes on the disk.

    *pulls*: how often it was pulled since it was queued, three at most. *kept*: it is pinned, or not
    enough is known of it. *blobs*: the stored blobs that it names. *parents*: the stored manifests of
    its registry that name it. *is_parent*: it names such a manifest itself. *newest*: a repository that
    has it under one of its newest tags, if these are kept. *scarce*: its upstream has little left of
    its rate limit.
    """

    number: int
    size: int
    queue: int
    pulls: int = 0
    kept: bool = False
    blobs: frozenset[int] = frozenset()
    parents: frozenset[int] = frozenset()
    is_parent: bool = False
    newest: int | None = None
    scarce: bool = False


@frozen
class Blob:
    """A stored blob. *needed*: how many manifests name it. *kept*: it is being read or written."""

    number: int
    size: int
    needed: int
    kept: bool = False


@frozen
class Snapshot:
    """The candidates for an eviction: the heads of the queues, in order, with their manifests and blobs.

    *images* has the queued ones and their ancestors, *blobs* those of all of them, and the loose ones.
    *loose*: blobs that no manifest names, the least recently used first. *sizes*: the bytes that the
    images of each queue need, shared ones counted each time. *newest*: empty unless nothing else is left.
    """

    images: Mapping[int, Image]
    blobs: Mapping[int, Blob]
    probation: tuple[int, ...] = ()
    main: tuple[int, ...] = ()
    loose: tuple[int, ...] = ()
    sizes: tuple[int, int, int] = (0, 0, 0)
    newest: tuple[int, ...] = ()


@frozen
class Plan:
    """The actions that free the space.

    *images*, *blobs*: what to evict, in this order. *ghosts*: the images among them that were on probation.
    *moves*: images that go to the end of a queue, with the pulls that are left: number, queue, pulls.
    *freed*: bytes. *sizes*: those of the queues afterwards. *newest*: images that go to the end of the queue
    of the newest tags, each with the repository that has it.
    """

    images: tuple[int, ...] = ()
    blobs: tuple[int, ...] = ()
    ghosts: frozenset[int] = frozenset()
    moves: tuple[tuple[int, int, int], ...] = ()
    freed: int = 0
    sizes: tuple[int, int, int] = field(default=(0, 0, 0), eq=False)
    newest: tuple[tuple[int, int], ...] = ()

    @property
    def turns(self) -> int:
        """How many images were moved."""
        return len(self.moves) + len(self.newest)

    def __bool__(self) -> bool:
        return bool(self.images or self.blobs or self.turns)


def plan(snapshot: Snapshot, need: int) -> Plan:
    """Return how to free *need* bytes, or as many as can be freed from the snapshot.

    Each image has one turn. If less is freed, carry the plan out and make another one from the new
    heads of the queues.
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
    _queues: tuple[deque[int], deque[int], deque[int]] = field(init=False)
    _sizes: list[int] = field(init=False)
    _evicted: dict[int, Image] = field(factory=dict)
    _blobs: list[int] = field(factory=list)
    _needed: dict[int, int] = field(factory=dict)
    _moves: list[tuple[int, int, int]] = field(factory=list)
    _newest: dict[int, int] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        queues = self.snapshot.probation, self.snapshot.main, self.snapshot.newest
        self._queues = (deque(queues[0]), deque(queues[1]), deque(queues[2]))
        self._sizes = list(self.snapshot.sizes)

    def take_turn(self) -> bool:
        """Evict or move the next image; return whether there was one."""
        queue = self._next_queue()
        if not queue:
            return False
        image = self.snapshot.images[queue.popleft()]
        if image.number in self._evicted or image.number in self._newest:
            return True
        group = self._group(image)
        if image.queue == PROBATION and (image.pulls or image.scarce):
            self._move(image, MAIN, 0)
        elif image.pulls:
            self._move(image, image.queue, image.pulls - 1)
        elif group is None:
            self._move(image, image.queue, 0)
        elif image.queue != NEWEST and (repository := _newest_of(group)) is not None:
            for one in group:
                self._keep(one, repository)
        elif image.is_parent:
            self._move(image, image.queue, 0)
        else:
            for one in group:
                self._evict(one)
        return True

    def _next_queue(self) -> deque[int]:
        """Return the queue that is next; an empty one if all are empty."""
        probation, main, newest = self._queues
        crowded = self._sizes[PROBATION] > SHARE * sum(self._sizes)
        if probation and (crowded or not main):
            return probation
        return main or newest

    def _group(self, image: Image) -> list[Image] | None:
        """Return an image and all manifests that name it; None if one of them must stay."""
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

    def _keep(self, image: Image, repository: int) -> None:
        """Move an image to the queue of the newest tags, unless it is there."""
        if image.queue != NEWEST and image.number not in self._newest:
            size = self._size(image)
            self._sizes[image.queue] -= size
            self._sizes[NEWEST] += size
            self._newest[image.number] = repository

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
            # A later image may have evicted an ancestor that was moved before.
            tuple(
                move
                for move in self._moves
                if move[0] not in self._evicted and move[0] not in self._newest
            ),
            self.freed,
            (self._sizes[PROBATION], self._sizes[MAIN], self._sizes[NEWEST]),
            tuple(kept for kept in self._newest.items() if kept[0] not in self._evicted),
        )


def _newest_of(group: Iterable[Image]) -> int | None:
    """Return a repository with one of these images under one of its newest tags."""
    return next((image.newest for image in group if image.newest is not None), None)
