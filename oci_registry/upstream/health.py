"""The health of the hosts of an upstream, for operators."""

from __future__ import annotations

from attrs import frozen

MOST = 20
"""The maximum number of open circuit breakers, or pauses, that are shown for a host."""


@frozen
class OpenBreaker:
    """A circuit breaker that is open or half-open.

    *what*: the requests that it is for. *reason*: why it opened. *open_for*: seconds since then.
    *probe_in*: seconds until the next probe may be sent.
    """

    what: str
    state: str
    reason: str
    open_for: float
    probe_in: float


@frozen
class Paused:
    """Requests that a server has rate limited, for so many *seconds* from now."""

    what: str
    seconds: float


@frozen
class LastError:
    """The latest failure of a host: when, in seconds since the epoch, and what."""

    time: float
    text: str


@frozen
class HostHealth:
    """One host of an upstream.

    *used*: whether it has been asked since the start. *available*: whether no circuit breaker of a kind
    of requests is open. *limit*, *remaining*: the announced rate limit, None if there is none; *low*:
    whether little of it is left. *waiting*, *connections*: requests that wait for the host, and that it
    is answering.
    """

    name: str
    used: bool = True
    available: bool = True
    breakers: tuple[OpenBreaker, ...] = ()
    paused: tuple[Paused, ...] = ()
    limit: int | None = None
    remaining: int | None = None
    low: bool = False
    waiting: int = 0
    connections: int = 0
    last_error: LastError | None = None
