"""Events of a daemon for operators who watch it: the latest ones, and each new one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, cast

from attrs import define, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher

from oci_registry.spec.texts import cut, one_line

KINDS = ("pull", "download", "eviction", "sweep", "breaker", "error", "removal", "tag", "warm")
"""All kinds of events."""
LONGEST = 500
"""The maximum length in characters of a text in an event."""
SUMMARY = "summary"
"""A kind in addition to these: it is not kept, and is passed only to those that request it."""
_MOST_FIELDS = 20
_OURS = "oci_registry"

Value = str | int | float | bool | None
_Flat = tuple[Value, ...]


@frozen
class Event:
    """Something that has happened: its *number* in this daemon, when (seconds since the epoch), and what."""

    number: int
    time: float
    kind: str
    fields: Mapping[str, Value]

    @property
    def flat(self) -> _Flat:
        """Everything in one tuple, which the garbage collector does not traverse."""
        return (self.number, self.time, self.kind, *chain.from_iterable(self.fields.items()))

    @classmethod
    def of(cls, flat: _Flat) -> Event:
        """Return the event from its `flat` form."""
        number, time, kind, *rest = cast("tuple[Any, ...]", flat)
        return cls(
            number, time, kind, MappingProxyType(dict(zip(rest[::2], rest[1::2], strict=True)))
        )


@frozen
class EventLimits:
    """*kept*: how many events are kept. *errors*: how many of the latest errors are kept separately."""

    kept: int = 1000
    errors: int = 100


@define(eq=False)
class _Follower:
    """A function that is called with each new event of some kinds."""

    heard: Callable[[Event], None]
    kinds: frozenset[str]


class EventLog:
    """Records a bounded number of events, and passes each new one to all followers.

    Some kinds of events are expensive (`costly`): their source is switched on only while they are
    followed. *from_thread*: the reactor's ``callFromThread``, for events that are logged in threads.
    """

    def __init__(
        self,
        clock: IReactorTime,
        from_thread: Callable[[Callable[[], None]], object] | None = None,
        limits: EventLimits = EventLimits(),
    ) -> None:
        self._clock = clock
        self._from_thread = from_thread
        self._kept: deque[_Flat] = deque(maxlen=limits.kept)
        self._errors: deque[_Flat] = deque(maxlen=limits.errors)
        self._followers: list[_Follower] = []
        self._switches: dict[str, Callable[[bool], None]] = {}
        self._number = 0
        self.began = clock.seconds()
        """When this was made: the numbers of events are valid for this daemon only."""

    @property
    def last(self) -> int:
        """The number of the latest event; 0 before the first."""
        return self._number

    @property
    def errors(self) -> list[Event]:
        """The latest errors, oldest first."""
        return [Event.of(flat) for flat in self._errors]

    def costly(self, kind: str, switch: Callable[[bool], None]) -> None:
        """Call *switch* whenever events of this kind begin or cease to be followed, with True or False."""
        self._switches[kind] = switch

    def record(self, kind: str, **fields: Value) -> None:
        """Record an event. Each text becomes one line of bounded length."""
        self._number += 1
        told = {
            name: cut(one_line(value), LONGEST) if isinstance(value, str) else value
            for name, value in list(fields.items())[:_MOST_FIELDS]
        }
        event = Event(self._number, self._clock.seconds(), kind, MappingProxyType(told))
        flat = event.flat
        self._kept.append(flat)
        if kind == "error":
            self._errors.append(flat)
        self._pass_on(event)

    def pass_on(self, kind: str, **fields: Value) -> None:
        """Pass an event to current followers without keeping it; its number is that of the latest one."""
        self._pass_on(Event(self._number, self._clock.seconds(), kind, MappingProxyType(fields)))

    def _pass_on(self, event: Event) -> None:
        for follower in list(self._followers):
            if event.kind in follower.kinds:
                follower.heard(event)

    def since(self, number: int) -> list[Event]:
        """Return the kept events after *number*, oldest first."""
        new = min(max(self._number - number, 0), len(self._kept))
        return [Event.of(flat) for flat in islice(self._kept, len(self._kept) - new, None)]

    def follow(
        self, heard: Callable[[Event], None], kinds: frozenset[str] = frozenset(KINDS)
    ) -> Callable[[], None]:
        """Call *heard* with each new event of these kinds, until the returned function is called."""
        follower = _Follower(heard, kinds)
        before = self._followed()
        self._followers.append(follower)
        self._switch(before)

        def end() -> None:
            if follower in self._followers:
                before = self._followed()
                self._followers.remove(follower)
                self._switch(before)

        return end

    def _followed(self) -> set[str]:
        return {kind for follower in self._followers for kind in follower.kinds}

    def _switch(self, before: set[str]) -> None:
        now = self._followed()
        for kind in before ^ now:
            switch = self._switches.get(kind)
            if switch is not None:
                switch(kind in now)

    def start(self) -> None:
        """Record events of the log from now on."""
        globalLogPublisher.addObserver(self._observer)

    def stop(self) -> None:
        """Stop recording events of the log."""
        globalLogPublisher.removeObserver(self._observer)

    @property
    def _observer(self) -> ILogObserver:
        return cast(ILogObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        """Record warnings and errors of the log, and changes of circuit breakers; an `ILogObserver`."""
        if not str(event.get("log_namespace", "")).startswith(_OURS):
            return
        level = event.get("log_level")
        kind = event.get("event_kind") or ("error" if level in _SERIOUS else None)
        if kind is None:
            return
        text = _text(event)
        fields: dict[str, Value] = {"level": getattr(level, "name", "info"), "text": text}
        fields |= {
            name: event[name]
            for name in _NAMED
            if isinstance(event.get(name), str | int | float) and event[name] != text
        }
        if self._from_thread is None:
            self.record(kind, **fields)
        else:
            self._from_thread(partial(self.record, kind, **fields))


_SERIOUS = frozenset({LogLevel.warn, LogLevel.error, LogLevel.critical})
# Fields of a log event that name its subject.
_NAMED = ("namespace", "upstream", "host", "what", "repository", "digest", "repeated")


def _text(event: LogEvent) -> str:
    text = formatEvent(event)
    failure = event.get("log_failure")
    if failure is None:
        return text
    return f"{text}: {failure.type.__name__}" if text else failure.type.__name__
