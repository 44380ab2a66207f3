"""A body that breaks is continued inside the client's response, wherever and however it breaks."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from oci_registry.streams.body import SLOWEST
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Reply, Trickle, in_turn
from tests.support.patterns import noise
from tests.support.streams import LIMITS

MIB = 1024 * 1024
SIZE = 2 * MIB
# Not in the first bytes: a reset could overtake the headers, after which the whole is asked for again.
OFFSETS = sorted(Random(20).sample(range(100_000, SIZE), 20))
BODY_TIMEOUT = 60.0


class LongBlob(MirrorTestCase):
    """Blobs of 2 MiB, each of which is pulled once."""

    timeout = 300
    seeds = count(1)

    async def begin_cold(self, spoilt: Any) -> Response:
        """Begin to pull another blob; the first answer of upstream has *spoilt* in it."""
        if not self.daemons:
            await self.start()
        await self.idle()
        # No connection is used again: a request that fails on one that was would be repeated.
        await self.registry.stop()
        await until(lambda: not self.registry.channels)
        self.registry.start(self.time)
        self.registry.unscript()
        self.registry.asked.clear()
        self.registry.blobs.clear()
        data = noise(next(self.seeds), SIZE)
        digest = self.registry.add_blob(data)
        self.etag = f'"{digest}"'
        first = Reply(body=data, headers={"ETag": self.etag}, **spoilt)
        self.registry.script("/blobs/", in_turn(first))
        return await self.client.begin_compared(f"/v2/library/app/blobs/{digest}", data)

    async def visible(self, response: Response, at: int) -> None:
        """Wait until the client has what it can have of the first *at* bytes."""
        await until(lambda: len(response.body) >= min(at, SIZE - LIMITS.tail))

    async def resumed(self, response: Response, at: int) -> int:
        """The client gets one whole response, made of two of upstream's; return where they meet."""
        await response.done
        self.assertEqual((200, True, SIZE), (response.status, response.complete, response.length))
        self.assertTrue(response.body.right, f"broken at {at}")
        first, second = self.registry.matching("/blobs/")
        self.assertNotIn("range", first.headers)
        self.assertEqual(self.etag, second.headers["if-range"])
        assert second.range is not None
        start, stop = second.range
        self.assertIn(stop, (None, SIZE - 1))
        return start


class Breaking(LongBlob):
    """The upstream's connection ends or stalls."""

    async def breaking(self, **how: Any) -> None:
        for at in OFFSETS:
            response = await self.begin_cold({"cut": at, **how})
            start = await self.resumed(response, at)
            # What a reset overtakes on its way is lost.
            self.assertLessEqual(start, at)
            if not how:
                self.assertEqual(at, start)

    @running
    async def test_closed(self) -> None:
        """A body that ends early is continued from its last byte."""
        await self.breaking()

    @running
    async def test_reset(self) -> None:
        """A connection that is reset is continued from the last byte that arrived."""
        await self.breaking(reset=True)

    @running
    async def test_stalled(self) -> None:
        """A body that stalls is given up after its timeout, and no earlier, and continued."""
        for at in OFFSETS:
            response = await self.begin_cold({"stall": at})
            await self.visible(response, at)
            self.time.forward(BODY_TIMEOUT - 5)
            await self.client.get("/v2/")
            self.assertEqual(1, self.registry.count("/blobs/"))
            self.time.forward(5)
            start = await self.resumed(response, at)
            self.assertLessEqual(start, at)
            if at <= SIZE - LIMITS.tail:
                self.assertEqual(at, start)

    @running
    async def test_trickling(self) -> None:
        """A body that arrives far too slowly is given up as if it stalled, and resumed."""
        pause, times = BODY_TIMEOUT / 2 - 5, 100
        for offset in OFFSETS:
            # Not in the bytes that are held back: the client shows what has arrived.
            at = min(offset, SIZE - LIMITS.tail - times)
            response = await self.begin_cold({"trickle": Trickle(at, pause, times)})
            await self.visible(response, at)
            arrived = 0
            while self.registry.count("/blobs/") == 1:
                self.time.forward(pause)
                arrived += 1
                await until(
                    lambda: (
                        len(response.body) >= at + arrived  # noqa: B023
                        or self.registry.count("/blobs/") > 1
                    )
                )
            start = await self.resumed(response, at)
            self.assertGreater(start, at)
            self.assertLess(arrived * pause, 3 * BODY_TIMEOUT)

    @running
    async def test_slow(self) -> None:
        """A body that is merely slow is left to it, however long it takes."""
        pause, times = BODY_TIMEOUT / 2 - 5, 10
        for offset in OFFSETS[::7]:
            at = min(offset, SIZE - LIMITS.tail - times * SLOWEST)
            trickle = Trickle(at, pause, times, SLOWEST)
            response = await self.begin_cold({"trickle": trickle})
            for arrived in range(times):
                await self.visible(response, at + arrived * SLOWEST)
                self.time.forward(pause)
            await response.done
            self.assertEqual((200, True), (response.status, response.complete))
            self.assertTrue(response.body.right, f"slow from {at} on")
            self.assertEqual(1, self.registry.count("/blobs/"))
