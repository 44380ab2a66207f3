"""The scrubs of the soak: one pass after the other, by the API or by the command, some of them interrupted."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from twisted.internet.task import deferLater

from tests.soak.admin import Admin
from tests.soak.damage import Damage

RATES = (10**7, 3 * 10**7, 10**8, 0)
_LOOK_EVERY = 0.25
_INTERRUPTED, _BY_COMMAND = 0.15, 0.1
_COUNTS = ("objects", "bytes", "found", "quarantined", "removed", "refetched")


class Scrubber:
    """Runs passes, and tells *damage* of each that has ended; what they find is counted in *counts*.

    `wrong` has what must not be.
    """

    def __init__(
        self, reactor: Any, admin: Admin, random: Random, counts: Counter[str], damage: Damage
    ) -> None:
        self.wrong: list[str] = []
        self._reactor = reactor
        self._admin = admin
        self._random = random
        self._counts = counts
        self._damage = damage
        self._last: float | None = None

    async def one_pass(self) -> None:
        """Run a pass to its end, or, now and then, stop it: the next one continues with it."""
        chance = self._random.random()
        if chance < _BY_COMMAND:
            ended = await self._admin.on_store("scrub")
            self._counts["passes by command"] += 1
            if ended.status not in (0, 3) or "Traceback" in ended.output:
                self.wrong.append(f"scrub: {ended.status} {ended.output[-500:]}")
            self._note(await self._state())
            return
        stop = chance > 1 - _INTERRUPTED
        await self._run(self._random.choice(RATES[:2] if stop else RATES), stop=stop)

    async def last(self) -> None:
        """Run passes until one has begun after this and ended."""
        for _ in range(2):
            # The first one may go on with what was interrupted.
            await self._run(0, stop=False)

    async def _run(self, rate: int, *, stop: bool) -> None:
        status, state = await self._admin.call("POST", "/scrub", rate=rate)
        if status != 202:
            self.wrong.append(f"POST /scrub: {status} {state}")
            return
        stop_after = self._reactor.seconds() + self._random.uniform(0.1, 3.0)
        while state["running"]:
            await deferLater(self._reactor, _LOOK_EVERY)
            state = await self._state()
            if stop and self._reactor.seconds() >= stop_after and state["running"]:
                await self._admin.call("DELETE", "/scrub")
                self._counts["interrupted passes"] += 1
                return
        self._note(state)

    async def _state(self) -> Any:
        return (await self._admin.call("GET", "/scrub"))[1]

    def _note(self, state: Any) -> None:
        if state["problem"] is not None:
            self.wrong.append(f"a pass has a problem: {state['problem']}")
        if state["ended"] is not None and state["since"] != self._last:
            self._last = state["since"]
            self._counts["passes"] += 1
            for name in _COUNTS:
                self._counts[f"scrubbed {name}"] += state[name]
            self._damage.scrubbed(state["since"], self._reactor.seconds())
