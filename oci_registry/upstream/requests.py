"""What an upstream can be asked, as values: they name breakers, priorities and negative entries."""

from __future__ import annotations

from enum import Enum, IntEnum

from attrs import field, frozen


class Priority(IntEnum):
    """Which request gets a connection first; the lower goes first."""

    SMALL = 0
    """Manifests, lists, and whatever else the host itself answers."""
    SIZE = 1
    """The size of a blob."""
    REST = 2
    """The rest of a blob whose readers have had the beginning."""
    BLOB = 3


class Kind(Enum):
    """The kinds of API requests, which fail and are limited independently of each other.

    The value is what logs call it.
    """

    MANIFEST = "manifests"
    DIGEST = "digests of tags"
    TAGS = "tag lists"
    REFERRERS = "referrers"
    SIZE = "sizes of blobs"
    BLOB = "blobs"

    @property
    def priority(self) -> Priority:
        """The priority of a request of this kind that has nothing yet."""
        return _PRIORITIES.get(self, Priority.SMALL)

    @property
    def paged(self) -> bool:
        """Whether the answer comes in pages, each with a time of its own."""
        return self in (Kind.TAGS, Kind.REFERRERS)

    @property
    def time(self) -> float:
        """The part of the ``response_timeout`` in which an answer, or a page, has to come."""
        return _TIMES.get(self, 1.0)


# Some registries sort many thousands of tags first, and clients of tag lists wait for that. A HEAD
# leaves time for the GET that comes after it.
_TIMES = {Kind.TAGS: 3.0, Kind.SIZE: 0.4}
_PRIORITIES = {Kind.SIZE: Priority.SIZE, Kind.BLOB: Priority.BLOB}


@frozen
class ApiRequest:
    """A request about *subject* in *repository*: a reference, a digest, the page of a list."""

    kind: Kind
    repository: str
    subject: str


@frozen
class Call:
    """A request that is sent to a host, and answered before *deadline* on the reactor's clock.

    *wait*: there is no alternative, so servers whose circuit breaker is open are waited for. *why* it
    is sent is for the log.
    """

    request: ApiRequest
    deadline: float
    wait: bool
    why: str = ""


@frozen
class Routing:
    """How a request goes to the hosts of an upstream.

    *patient*: the caller has nothing else to show, so hosts are asked again after a pause. *wait*: a
    host whose circuit breaker is open is waited for, rather than refused, where no other can answer.
    *excluded* hosts are not asked at all, those in *last* after the others. *priority* is that of
    the kind unless it is given.
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
