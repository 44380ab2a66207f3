"""A daemon in a process of its own warms images, is killed in the midst, and shares them with workers."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from tests.support.bundles import Ran, command
from tests.support.daemon import running, until
from tests.support.fake_registry import Asked, Reply
from tests.support.patterns import noise
from tests.support.process import ProcessTestCase

IMAGES, JOBS = 50, 4
NAMES = [f"library/app:v{number}" for number in range(IMAGES)]


class Processes(ProcessTestCase):
    """Fifty images that share a layer, at a registry that takes its time."""

    def setUp(self) -> None:
        super().setUp()
        base = noise(1, 200_000)
        for number in range(IMAGES):
            self.registry.add_image("library/app", f"v{number}", base, b"layer %d" % number)
        self.registry.guard = self.slowly

    def slowly(self, asked: Asked) -> Reply:
        honest = self.registry.honest(asked)
        honest.delay = 0.02
        return honest

    def gets(self) -> list[str]:
        return [asked.path for asked in self.registry.asked if asked.method == "GET"]

    async def warm(self) -> Ran:
        args = ("--root", self.root, "--jobs", JOBS)
        ran: Ran = await deferToThread(command, "warm", *NAMES, *args)
        return ran

    @running
    async def test_killed(self) -> None:
        """After kill -9 only what had not been stored is fetched again, and everything is right."""
        daemon, _ = await self.start()
        warming = Deferred.fromCoroutine(self.warm())
        await until(lambda: len(self.gets()) >= 90)
        await daemon.kill("KILL")
        ran = await warming
        self.assertEqual(1, ran.status)
        self.assertIn("run the command again to go on", ran.err)
        _, client = await self.start()
        ran = await self.warm()
        self.assertEqual((0, ""), (ran.status, ran.err))
        # What was under way, and what was not yet written.
        self.assertLess(len(self.gets()) - len(set(self.gets())), IMAGES // 2)
        await self.registry.stop()
        for number in range(IMAGES):
            served = await client.get(f"/v2/library/app/manifests/v{number}")
            self.assertEqual(200, served.status)

    @running
    async def test_workers(self) -> None:
        """With worker processes, and clients that pull the same meanwhile, each GET is made once."""
        _, client = await self.start("--workers", "2")
        warming = Deferred.fromCoroutine(self.warm())
        pulls = [
            Deferred.fromCoroutine(client.get(f"/v2/library/app/manifests/v{number}"))
            for number in range(0, IMAGES, 5)
        ]
        self.assertEqual({200}, {each.status for each in await gatherResults(pulls)})
        ran = await warming
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertEqual(len(set(self.gets())), len(self.gets()))
