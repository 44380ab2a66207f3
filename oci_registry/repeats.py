"""Warnings that may be repeated: each is logged at once, and then counted for a minute at a time."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from typing import Any

from attrs import define, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

INTERVAL = 60.0
"""Seconds for which the repetitions of a warning are counted."""
# A digest, or a number that is not an HTTP status.
_VARIABLE = re.compile(r"sha(?:256|512):[0-9a-f]*|[0-9]{4,}")
_AROUND = "'\"(),.:;[]"


@frozen
class Group:
    """Warnings that share a limit: up to *most* different ones are kept at a time; the others are counted.

    *others*: the text for those.
    """

    name: str
    most: int = 10
    others: str = "other failures"

    @classmethod
    def of(cls, namespace: str, what: str, *, configured: bool) -> Group:
        """Return the group of the warnings about *what* of a registry.

        Registries without an entry share one group, since clients can name any number of them.
        """
        if configured:
            return cls(f"{namespace}, {what}")
        return cls(f"registries without an entry, {what}", 30)


@define
class _Repeated:
    """A warning that was logged, and the number of its repetitions."""

    group: Group
    level: Any
    text: str
    fields: dict[str, Any]
    due: float
    more: int = 0


def without_names(text: str, *names: str) -> str:
    """Return *text* without the parts that differ between requests: *names*, digests and lengths."""
    return " ".join(
        "*" if word.strip(_AROUND) in names else _VARIABLE.sub("*", word) for word in text.split()
    )


class RepeatLog:
    """Logs each distinct warning at once, and then at most once a minute with a count.

    A group may be flooded with different warnings: those beyond its limit are counted together, and
    reported in one line after a minute. The memory is bounded by the groups and their limits.
    """

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._kept: OrderedDict[tuple[str, ...], _Repeated] = OrderedDict()
        self._count: Counter[str] = Counter()
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def __len__(self) -> int:
        return len(self._kept)

    def seconds(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._clock.seconds()

    def warn(self, group: Group, reason: tuple[str, ...], text: str, /, **fields: Any) -> None:
        """Log the warning *text*, a format for *fields*. Warnings in a group with the same *reason* are
        repetitions.

        The line with the count has the fields of the latest one.
        """
        self.emit(LogLevel.warn, group, reason, text, **fields)

    def emit(
        self, level: Any, group: Group, reason: tuple[str, ...], text: str, /, **fields: Any
    ) -> None:
        """Log *text* as `warn` does, at another level."""
        if self._stopped:
            self._log.emit(level, text, **fields)
            return
        key = (group.name, *reason)
        known = self._kept.get(key)
        if known is None and self._count[group.name] < group.most:
            self._count[group.name] += 1
            self._keep(key, _Repeated(group, level, text, fields, self._due()))
            self._log.emit(level, text, **fields)
            return
        if known is None:
            key = (group.name,)
            known = self._kept.get(key)
            if known is None:
                text = f"{{group}}: {group.others}"
                known = _Repeated(group, level, text, {"group": group.name}, self._due())
                self._keep(key, known)
        else:
            known.text, known.fields = text, fields
        known.more += 1

    def stop(self) -> None:
        """Log the counts, and stop counting."""
        self._stopped = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        for known in self._kept.values():
            self._report(known)
        self._kept.clear()
        self._count.clear()

    def _due(self) -> float:
        return self._clock.seconds() + INTERVAL

    def _keep(self, key: tuple[str, ...], known: _Repeated) -> None:
        self._kept[key] = known
        if self._timer is None:
            self._wait(known)

    def _wait(self, first: _Repeated) -> None:
        # All have the same interval, so the first in the table is due first.
        delay = min(max(first.due - self._clock.seconds(), 0.0), INTERVAL)
        self._timer = self._clock.callLater(delay, self._timeout)

    def _timeout(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        # If the clock was set back, nothing is due later than an interval from now.
        due = [k for k, known in self._kept.items() if not now < known.due <= now + INTERVAL]
        for key in due:
            known = self._kept.pop(key)
            if known.more and len(key) > 1:
                self._report(known)
                known.due, known.more = self._due(), 0
                self._kept[key] = known
                continue
            self._report(known)
            if len(key) > 1:
                self._forget(known.group.name)
        if self._kept:
            self._wait(next(iter(self._kept.values())))

    def _forget(self, group: str) -> None:
        self._count[group] -= 1
        if not self._count[group]:
            del self._count[group]

    def _report(self, known: _Repeated) -> None:
        if known.more:
            self._log.emit(
                known.level,
                known.text + " ({repeated} more in the last minute)",
                **known.fields,
                repeated=known.more,
            )
