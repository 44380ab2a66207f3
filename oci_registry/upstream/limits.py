"""The limits of an upstream."""

from __future__ import annotations

from attrs import frozen

from oci_registry.streams.breaker import BreakerLimits

# Jitter, so that not all hosts, nor all daemons, are probed at the same moment.
_BREAKER = BreakerLimits(failures=5, first_pause=5.0, longest_pause=60.0, jitter=0.2, probes=3)


@frozen
class UpstreamLimits:
    """Limits of each host of an upstream; times are in seconds.

    *breaker*: its circuit breakers; a single timeout opens one. *retry_after*: the longest pause
    that a server can request. *remembered*: how many breakers, and how many pauses, are kept.
    *token*: the time for a request to a token server, including redirects.
    """

    breaker: BreakerLimits = _BREAKER
    retry_after: float = 3600.0
    remembered: int = 256
    token: float = 15.0
