"""A scrub of a bucket, which several daemons use."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.task import deferLater

from oci_registry.scrub.limits import ScrubLimits
from oci_registry.scrub.times import ScrubTimes
from oci_registry.service import Daemon
from oci_registry.spec.sizes import Size
from oci_registry.storage.keys import blob_key
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.s3_daemon import MIB, BucketTestCase

FAST = Size(0, None, "0")


class Scrubbing(BucketTestCase):
    """A blob in a bucket whose content somebody has changed."""

    def setUp(self) -> None:
        super().setUp()
        self.layer = bytes(range(256)) * (MIB // 64)
        self.blob = self.registry.add_blob(self.layer)
        self.path = f"/v2/library/app/blobs/{self.blob}"

    async def filled(self, **settings: Any) -> Daemon:
        daemon = await self.start(scrub_rate=FAST, **settings)
        await self.client.get(self.path)
        await self.idle()
        return daemon

    def spoil(self) -> None:
        """Change the content of the object, but nothing else."""
        spoilt = self.layer[:-1] + b"!"
        self.place(self.blob, spoilt, Metadata={"oci-registry-size": str(len(spoilt))})

    async def scrubbed(self, daemon: Daemon) -> Any:
        scrub = daemon.parts.scrub
        self.assertTrue(scrub.start())
        await until(lambda: not scrub.status.running)
        return scrub.status

    @running
    async def test_other_content(self) -> None:
        """An object with other content is moved, and the next client gets the right bytes."""
        daemon = await self.filled()
        self.assertEqual(0, (await self.scrubbed(daemon)).found)
        self.spoil()
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 1, None), (status.found, status.quarantined, status.problem))
        self.assertFalse(self.has(self.blob))
        self.assertEqual({f"quarantine/{blob_key(self.blob)}"}, self.keys("quarantine"))
        self.assertEqual(self.layer, bytes((await self.client.get(self.path)).body))
        await self.idle()
        self.assertEqual(self.layer, self.content(self.blob))

    @running
    async def test_readers(self) -> None:
        """A client that has received a part of such an object gets no end."""
        daemon = await self.filled()
        self.spoil()
        response = await self.client.begin(self.path)
        await response.got_headers
        response.pause()
        await self.scrubbed(daemon)
        response.resume()
        got = await response.done
        self.assertFalse(got.complete)

    @running
    async def test_readers_of_another_daemon(self) -> None:
        """A client of another daemon gets no end either: that knows of it within a second."""
        scrubbing = await self.filled()
        self.spoil()
        # The client is that of the second daemon.
        other = await self.filled()
        response = await self.client.begin(self.path)
        await response.got_headers
        response.pause()
        await self.scrubbed(scrubbing)
        (step,) = [s for s in other.parts.steps if s.name == "notices of other daemons"]
        follower: Any = step.stop.__self__  # type: ignore[attr-defined]
        await until(lambda: bool(follower._seen))
        response.resume()
        got = await response.done
        self.assertFalse(got.complete)
        self.assertEqual(self.layer, bytes((await self.client.get(self.path)).body))

    @running
    async def test_several_daemons(self) -> None:
        """One daemon at a time checks a bucket by itself; one that is gone is replaced."""
        first = await self.filled()
        first.parts.scrub.start(1.0)
        await until(lambda: bool(self.keys("scrub")))
        second = await self.start_another()
        await deferLater(reactor, 0.3)
        self.assertFalse(second.parts.scrub.status.running)
        self.assertIsNone(second.parts.scrub.status.ended)
        # What the first has stored of its progress gets old.
        self.clock.ahead += 4000
        second.parts.scrub._look_in(0)
        await until(lambda: second.parts.scrub.status.ended is not None)

    async def start_another(self) -> Daemon:
        limits = ScrubLimits(times=ScrubTimes(first=0.0))
        self.makers = self.makers_with(limits)
        return await self.start(scrub_rate=FAST, scrub_interval=86400.0)

    def makers_with(self, limits: ScrubLimits) -> Any:
        return evolve(MirrorTestCase.makers, scrub_limits=limits)
