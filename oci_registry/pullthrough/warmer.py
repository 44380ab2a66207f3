"""Warming: images are fetched into the store before clients pull them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.background import Background
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.warm_state import WarmLimits
from oci_registry.pullthrough.warming import Warming, WarmParts
from oci_registry.spec.image import ImageName
from oci_registry.spec.platforms import Platform
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.steps import Pause
from oci_registry.upstream.interfaces import Upstream


class TooMuch(ValueError):
    """More is to be warmed than the limits allow; the message says so."""


class Warmer:
    """Begins warmings, and knows the latest ones by their numbers.

    *upstream* returns the upstream of a registry, or raises `NameUnknown`.
    """

    def __init__(
        self,
        upstream: Callable[[str], Upstream],
        background: Background,
        blobs: BlobCache,
        reader: ManifestReader,
        clock: IReactorTime,
        pause: Pause,
        limits: WarmLimits = WarmLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._parts = WarmParts(upstream, background, blobs, reader, clock, pause, limits)
        self._limits = limits
        self._last = 0
        self._warmings: dict[int, Warming] = {}
        self._stopped = False

    def begin(
        self, images: Sequence[ImageName], platforms: Sequence[Platform] = (), jobs: int = 4
    ) -> Warming:
        """Begin to fetch images; *platforms* of those that have several, all without any.

        *jobs*: how many requests and downloads are under way at once. Raises `TooMuch`.
        """
        names = tuple(dict.fromkeys(images))
        if len(names) > self._limits.images:
            raise TooMuch(f"at most {self._limits.images} images can be warmed at once")
        if not 1 <= jobs <= self._limits.jobs:
            raise TooMuch(f"jobs must be from 1 to {self._limits.jobs}")
        running = sum(not warming.ended for warming in self._warmings.values())
        if running >= self._limits.running:
            raise TooMuch(f"{running} other warmings are running")
        self._last += 1
        warming = Warming(self._last, self._parts, names, tuple(platforms), jobs)
        self._warmings[self._last] = warming
        while len(self._warmings) > self._limits.kept:
            del self._warmings[next(n for n, known in self._warmings.items() if known.ended)]
        warming.start()
        if self._stopped:
            warming.cancel()
        return warming

    def find(self, number: int) -> Warming | None:
        """Return a warming; None if there is none, or it was too long ago."""
        return self._warmings.get(number)

    def all(self) -> list[Warming]:
        """Return the latest warmings, in order."""
        return list(self._warmings.values())

    def stop(self) -> None:
        """Cancel all warmings, and begin none any more."""
        self._stopped = True
        for warming in self.all():
            warming.cancel()
