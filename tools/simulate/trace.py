"""Traces: pulls in order, read from an access log in JSON or made up from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import count

from attrs import field, frozen

from oci_registry.spec.errors import RegistryError
from oci_registry.spec.routes import BlobRoute, ManifestRoute, parse_route

MIB = 2**20
MANIFEST = 4096
"""Bytes that a manifest takes."""


@frozen
class Pull:
    """A pull at *time*, in seconds: the manifests of an image, outermost first, and the blobs requested.

    *image*: the blobs of the image, with their bytes; a client may have some of them already.
    """

    time: float
    manifests: tuple[str, ...]
    image: tuple[str, ...]
    requested: tuple[str, ...]


@frozen
class Trace:
    """Pulls, and the bytes of each blob."""

    pulls: list[Pull] = field(repr=False)
    sizes: dict[str, int] = field(repr=False)

    @property
    def corpus(self) -> int:
        """Return the bytes of everything that is pulled."""
        manifests = {name for pull in self.pulls for name in pull.manifests}
        return sum(self.sizes.values()) + MANIFEST * len(manifests)


def read_log(lines: Iterable[str]) -> Trace:
    """Return the pulls in an access log in JSON lines.

    A request for a manifest begins a pull, and the blobs that the same client then requests from the same
    repository belong to it. An image has the blobs that any of its pulls has requested. Lines that are
    no responses to pulls are ignored.
    """
    sizes: dict[str, int] = {}
    images: dict[str, dict[str, None]] = {}
    pulls: list[tuple[float, list[str], list[str]]] = []
    latest: dict[tuple[str, str], tuple[float, list[str], list[str]]] = {}
    for line in lines:
        found = _parse(line)
        if found is None:
            continue
        time, client, repository, reference, sent = found
        pull = latest.get((client, repository))
        if sent is None:
            name = f"{repository}@{reference}"
            # A pull by tag is followed by one by digest, and by that of a platform.
            if pull is None or pull[2]:
                pull = latest[client, repository] = (time, [], [])
                pulls.append(pull)
            if name not in pull[1]:
                pull[1].append(name)
            images.setdefault(pull[1][-1], {})
        elif pull is not None:
            sizes[reference] = max(sent, sizes.get(reference, 0))
            images[pull[1][-1]][reference] = None
            pull[2].append(reference)
    return Trace(
        [
            Pull(time, tuple(names), tuple(images[names[-1]]), tuple(dict.fromkeys(blobs)))
            for time, names, blobs in pulls
        ],
        sizes,
    )


def _parse(line: str) -> tuple[float, str, str, str, int | None] | None:
    """Return time, client, repository, and a reference, or a digest and the bytes of a blob."""
    try:
        entry = json.loads(line)
        if entry["source"] != "access" or entry["status"] not in (200, 206):
            return None
        path, _, query = entry["uri"].partition("?")
        route = parse_route(path.encode(), query.encode())
        time = datetime.fromisoformat(entry["time"]).timestamp()
    except (ValueError, KeyError, TypeError, RegistryError):
        return None
    repository = f"{entry['namespace']}/{getattr(route, 'name', '')}"
    if isinstance(route, ManifestRoute):
        return time, entry["client"], repository, str(route.reference), None
    if isinstance(route, BlobRoute) and entry["method"] == "GET":
        return time, entry["client"], repository, str(route.digest), entry["sent"]
    return None


@frozen
class Shape:
    """What a made-up trace is like.

    *apps* are pulled by *nodes* with the popularity of Zipf; each has one of *bases* below its own layers,
    and a fresh version on some days. On each day a build pulls *burst* images that nobody pulls again.
    """

    days: int = 20
    pulls: int = 1000
    apps: int = 400
    bases: int = 20
    nodes: int = 40
    burst: int = 150
    kept: int = 30
    """Images that a node keeps, whose blobs it does not request."""
    skew: float = 1.0
    fresh: float = 0.1
    """The part of the apps that have a new version each day."""
    older: float = 0.1
    """The part of the pulls that are not of the latest version."""
    indexes: float = 0.15
    """The part of the apps that are for two platforms."""


def make_up(seed: int, shape: Shape = Shape()) -> Trace:
    """Return a trace that depends on nothing but its arguments."""
    return _Maker(seed, shape).make()


class _Maker:
    """Makes up a trace."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - it is to be the same again
        self._shape = shape
        self._numbers = count()
        self._sizes: dict[str, int] = {}
        self._bases = [self._layers(3, 20) for _ in range(2 * shape.bases)]
        self._apps: list[list[tuple[tuple[str, ...], ...]]] = []
        self._base_of = [self._chance.randrange(shape.bases) for _ in range(shape.apps)]
        self._is_index = [self._chance.random() < shape.indexes for _ in range(shape.apps)]
        self._weights = [1 / (rank + 1) ** shape.skew for rank in range(shape.apps)]
        self._nodes: list[dict[tuple[str, ...], None]] = [{} for _ in range(shape.nodes)]

    def _layers(self, number: int, mean: int) -> tuple[str, ...]:
        made = []
        for _ in range(number):
            name = f"blob-{next(self._numbers)}"
            self._sizes[name] = 1 + int(self._chance.lognormvariate(0, 1) * mean * MIB)
            made.append(name)
        return tuple(made)

    def _version(self, app: int) -> tuple[tuple[str, ...], ...]:
        """Return the blobs of a new version, for one platform or for two."""
        platforms = (0, self._shape.bases) if self._is_index[app] else (0,)
        config = f"blob-{next(self._numbers)}"
        self._sizes[config] = MANIFEST
        return tuple(
            (*self._bases[self._base_of[app] + offset], *self._layers(2, 10), config)
            for offset in platforms
        )

    def make(self) -> Trace:
        shape, chance = self._shape, self._chance
        self._apps = [[self._version(app)] for app in range(shape.apps)]
        pulls: list[Pull] = []
        for day in range(shape.days):
            for app in chance.sample(range(shape.apps), int(shape.apps * shape.fresh)):
                self._apps[app].append(self._version(app))
            times = sorted(chance.uniform(0, 86400) for _ in range(shape.pulls))
            chosen = chance.choices(range(shape.apps), self._weights, k=shape.pulls)
            today = [
                self._pull(day * 86400 + when, app) for when, app in zip(times, chosen, strict=True)
            ]
            pulls += sorted([*today, *self._build(day)], key=lambda pull: pull.time)
        return Trace(pulls, self._sizes)

    def _pull(self, time: float, app: int) -> Pull:
        chance, versions = self._chance, self._apps[app]
        number = len(versions) - 1
        if chance.random() < self._shape.older:
            number = chance.randrange(len(versions))
        node = chance.randrange(len(self._nodes))
        platforms = versions[number]
        # A fifth of the nodes has the other platform.
        platform = int(len(platforms) > 1 and node % 5 == 0)
        image = platforms[platform]
        kept = self._nodes[node]
        here = {blob for other in kept for blob in other}
        requested = tuple(blob for blob in image if blob not in here)
        kept.pop(image, None)
        kept[image] = None
        if len(kept) > self._shape.kept:
            del kept[next(iter(kept))]
        name = f"app-{app}:{number}"
        manifests = (name, f"{name}/{platform}") if len(platforms) > 1 else (name,)
        return Pull(time, manifests, image, requested)

    def _build(self, day: int) -> Iterator[Pull]:
        """Yield the pulls of a build, all within ten minutes."""
        start = day * 86400 + self._chance.uniform(0, 86400)
        for number in range(self._shape.burst):
            image = (*self._chance.choice(self._bases), *self._layers(2, 15))
            when = start + 600 * number / self._shape.burst
            yield Pull(when, (f"build-{day}:{number}",), image, image)
