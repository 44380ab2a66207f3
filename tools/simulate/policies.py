"""Policies of eviction: the least recently used blobs, and the one that the daemon uses."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Protocol

from attrs import define, field

from oci_registry.account.books import MOST_PULLS
from oci_registry.account.images import HEADS
from oci_registry.account.nouns import MAIN, PROBATION
from oci_registry.eviction.limit import LARGEST, LOW
from oci_registry.eviction.plan import Blob, Image, Plan, Snapshot, plan
from oci_registry.storage.usage import GRANULARITY
from tools.simulate.trace import MANIFEST, Pull


@define
class Figures:
    """What has been requested, and what of that had to be fetched."""

    bytes_asked: int = 0
    bytes_missed: int = 0
    requests: int = 0
    requests_missed: int = 0

    def count(self, size: int, *, hit: bool) -> None:
        """Count a request."""
        self.bytes_asked += size
        self.requests += 1
        if not hit:
            self.bytes_missed += size
            self.requests_missed += 1


class Policy(Protocol):
    """A cache that is limited to some bytes."""

    figures: Figures

    def pull(self, pull: Pull) -> None:
        """Serve a pull."""

    def stored(self) -> set[str]:
        """Return the names of what is stored."""


class LeastRecentlyUsed:
    """Evicts what was not used for the longest time, manifests and blobs alike.

    *whole*: a pull counts as a use of all blobs of the image.
    """

    def __init__(self, cap: int, sizes: dict[str, int], *, whole: bool = False) -> None:
        self.figures = Figures()
        self._cap = cap
        self._sizes = sizes
        self._whole = whole
        self._taken = 0
        self._objects: OrderedDict[str, int] = OrderedDict()

    def pull(self, pull: Pull) -> None:
        """Serve a pull."""
        for name in pull.manifests:
            self._request(name, MANIFEST)
        if self._whole:
            for name in pull.image:
                if name in self._objects:
                    self._objects.move_to_end(name)
        for name in pull.requested:
            self._request(name, self._sizes[name])

    def _request(self, name: str, size: int) -> None:
        hit = name in self._objects
        self.figures.count(size, hit=hit)
        if hit:
            self._objects.move_to_end(name)
        elif size <= self._cap * LARGEST:
            while self._taken + size > self._cap:
                self._taken -= self._objects.popitem(last=False)[1]
            self._objects[name] = size
            self._taken += size

    def stored(self) -> set[str]:
        """Return the names of what is stored."""
        return set(self._objects)


@define
class _Stored:
    """A stored manifest."""

    number: int
    name: str
    queue: int
    pulled: float
    pulls: int = 0
    blobs: frozenset[int] = frozenset()
    parents: set[int] = field(factory=set)
    children: set[int] = field(factory=set)


class WholeImages:
    """The policy of the daemon: its own plans, carried out against a store in memory."""

    def __init__(self, cap: int, sizes: dict[str, int]) -> None:
        self.figures = Figures()
        self._cap = cap
        self._taken = 0
        self._sizes = dict(enumerate(sizes.values()))
        self._numbers = {name: number for number, name in enumerate(sizes)}
        self._names = list(sizes)
        self._next = 0
        self._images: dict[int, _Stored] = {}
        self._by_name: dict[str, _Stored] = {}
        self._queues: tuple[dict[int, None], dict[int, None]] = ({}, {})
        self._ghosts: dict[str, None] = {}
        self._blobs: set[int] = set()
        self._needed: Counter[int] = Counter()
        self._pulled: tuple[str, ...] = ()

    def pull(self, pull: Pull) -> None:
        """Serve a pull."""
        blobs = frozenset(self._numbers[name] for name in pull.image)
        self._pulled = pull.manifests
        above: _Stored | None = None
        for depth, name in enumerate(pull.manifests):
            last = depth == len(pull.manifests) - 1
            above = self._manifest(name, pull.time, blobs if last else frozenset(), above)
        lacks = [name for name in pull.requested if not self._blob(self._numbers[name])]
        if lacks:
            # As the daemon does with an image without a blob that was not stored.
            for name in pull.manifests:
                if name in self._by_name:
                    self._remove(self._by_name[name].number)
        self._pulled = ()

    def _manifest(
        self, name: str, time: float, blobs: frozenset[int], above: _Stored | None
    ) -> _Stored:
        found = self._by_name.get(name)
        self.figures.count(MANIFEST, hit=found is not None)
        if found is None:
            self._make_room(MANIFEST)
            queue = MAIN if name in self._ghosts else PROBATION
            self._ghosts.pop(name, None)
            found = _Stored(self._next, name, queue, time, blobs=blobs)
            self._next += 1
            self._images[found.number] = self._by_name[name] = found
            self._queues[queue][found.number] = None
            self._needed.update(blobs)
            self._taken += MANIFEST
        elif time - found.pulled >= GRANULARITY:
            found.pulled = time
            found.pulls = min(found.pulls + 1, MOST_PULLS)
        if above is not None and above.number in self._images:
            found.parents.add(above.number)
            above.children.add(found.number)
        return found

    def _blob(self, number: int) -> bool:
        """Serve a blob; return whether it is stored then."""
        size, hit = self._sizes[number], number in self._blobs
        self.figures.count(size, hit=hit)
        if hit:
            return True
        if size > self._cap * LARGEST:
            return False
        self._make_room(size)
        if self._taken + size > self._cap:
            return False
        self._blobs.add(number)
        self._taken += size
        return True

    def _make_room(self, want: int) -> None:
        if self._taken + want <= self._cap:
            return
        need = int(self._taken + want - self._cap * LOW)
        idle = 0
        while need > 0 and idle < len(self._images) * (MOST_PULLS + 2):
            planned = plan(self._snapshot(), need)
            if not (planned.images or planned.moves):
                return
            self._carry_out(planned)
            need -= planned.freed
            idle = 0 if planned.freed else idle + len(planned.moves)

    def _snapshot(self) -> Snapshot:
        heads = [_first(queue, HEADS) for queue in self._queues]
        images: dict[int, Image] = {}
        waiting = [*heads[0], *heads[1]]
        while waiting:
            one = self._images[waiting.pop()]
            if one.number not in images:
                images[one.number] = Image(
                    one.number,
                    MANIFEST,
                    one.queue,
                    one.pulls,
                    one.name in self._pulled,
                    one.blobs & self._blobs,
                    frozenset(one.parents),
                    bool(one.children),
                )
                waiting += one.parents
        blobs = {
            number: Blob(number, self._sizes[number], self._needed[number])
            for image in images.values()
            for number in image.blobs
        }
        sizes = tuple(
            sum(
                MANIFEST + sum(self._sizes[blob] for blob in self._images[number].blobs)
                for number in queue
            )
            for queue in self._queues
        )
        return Snapshot(images, blobs, heads[0], heads[1], (), (sizes[0], sizes[1], 0))

    def _carry_out(self, planned: Plan) -> None:
        for number in planned.images:
            if number in planned.ghosts:
                self._ghosts[self._images[number].name] = None
            self._remove(number)
        for number in planned.blobs:
            self._discard(number)
        for number, queue, pulls in planned.moves:
            one = self._images[number]
            del self._queues[one.queue][number]
            one.queue, one.pulls = queue, pulls
            self._queues[queue][number] = None
        while len(self._ghosts) > max(1000, len(self._queues[MAIN])):
            del self._ghosts[next(iter(self._ghosts))]

    def _remove(self, number: int) -> None:
        one = self._images.pop(number)
        del self._by_name[one.name], self._queues[one.queue][number]
        self._taken -= MANIFEST
        self._needed.subtract(one.blobs)
        for parent in one.parents:
            if parent in self._images:
                self._images[parent].children.discard(number)
        for child in one.children:
            if child in self._images:
                self._images[child].parents.discard(number)
        for blob in one.blobs:
            if not self._needed[blob]:
                self._discard(blob)

    def _discard(self, number: int) -> None:
        if number in self._blobs:
            self._blobs.remove(number)
            self._taken -= self._sizes[number]

    def stored(self) -> set[str]:
        """Return the names of what is stored."""
        return {self._names[number] for number in self._blobs} | set(self._by_name)


def _first(numbers: Iterable[int], count: int) -> tuple[int, ...]:
    return tuple(number for number, _ in zip(numbers, range(count), strict=False))
