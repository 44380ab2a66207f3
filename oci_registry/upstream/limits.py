"""What the parts of an upstream are bounded by."""

from __future__ import annotations

from attrs import frozen

from oci_registry.streams.breaker import BreakerLimits

# Jitter, so that not all hosts, nor all daemons, are probed at the same moment.
_BREAKER = BreakerLimits(failures=5, first_pause=5.0, longest_pause=60.0, jitter=0.2, probes=3)


@frozen
class UpstreamLimits:
    """Limits of each host of an upstream; times in seconds.

    *breaker*: its circuit breakers. One failure is enough to open one if it has cost a timeout.
    *retry_after*: the longest pause that a server can ask for. *remembered*: how many breakers, and how
    many pauses, are kept. *token*: how long a token server may take, redirects included.
    """

    breaker: BreakerLimits = _BREAKER
    retry_after: float = 3600.0
    remembered: int = 256
    token: float = 15.0
