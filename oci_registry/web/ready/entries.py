"""What the table keeps of each ready answer: exact tuples of strings, bytes and numbers.

There are thousands of answers, and the garbage collector traverses all objects that may be part of a cycle
while no request is served. It ignores exact tuples of such values, and of such tuples, once it has seen them;
it never ignores instances of classes, `NamedTuple` included. So an entry has no class, and names the object
that all answers from one registry have in common, its source, by number.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from attrs import frozen

from oci_registry.web.ready.answers import ReadyAnswer, ReadyParts
from oci_registry.web.shown import shown, without_secrets

if TYPE_CHECKING:
    from oci_registry.web.site import RegistryRequest

Subject = tuple[Any, ...]
"""What an answer was made from, in a form that its source knows: strings, bytes, numbers and such tuples."""
Shown = tuple[str, str | None, str | None]
"""The part of an access log line that is the same for all clients: URI, namespace and outcome."""
Entry = tuple[ReadyAnswer, str | None, str, str | None, str | None, int, Subject]
"""An answer, its route; URI, namespace, outcome for the access log; the number of its source, its subject."""
BlobEntry = tuple[
    ReadyAnswer | None,
    ReadyParts | None,
    str,
    str,
    str | None,
    str | None,
    int,
    Subject,
    int,
]
"""Answers about a blob: the whole, without its body, and the parts; None: there is none yet. Then as for
`Entry`, and the size of the blob in bytes."""

CONSTANT = 0
"""The number of the source of answers that are always the same."""


class Source(Protocol):
    """What answers with different subjects are made from."""

    @property
    def count(self) -> Callable[[], None]:
        """Counts one more use."""

    def holds(self, subject: Subject) -> bool:
        """Whether the same content would be served now."""

    def serve(self, subject: Subject) -> Subject | None:
        """Count one more use if the same content would be served now, else return None.

        Return the subject from now on, which is usually the same object.
        """


class BlobSource(Protocol):
    """What answers about blobs are made from."""

    def holds(self) -> bool:
        """Whether the targets still mean the same blobs."""

    def part(self, subject: Subject, start: int, stop: int) -> bytes | None:
        """Return the bytes from *start* to *stop* (exclusive), which counts as a use.

        None if they cannot be sent now. For HEAD, the part is empty.
        """


class Constant:
    """The source of answers that are always the same."""

    def count(self) -> None:
        """Count nothing."""

    def holds(self, subject: Subject) -> bool:
        """Return True."""
        return True

    def serve(self, subject: Subject) -> Subject:
        """Return the subject."""
        return subject


@frozen
class Repeatable:
    """The conditions for sending a response again.

    *route*: the label under which the metrics count it; None: they do not. *source*: the number of its
    source. *confirmed*, *max_age*: as for `ReadyAnswer`.
    """

    route: str | None = None
    source: int = CONSTANT
    subject: Subject = ()
    confirmed: float = 0.0
    max_age: float = inf

    def entry(self, answer: ReadyAnswer, shown: Shown) -> Entry:
        """Return the entry for an answer."""
        return answer, self.route, *shown, self.source, self.subject


@frozen
class RepeatableBlob:
    """The conditions for sending a blob of *size* bytes, or a part of it, again; as for `Repeatable`."""

    route: str
    source: int
    subject: Subject
    size: int

    def entry(self, whole: ReadyAnswer | None, parts: ReadyParts | None, shown: Shown) -> BlobEntry:
        """Return the entry for answers."""
        return whole, parts, self.route, *shown, self.source, self.subject, self.size


S = TypeVar("S")


class Sources(Generic[S]):
    """Sources by number, and by name: at most *most*, those that were named last.

    *constant*: the source with the number `CONSTANT`, which has no name and always stays.
    """

    def __init__(self, most: int, constant: S | None = None) -> None:
        self._most = most
        self._numbers: dict[str, int] = {}
        self._sources: dict[int, S] = {} if constant is None else {CONSTANT: constant}
        self._next = count(CONSTANT + 1)
        self.get: Callable[[int], S | None] = self._sources.get
        """Returns a source by its number; None if another one has its name by now, or it was evicted."""

    def __len__(self) -> int:
        return len(self._sources)

    def named(self, name: str) -> tuple[int, S] | None:
        """Return the source with a name and its number, which counts as a use; None if there is none."""
        number = self._numbers.pop(name, None)
        if number is None:
            return None
        self._numbers[name] = number
        return number, self._sources[number]

    def put(self, name: str, source: S) -> int:
        """Add a source, in place of the one with this name; return its number, which is always a new one."""
        self._remove(name)
        if len(self._numbers) >= self._most:
            self._remove(next(iter(self._numbers)))
        number = self._numbers[name] = next(self._next)
        self._sources[number] = source
        return number

    def _remove(self, name: str) -> None:
        number = self._numbers.pop(name, None)
        if number is not None:
            del self._sources[number]


def body_of(entry: Entry) -> bytes:
    """Return the body of an answer."""
    answer, *_ = entry
    _, _, _, body, _, _ = answer
    return body


def shown_of(request: RegistryRequest) -> Shown:
    """Return the part of the access log line of the response to a request."""
    outcome = None if request.outcome is None else request.outcome.value
    return shown(without_secrets(request.target)), request.namespace, outcome
