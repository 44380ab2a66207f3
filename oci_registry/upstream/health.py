"""Whether a host is asked now: a circuit breaker, and the times that the host itself has named."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError, TooManyRequests, Unavailable
from oci_registry.upstream.slots import Turn

FAILURES = 5
"""Failures in a row after which a host is set aside. One is enough if it has cost a timeout."""
SHORTEST = 5.0
"""Seconds that a host is set aside at first; twice as long each time that it fails again."""
LONGEST = 60.0
"""The most seconds that it is."""
LONGEST_HOLD = 3600.0
"""The most seconds that a host can ask to be left alone (``Retry-After``)."""

Random = Callable[[], float]
"""Returns a number from 0 up to 1, for jitter."""


class Probe:
    """The one request that finds out whether a host is back."""


class HostHealth:
    """The circuit breaker of one host.

    Closed, the host is asked. Open, it is not, for a while. After that one request at a time is let
    through to find out (half open): if it works, the breaker closes, else it stays open for longer.
    Beside that the host may ask to be left alone until a moment, which is respected.

    Where blobs failed, manifests are still asked for: most registries send blobs from somewhere else.

    Whoever was let through by `admit` tells how it went, by one of `worked`, `failed`, `held` and
    `undecided`, with the `Probe` that it got, if any. It alone decides; requests that began before the
    breaker opened may fail later than that. But an answer is an answer, whoever gets it.
    """

    _log = Logger()

    def __init__(
        self, host: str, clock: IReactorTime, random: Random, metrics: HostMetrics
    ) -> None:
        self._host = host
        self._clock = clock
        self._random = random
        self._metrics = metrics
        self._failures = 0
        self._pause = 0.0
        self._open_until: float | None = None
        self._blobs_only = False
        self._held_until = 0.0
        self._probe: Probe | None = None
        self._reason = ""
        metrics.available(True)

    def wait(self, turn: Turn) -> float:
        """Return the seconds until the host may be asked; 0 if it may be now."""
        left = max(self._left(self._held_until, LONGEST_HOLD), self._open_for(turn))
        # Somebody is about to find out, and that will not take long.
        return 1.0 if not left and self._probe and self._is_open(turn) else left

    def _is_open(self, turn: Turn) -> bool:
        spared = self._blobs_only and turn is Turn.MANIFEST
        return self._open_until is not None and not spared

    def _open_for(self, turn: Turn) -> float:
        if self._open_until is None or not self._is_open(turn):
            return 0.0
        return self._left(self._open_until, LONGEST)

    def _left(self, until: float, longest: float) -> float:
        """Return the seconds until a moment; 0 if it is farther off than any is set.

        Then the clock has been set back.
        """
        left = until - self._clock.seconds()
        return left if 0 < left <= longest else 0.0

    def on_hold(self, turn: Turn) -> bool:
        """Whether the host has asked not to be asked, and is not out of order besides."""
        return not self._is_open(turn) and self.wait(turn) > 0

    def due(self, turn: Turn) -> bool:
        """Whether the breaker is open and it is time to find out."""
        return self._is_open(turn) and not self.wait(turn)

    def refusal(self, turn: Turn) -> RegistryError | None:
        """Return why the host must not be asked now, None if it may be."""
        held = self._left(self._held_until, LONGEST_HOLD)
        if held:
            return TooManyRequests.retry_after(
                f"upstream {self._host} limits the number of requests", int(held) + 1
            )
        if not self._is_open(turn):
            return None
        left = self._open_for(turn)
        if self._probe or left:
            seconds = int(left) + 1
            return Unavailable(
                f"upstream {self._host} is left alone for {seconds} s, because it failed: "
                f"{self._reason}",
                headers={"Retry-After": str(seconds)},
            )
        return None

    def admit(self, turn: Turn) -> Probe | None:
        """Let the caller through, with a `Probe` if it is the one that finds out.

        Raises the `refusal`, if there is one.
        """
        refusal = self.refusal(turn)
        if refusal is not None:
            raise refusal
        if not self._is_open(turn):
            return None
        self._probe = Probe()
        return self._probe

    def worked(self, turn: Turn) -> None:
        """The host has given an answer, whichever."""
        self._failures = 0
        if self._is_open(turn):
            self._probe = self._open_until = None
            self._pause = 0.0
            self._metrics.available(True)
            self._log.info("upstream {host} answers again", host=self._host)

    def failed(
        self, turn: Turn, error: RegistryError, *, slow: bool, probe: Probe | None = None
    ) -> None:
        """The host could not be asked, or failed; *slow*: and that has cost a timeout."""
        self._failures += 1
        probed = self._ended(probe)
        if self._is_open(turn) and not probed:
            # It was asked before the breaker opened.
            return
        if not (probed or slow or self._failures >= FAILURES):
            return
        first = not self._is_open(turn)
        if first:
            self._blobs_only = turn is not Turn.MANIFEST
        self._pause = min(LONGEST, self._pause * 2 or SHORTEST)
        # Not all hosts, nor all daemons, at the same moment; never longer than LONGEST.
        pause = self._pause * (0.8 + 0.2 * self._random())
        self._open_until = self._clock.seconds() + pause
        self._reason = error.message
        self._metrics.available(False)
        if first:
            self._log.warn(
                "upstream {host} is {asked} for {seconds:.0f} s: {error}",
                host=self._host,
                asked="asked for no blob" if self._blobs_only else "left alone",
                seconds=pause,
                error=error.message,
            )

    def held(self, seconds: float, probe: Probe | None = None) -> None:
        """The host wants to be left alone for so long."""
        self._ended(probe)
        until = self._clock.seconds() + min(seconds, LONGEST_HOLD)
        if until > self._held_until:
            self._held_until = until
            self._metrics.held(until)
            self._log.warn(
                "upstream {host} wants no request for {seconds:.0f} s",
                host=self._host,
                seconds=seconds,
            )

    def undecided(self, probe: Probe | None = None) -> None:
        """The request ended without telling anything about the host."""
        self._ended(probe)

    def _ended(self, probe: Probe | None) -> bool:
        """Return whether this was the request that finds out; then another may."""
        if probe is None or probe is not self._probe:
            return False
        self._probe = None
        return True
