"""Requests to an upstream as values, by which breakers, priorities and negative entries are found."""

from __future__ import annotations

from enum import Enum, IntEnum

from attrs import field, frozen


class Priority(IntEnum):
    """Which request gets a connection first; the lower goes first."""

    SMALL = 0
    """Manifests, lists, and other small responses of the host itself."""
    SIZE = 1
    """The size of a blob."""
    REST = 2
    """The rest of a blob whose readers have received the beginning."""
    BLOB = 3


class Kind(Enum):
    """The kinds of API requests, which fail and are limited independently of each other.

    The value is the name in the log.
    """

    MANIFEST = "manifests"
    DIGEST = "digests of tags"
    TAGS = "tag lists"
    REFERRERS = "referrers"
    SIZE = "sizes of blobs"
    BLOB = "blobs"

    @property
    def priority(self) -> Priority:
        """The priority of a request of this kind, unless it resumes one."""
        return _PRIORITIES.get(self, Priority.SMALL)

    @property
    def paged(self) -> bool:
        """Whether the response comes in pages, each with its own time."""
        return self in (Kind.TAGS, Kind.REFERRERS)

    @property
    def time(self) -> float:
        """The part of ``response_timeout`` that a response, or a page, may take."""
        return _TIMES.get(self, 1.0)


# Some registries sort many thousands of tags first, and clients of tag lists wait for that. A HEAD
# leaves time for the GET that comes after it.
_TIMES = {Kind.TAGS: 3.0, Kind.SIZE: 0.4}
_PRIORITIES = {Kind.SIZE: Priority.SIZE, Kind.BLOB: Priority.BLOB}


@frozen
class ApiRequest:
    """A request about *subject* in *repository*: a reference, a digest, or a page of a list."""

    kind: Kind
    repository: str
    subject: str


@frozen
class Call:
    """A request to a host, with a *deadline* on the reactor's clock.

    *wait*: there is no alternative, so it waits for servers whose circuit breaker is open. *why* is
    the reason of the request, for the log.
    """

    request: ApiRequest
    deadline: float
    wait: bool
    why: str = ""


@frozen
class Routing:
    """How a request goes to the hosts of an upstream.

    *patient*: the caller has nothing else to serve, so hosts are asked again after a pause. *wait*:
    wait for a host whose circuit breaker is open, if no other can respond. *excluded* hosts are not
    asked at all, those in *last* after all others. *priority* is that of the kind by default.
    """

    patient: bool = False
    wait: bool = False
    excluded: frozenset[str] = field(default=frozenset())
    last: frozenset[str] = field(default=frozenset())
    priority: Priority | None = None


PATIENT = Routing(patient=True, wait=True)
"""For callers that have nothing stored to serve."""
IMPATIENT = Routing()
"""For callers that have."""
