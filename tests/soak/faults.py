"""What goes wrong with a host's answers: chosen by a seed, about one in three."""

from __future__ import annotations

from collections import Counter
from random import Random

from attrs import evolve

from tests.support.fake_replies import Asked, Reply, Trickle

SPOILT = 1 / 3
# Limits stop all requests to a host, so they are few.
_BLOBS = {
    "reset": 5,
    "cut": 5,
    "stall": 3,
    "trickle": 3,
    "slow": 3,
    "wrong byte": 2,
    "status": 4,
    "limit": 1,
    "silent": 1,
}
_OTHERS = {"reset": 3, "cut": 3, "slow": 3, "wrong byte": 2, "status": 6, "limit": 1, "silent": 1}


class Faults:
    """Spoils answers; `done` counts how, by its name."""

    def __init__(self, random: Random) -> None:
        self.done: Counter[str] = Counter()
        self._random = random

    def spoil(self, asked: Asked, reply: Reply, whole: Reply) -> Reply:
        """Return what to send in place of *reply*, *whole* being the answer without its range."""
        if self._random.random() >= SPOILT:
            return reply
        if reply.status == 206 and self._random.random() < 1 / 6:
            self.done["200 to a range"] += 1
            return whole
        kinds = _BLOBS if "/blobs/" in asked.path else _OTHERS
        (kind,) = self._random.choices(list(kinds), list(kinds.values()))
        self.done[kind] += 1
        return self._spoilt(kind, asked, reply)

    def _spoilt(self, kind: str, asked: Asked, reply: Reply) -> Reply:
        at = self._random.randrange(len(reply.body) + 1)
        match kind:
            case "reset":
                return evolve(reply, cut=at, reset=True)
            case "cut" if asked.method == "GET":
                return evolve(reply, cut=at)
            case "stall":
                return evolve(reply, stall=at)
            case "trickle":
                return evolve(reply, trickle=Trickle(at, 0.05, 20, 100))
            case "slow" | "cut":
                return evolve(reply, delay=self._random.uniform(0.1, 1.0))
            case "wrong byte" if reply.body:
                body = bytearray(reply.body)
                body[at % len(body)] ^= 0xFF
                return evolve(reply, body=bytes(body))
            case "limit":
                retry_after = str(self._random.randrange(1, 3))
                return Reply(429, headers={"Retry-After": retry_after})
            case "silent":
                return Reply(silent=True)
            case _:
                return Reply(self._random.choice((500, 502, 503, 504)))
