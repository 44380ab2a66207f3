"""The table of ready answers, by request target."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import datetimeToString

from oci_registry.logs import AccessEntry, AccessLog, Pieces
from oci_registry.metrics import Metrics
from oci_registry.streams.recent import RecentTable
from oci_registry.web.ready.answers import (
    LONGEST,
    METHODS,
    NotSimple,
    ReadyAnswer,
    in_pieces,
    parse_fields,
)
from oci_registry.web.shown import shown, without_secrets

if TYPE_CHECKING:
    from oci_registry.web.site import RegistryRequest

_OF_ENTRY = 2048
"""Approximate bytes that an entry takes besides its body."""
_NEVER = frozenset((b"Connection", b"Transfer-Encoding", b"Warning", b"Age"))


@frozen
class ReadyLimits:
    """How many answers are kept, how many bytes they may take, and the most bytes of a body."""

    entries: int = 2000
    size: int = 8 * 1024 * 1024
    body: int = 64 * 1024


def _always() -> bool:
    return True


@frozen
class Repeatable:
    """What has to be known to send a response again.

    *route*: the label under which the metrics count it; None: they do not. *serve*: returns whether the
    same content would be served now, and counts it as a use if so. *confirmed*, *max_age*: as for
    `ReadyAnswer`.
    """

    route: str | None = None
    serve: Callable[[], bool] = _always
    confirmed: float = 0.0
    max_age: float = inf


@frozen(eq=False)
class _Shown:
    """What the access log says of an answer, whoever asks."""

    uri: str
    size: int
    namespace: str | None
    outcome: str | None


@frozen(eq=False)
class _Entry:
    answer: ReadyAnswer
    repeatable: Repeatable
    shown: _Shown


class ReadyAnswers:
    """Answers to the same simple requests again, as they were answered before.

    An answer is used for as long as nothing that it was made of has changed, which is checked each time:
    so nothing has to remove it. Those that were used last are kept.
    """

    def __init__(
        self,
        clock: IReactorTime,
        access_log: AccessLog,
        metrics: Metrics,
        limits: ReadyLimits = ReadyLimits(),
    ) -> None:
        self._clock = clock
        self._log = access_log
        self._metrics = metrics
        self._limits = limits
        self._entries: RecentTable[bytes, _Entry] = RecentTable(
            limits.entries,
            limits.size,
            lambda target, entry: len(target) + len(entry.answer.body) + _OF_ENTRY,
        )
        self._pieces = lru_cache(maxsize=1024)(self._make_pieces)
        self._second = -1
        self._date = b""

    def __len__(self) -> int:
        return len(self._entries)

    def wants(self, request: RegistryRequest) -> bool:
        """Whether an answer for the target of a request that has just been answered can be kept."""
        target = request.target
        return (
            request.code == 200
            and request.error is None
            and request.clientproto == b"HTTP/1.1"
            and request.method in METHODS
            and target.startswith(b"/")
            and len(target) < LONGEST
            and self._entries.peek(target) is None
        )

    def offer(self, request: RegistryRequest, body: bytes, repeatable: Repeatable) -> None:
        """Keep the answer to a request that has just been answered, if `wants` says so."""
        if len(body) > self._limits.body or not self.wants(request):
            return
        target = request.target
        headers = [
            (name, value)
            for name, values in request.responseHeaders.getAllRawHeaders()
            for value in values
        ]
        if not _NEVER.isdisjoint(name for name, _ in headers):
            return
        answer = in_pieces(headers, body, repeatable.confirmed, repeatable.max_age)
        if answer is not None:
            outcome = None if request.outcome is None else request.outcome.value
            said = _Shown(shown(without_secrets(target)), len(body), request.namespace, outcome)
            self._entries.put(target, _Entry(answer, repeatable, said))

    def respond(self, data: bytes, client: str) -> bytes | None:
        """Return the response to one whole request of a *client*, counted and logged; None if there is none."""
        if len(data) > LONGEST:
            return None
        parts = data.split(b" ", 2)
        if len(parts) < 3:
            return None
        method, target, fields = parts
        entry = self._entries.get(target)
        name = METHODS.get(method)
        if entry is None or name is None:
            return None
        try:
            agent = parse_fields(fields)
        except NotSimple:
            return None
        now = self._clock.seconds()
        answer, repeatable = entry.answer, entry.repeatable
        if not (answer.is_fresh(now) and repeatable.serve()):
            self._entries.remove(target)
            return None
        if now // 1 != self._second:
            self._second = now // 1
            self._date = datetimeToString(now)
        if repeatable.route is not None:
            self._metrics.response(repeatable.route, name, "200", 0.0)
        if self._log.wanted:
            self._log.write_pieces(self._pieces(entry.shown, name, client, agent))
        return answer.response(now, self._date, head=name == "HEAD")

    def _make_pieces(self, said: _Shown, method: str, client: str, agent: str) -> Pieces:
        return self._log.pieces(
            AccessEntry(
                client=client,
                method=method,
                uri=said.uri,
                protocol="HTTP/1.1",
                status=200,
                sent=0 if method == "HEAD" else said.size,
                seconds=0.0,
                agent=agent,
                namespace=said.namespace,
                outcome=said.outcome,
                error=None,
            )
        )
