"""What an upstream is asked, and what it answers: right, wrong or never."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import Factory, define, evolve, frozen
from twisted.internet.defer import Deferred


@frozen
class Asked:
    """A request as it arrived; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")

    @property
    def range(self) -> tuple[int, int | None] | None:
        """The first and the last byte that are wanted; None for the last: up to the end."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if found is None:
            return None
        return int(found[1]), int(found[2]) if found[2] else None

    @property
    def first(self) -> int | None:
        """The first byte that is wanted, None without a range."""
        return None if self.range is None else self.range[0]


@frozen
class Trickle:
    """After *at* bytes of a body, *times* pieces of *piece* bytes, *pause* seconds before each."""

    at: int
    pause: float
    times: int
    piece: int = 1


@define
class Reply:
    """What to answer, and how to misbehave on the way.

    *length*: the Content-Length to send, "right" for the true one, None for none. *cut*: close after
    so many bytes of body (*reset*: with a RST). *stall*: send nothing more after so many, for ever.
    *hold*: wait for this Deferred after *hold_at* bytes. *delay*: seconds before the headers are sent.
    *silent*: never answer. *close*: close the connection afterwards.
    """

    status: int = 200
    body: bytes | memoryview = b""
    headers: dict[str, str] = Factory(dict)
    length: int | str | None = "right"
    chunked: bool = False
    cut: int | None = None
    reset: bool = False
    stall: int | None = None
    trickle: Trickle | None = None
    hold: Deferred[Any] | None = None
    hold_at: int = 0
    delay: float = 0.0
    silent: bool = False
    close: bool = False


Script = Callable[[Asked], Reply | None]


def in_turn(*answers: Reply | Script | None) -> Script:
    """Give each of *answers* once, one after the other, and then None; None is the honest one."""
    left = iter(answers)

    def answer(asked: Asked) -> Reply | None:
        chosen = next(left, None)
        return chosen(asked) if callable(chosen) else chosen

    return answer


def part_of(reply: Reply, asked: Asked) -> Reply:
    """Return what a good server says to who asks for a range of *reply* (RFC 9110 section 14).

    With an ``If-Range`` that is not its ETag, and to a range that is none, it is the whole.
    """
    wanted = asked.range
    validator = asked.headers.get("if-range")
    if wanted is None or (validator is not None and validator != reply.headers.get("ETag")):
        return reply
    size = len(reply.body)
    first, last = wanted
    last = size - 1 if last is None else min(last, size - 1)
    if first > last:
        return Reply(416, headers={"Content-Range": f"bytes */{size}"})
    content_range = {"Content-Range": f"bytes {first}-{last}/{size}"}
    # A view: a long body is not copied for each of its parts.
    body = memoryview(reply.body)[first : last + 1]
    return evolve(reply, status=206, body=body, headers={**reply.headers, **content_range})
