"""Answers of the admin API about a running daemon. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from oci_registry.management.as_json import Answer


@frozen
class DaemonStatus(Answer):
    """The daemon and its store.

    *started*: when it started. *ready*: whether stored content can be served; *unreadable*,
    *unwritable*: why the store cannot be read or written, null if it can. *objects*, *size*: number and
    bytes of stored blobs and manifests, null while that is not known. *limit*: the maximum size of the
    store, null without a limit; *free*: free bytes of its volume, null if that is not known.
    *connections*: open connections of clients.
    """

    version: str
    started: float
    time: float
    ready: bool
    unreadable: str | None
    unwritable: str | None
    store: str
    objects: int | None
    size: int | None
    limit: int | None
    free: int | None
    connections: int
    workers: int


@frozen
class RunningTransfer(Answer):
    """A download from a registry.

    *phase*: asking, receiving, verifying, committing or ended. *size*: null if it is not known. *rate*:
    recent bytes per second. *readers*: clients that are being served from it; *clients*: these and
    earlier ones. *stored*: false for one that only serves a single client. *seconds*: since it began.
    """

    digest: str
    upstream: str
    repository: str
    phase: str
    received: int
    size: int | None
    rate: float
    readers: int
    clients: int
    stored: bool
    seconds: float


@frozen
class Top(Answer):
    """The running downloads, oldest first.

    *count*: how many there are, which may be more than are listed; *rate*: bytes per second in total.
    """

    time: float
    count: int
    rate: float
    transfers: tuple[RunningTransfer, ...]


@frozen
class BreakerStatus(Answer):
    """A circuit breaker that is open or half-open.

    *what*: the requests that it is for. *open_for*: seconds. *probe_in*: seconds until the next probe.
    """

    what: str
    state: str
    reason: str
    open_for: float
    probe_in: float


@frozen
class PauseStatus(Answer):
    """Requests that a registry has rate limited for so many more *seconds*."""

    what: str
    seconds: float


@frozen
class ErrorStatus(Answer):
    """The latest failure of a host."""

    time: float
    text: str


@frozen
class HostStatus(Answer):
    """One host of an upstream.

    *used*: whether it was asked since the start. *available*: false while a circuit breaker for a kind
    of requests is open. *limit*, *remaining*: the rate limit that it announces, null without one;
    *low*: whether little of it is left. *waiting*: requests that wait for a connection; *connections*:
    running requests.
    """

    name: str
    used: bool
    available: bool
    breakers: tuple[BreakerStatus, ...]
    paused: tuple[PauseStatus, ...]
    limit: int | None
    remaining: int | None
    low: bool
    waiting: int
    connections: int
    last_error: ErrorStatus | None


@frozen
class UpstreamStatus(Answer):
    """A registry that is mirrored. *configured*: false if only a client has named it."""

    name: str
    configured: bool
    offline: bool
    hosts: tuple[HostStatus, ...]


@frozen
class UpstreamPage(Answer):
    """A page of upstreams, by name. *next*: the ``after`` of the next page; null on the last one."""

    upstreams: tuple[UpstreamStatus, ...]
    next: str | None


@frozen
class SweepStatus(Answer):
    """The running or latest sweep.

    *interval*: seconds between two sweeps. *began*: null before the first one. *seconds*: how long the latest
    one took, null before it has ended; *error*: why it failed, null if it did not.
    """

    interval: float
    running: bool
    began: float | None
    seconds: float | None
    error: str | None


@frozen
class EventRecord(Answer):
    """An event. *id* grows; *kind* determines the *fields*."""

    id: int
    time: float
    kind: str
    fields: Mapping[str, object]


@frozen
class ErrorList(Answer):
    """The latest warnings and errors of the log, oldest first."""

    errors: tuple[EventRecord, ...]


@frozen
class ScrubState(Answer):
    """The running or latest pass.

    *since*: when it began; null before the first one. *ended*: when it ended, null if it has not. *position*:
    the key of the last object that was checked. *objects*, *blobs*, *bytes*: how many were checked.
    *found*: corrupt objects; *quarantine*, *removed*, *refetched*: how many of them were moved to the
    quarantine, removed, or fetched again. *dangling*: tags whose manifest is not stored. *rate*: bytes
    per second, 0 without a limit. *problem*: why the pass has stopped before its end, or has not
    checked everything.
    """

    running: bool
    position: str
    objects: int
    blobs: int
    bytes: int
    found: int
    quarantined: int
    removed: int
    refetched: int
    dangling: int
    since: float | None
    ended: float | None
    rate: float
    problem: str | None


@frozen
class HeldDigest(Answer):
    """The digest that a tag is held at, and *since* when (RFC 3339)."""

    digest: str
    since: str


@frozen
class WaitingDigest(Answer):
    """A new digest that waits for its minimum age. *since*: when it was first seen; *adoptable*: when
    it will be served, null if that is not known (RFC 3339).
    """

    digest: str
    since: str
    adoptable: str | None


@frozen
class SeenDigest(Answer):
    """A digest that a tag has had. *adopted*: whether it was ever served. Times are RFC 3339."""

    digest: str
    first_seen: str
    last_confirmed: str
    adopted: bool


@frozen
class TagState(Answer):
    """The state of a tag. *digest*: the one that is served, null if nothing is stored. *history*: the
    last named digest comes first.
    """

    digest: str | None
    hold: HeldDigest | None
    waiting: WaitingDigest | None
    history: tuple[SeenDigest, ...]
