"""Warming: images are fetched into the store before clients pull them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.background import Background
from oci_registry.pullthrough.blobs import BlobCache
from oci_registry.pullthrough.warm_state import AlreadyRunning, ImageState, TooMuch, WarmLimits
from oci_registry.pullthrough.warming import Warming, WarmParts
from oci_registry.spec.image import ImageName
from oci_registry.spec.platforms import Platform
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.steps import Pause
from oci_registry.upstream.interfaces import Upstream


class Warmer:
    """Begins warmings, one at a time, and knows the latest ones by their numbers.

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

        *jobs*: how many requests and downloads are under way at once. Raises `TooMuch` or `AlreadyRunning`.
        """
        names = tuple(dict.fromkeys(images))
        if len(names) > self._limits.images:
            raise TooMuch(f"at most {self._limits.images} images can be warmed at once")
        if not 1 <= jobs <= self._limits.jobs:
            raise TooMuch(f"jobs must be from 1 to {self._limits.jobs}")
        latest = self.latest
        if latest is not None and not latest.ended:
            raise AlreadyRunning(
                f"the daemon is already warming images (run {latest.number}, "
                f"{latest.count(ImageState.DONE)} of {len(latest.images)} done): wait until it has ended, or "
                "cancel it"
            )
        self._last += 1
        warming = Warming(self._last, self._parts, names, tuple(platforms), jobs)
        self._warmings[self._last] = warming
        while len(self._warmings) > self._limits.kept:
            del self._warmings[next(iter(self._warmings))]
        warming.start()
        if self._stopped:
            warming.cancel()
        return warming

    def find(self, number: int) -> Warming | None:
        """Return a warming; None if there is none, or it was too long ago."""
        return self._warmings.get(number)

    @property
    def latest(self) -> Warming | None:
        """The warming that is running, or the latest one; None before the first."""
        return self._warmings.get(self._last)

    def stop(self) -> None:
        """Cancel the warming that is running, and begin none any more."""
        self._stopped = True
        if self.latest is not None:
            self.latest.cancel()
