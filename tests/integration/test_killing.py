"""A daemon that is killed or stopped at any moment leaves nothing wrong behind."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred

from oci_registry.storage.lock import LOCK
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.process import ProcessTestCase

MIB = 1024 * 1024


class Killing(ProcessTestCase):
    """A daemon that ends at some moment, and those who come after it."""

    def setUp(self) -> None:
        super().setUp()
        self.data = noise(6, 3 * MIB)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    def files(self) -> set[str]:
        found = {str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()}
        return {
            each
            for each in found
            if each != LOCK and not each.startswith(("account.", "activity."))
        }

    @running
    async def test_kill_in_the_middle(self) -> None:
        """Kill -9 at any point of a transfer: the next start serves right bytes and nothing is left."""
        points = [1, 70_000, MIB, 3 * MIB - 1, *(Random(7).randrange(3 * MIB) for _ in range(2))]
        daemon, client = await self.start()
        for number, point in enumerate(points):
            # Another blob each time: the daemon may not yet be done with the one before.
            data = noise(number, 3 * MIB)
            digest = self.registry.add_blob(data)
            path = f"/v2/library/app/blobs/{digest}"
            place = f"blobs/sha256/{digest.encoded[:2]}/{digest.encoded[2:]}"
            gate: Deferred[None] = Deferred()
            self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=point))
            response = await client.begin(path)
            await until(lambda: bool(self.files()))
            if point > 200_000:
                await until(lambda response=response: len(response.body) > 0)  # type: ignore[misc]
            await daemon.kill("KILL")
            client.close()
            self.assertNotIn(place, self.files())
            self.registry.unscript()

            daemon, client = await self.start()
            got = await client.get(path)
            self.assertTrue(bytes(got.body) == data, point)
            await until(lambda place=place: self.files() == {place})  # type: ignore[misc]
            self.assertEqual(data, (self.root / place).read_bytes())
            (self.root / place).unlink()
        await daemon.kill("TERM")

    @running
    async def test_term_lets_responses_finish(self) -> None:
        """SIGTERM: no new connection, the response under way is completed, then the process ends."""
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=self.data, hold=gate, hold_at=MIB))
        daemon, client = await self.start()
        idle = await client.begin("/v2/")
        await idle.done
        response = await client.begin(self.path)
        await response.got_headers
        daemon.process.signalProcess("TERM")
        await until(lambda: idle.ended == "closed")
        with self.assertRaises(Exception):  # noqa: B017 - refused, whatever the platform calls it
            await client.get("/v2/")
        gate.callback(None)
        await response.done
        self.assertTrue(bytes(response.body) == self.data)
        await daemon.ended
        self.assertEqual(1, len(self.files()))
        self.assertNotIn(b"Traceback", daemon.output)

    @running
    async def test_term_ends_what_outlives_the_grace(self) -> None:
        """After the grace period nothing is waited for, and nothing half-written stays."""
        never: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=self.data, hold=never, hold_at=MIB))
        daemon, client = await self.start("--shutdown-grace", "100ms")
        response = await client.begin(self.path)
        await response.got_headers
        await daemon.kill("TERM")
        await response.done
        self.assertFalse(response.complete)
        self.assertEqual(set(), self.files())
        self.assertNotIn(b"Traceback", daemon.output)
