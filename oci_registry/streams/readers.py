"""The followers of one growing blob."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from oci_registry.streams.follower import Followed, Follower, TransferFailed


class Readers:
    """The current readers of a blob. A call to one of them may make any of them leave.

    *stall*: seconds after which one that delays others is dropped (`watch_for_stall`).
    """

    def __init__(self, clock: IReactorTime, stall: float) -> None:
        self._all: set[Follower] = set()
        self._clock = clock
        self._stall = stall
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._all)

    def add(self, follower: Follower) -> None:
        """Add a reader."""
        self._all.add(follower)

    def discard(self, follower: Follower) -> None:
        """Remove a reader. Idempotent."""
        self._all.discard(follower)

    def take_over(self, earlier: Readers, blob: Followed) -> None:
        """Take over the readers of *earlier*, which continue with *blob*."""
        followers, earlier._all = list(earlier._all), set()
        for follower in followers:
            follower.move(blob)
            self._all.add(follower)

    def floor(self, otherwise: int) -> int:
        """Return the position of the slowest reader."""
        return min((follower.position for follower in self._all), default=otherwise)

    @property
    def read(self) -> bool:
        """Whether any of them reads bytes, which are not sent from the file then."""
        return any(follower.reads for follower in self._all)

    def had(self) -> int:
        """Return the highest position up to which any reader has received bytes."""
        return max((f.position for f in self._all if f.begun), default=0)

    def wake(self) -> None:
        """Wake all readers: there are more bytes, or the end is reached."""
        for follower in list(self._all):
            follower.wake()

    def drop_behind(self, position: int, cause: Exception) -> None:
        """Drop those that need bytes before *position*, which are no longer available."""
        for follower in [f for f in self._all if f.position < position]:
            follower.drop(cause)

    def watch_for_stall(self, held_up: bool) -> None:
        """Record whether readers delay upstream: after a while, the slowest one is dropped."""
        if held_up and self._timer is None:
            self._timer = self._clock.callLater(self._stall, self._stalled)
        elif not held_up and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stalled(self) -> None:
        """Drop readers that delay the others, and check again later."""
        self._timer = self._clock.callLater(self._stall, self._stalled)
        # If no reader waits for more, the slow ones delay nobody else. If all of them wait, the hashing
        # is behind.
        if any(follower.waiting for follower in self._all):
            floor = self.floor(0)
            for follower in [f for f in self._all if f.position == floor and not f.waiting]:
                follower.drop()

    def fail_beyond(self, position: int, error: TransferFailed) -> None:
        """Fail readers that have received bytes from *position* on, which were wrong."""
        self.fail([f for f in self._all if f.begun and f.position > position], error)

    def check_length(self, size: int) -> None:
        """Fail readers whose client expects another number of bytes than *size*."""
        for follower in list(self._all):
            follower.check_length(size)

    def fail_all(self, error: TransferFailed) -> None:
        """Fail all readers."""
        self.fail(self._all, error)

    def fail(self, followers: Iterable[Follower], error: TransferFailed) -> None:
        """Fail some of them."""
        for follower in list(followers):
            follower.fail(error)
