"""oci-registry warm, however it reaches the daemon."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from oci_registry.spec.digest import Digest
from tests.integration.test_warming import BASE, RUNTIME, WarmingTestCase
from tests.support.bundles import Ran, command
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Asked, Reply
from tests.support.process import SOURCE, ListeningProcess


class WarmCommandTests(WarmingTestCase):
    """What the command does in any case."""

    def where(self) -> tuple[str, ...]:
        """Return the options that name the daemon."""
        raise NotImplementedError

    async def run_warm(self, *args: object, **environ: str) -> Ran:
        """Run the command in a thread, against the daemon."""
        ran: Ran = await deferToThread(command, "warm", *self.where(), *args, **environ)
        return ran

    @running
    async def test_many_images(self) -> None:
        """Twenty indexes that share layers: each GET once, and nothing when it is begun again."""
        digests = [self.index(f"v{n}", "linux/amd64", "linux/arm64") for n in range(20)]
        await self.start()
        names = [f"library/app:v{n}" for n in range(20)]
        ran = await self.run_warm(*names, "--jobs", 8)
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertIn("20 of 20 images stored completely", ran.out)
        self.assertIn(f"docker.io/library/app:v7 {digests[7]} (linux/amd64, linux/arm64)", ran.out)
        gets = self.gets()
        self.assertEqual((20 * 7 + 2, len(gets)), (len(set(gets)), len(gets)))
        self.assertEqual(0, self.registry.count("", "HEAD"))
        await self.recorded()
        await self.stop()
        await self.start()
        again = await self.run_warm(*names)
        self.assertEqual((0, gets), (again.status, self.gets()))
        self.assertEqual(20, again.out.count("all stored before"))
        await self.registry.stop()
        layer = await self.client.get(f"/v2/library/app/blobs/{Digest.of(BASE)}")
        self.assertTrue(layer.body == BASE, "the bytes differ")

    def run_in_background(self, *args: object) -> Deferred[Ran]:
        return Deferred.fromCoroutine(self.run_warm(*args))

    @running
    async def test_platform_and_json(self) -> None:
        """Only the chosen platform is fetched; --json tells all of each image."""
        digest = self.index("1", "linux/amd64", "linux/arm64")
        await self.start()
        ran = await self.run_warm("library/app:1", "--platform", "linux/arm64", "--json")
        document = json.loads(ran.out)
        (image,) = document["images"]
        self.assertEqual(([], "done"), (document["problems"], image["state"]))
        self.assertEqual((str(digest), ["linux/arm64"]), (image["digest"], image["platforms"]))
        self.assertEqual((2, 4, 6), (image["manifests"], image["blobs"], len(self.gets())))
        self.assertEqual(6, image["fetched"])
        refused = await self.run_warm("library/app:1", "--platform", "linux/s390x")
        self.assertEqual(1, refused.status)
        self.assertIn("only linux/amd64, linux/arm64", refused.err)

    @running
    async def test_lists(self) -> None:
        """Images come from files and lists of pods; what cannot be a name is a problem."""
        for tag in ("1", "2", "3"):
            self.registry.add_image("library/app", tag, RUNTIME)
        await self.start()
        lines, pods = Path(self.mktemp()), Path(self.mktemp())
        lines.write_text("# ours\nlibrary/app:1  # one\n\nlibrary/app:2\n")
        container = {"image": "library/app:3"}
        pods.write_text(json.dumps({"items": [{"spec": {"containers": [container, container]}}]}))
        ran = await self.run_warm("--from-file", lines, "--from-file", pods)
        self.assertEqual((0, 4), (ran.status, len(ran.out.splitlines())))
        lines.write_text("UPPER:::\nlibrary/app:1\n")
        ran = await self.run_warm("--from-file", lines)
        self.assertEqual(1, ran.status)
        self.assertIn("1 of 1 image stored completely", ran.out)
        self.assertIn("UPPER", ran.err)

    @running
    async def test_missing(self) -> None:
        """What is missing is named, the rest is fetched, and the status says so."""
        _, blobs = self.registry.add_image("library/app", "1", b"lost")
        del self.registry.blobs[str(blobs[1])]
        self.registry.add_image("library/app", "2", b"there")
        await self.start()
        ran = await self.run_warm("library/app:1", "library/app:2", "library/app:3")
        self.assertEqual(1, ran.status)
        self.assertIn(str(blobs[1]), ran.err)
        self.assertIn("docker.io/library/app:3: ", ran.err)
        self.assertIn("1 of 3 images stored completely", ran.out)

    @running
    async def test_reserve(self) -> None:
        """It stops at the reserve of the registry's rate limit, and says what is left."""
        for number in range(30):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        left = [20]

        def count(asked: Asked) -> Reply | None:
            if asked.method != "GET" or "/manifests/" not in asked.path:
                return None
            left[0] -= 1
            honest = self.registry.honest(asked)
            honest.headers["RateLimit-Limit"] = "20;w=21600"
            honest.headers["RateLimit-Remaining"] = f"{left[0]};w=21600"
            return honest

        self.registry.guard = count
        await self.start()
        names = [f"library/app:v{number}" for number in range(30)]
        ran = await self.run_warm(*names, "--jobs", 8)
        self.assertEqual((1, 5), (ran.status, left[0]))
        self.assertIn("15 of 30 images stored completely", ran.out)
        self.assertIn("and 5 are reserved for clients: 15 images left, begin again later", ran.err)

    @running
    async def test_interrupted(self) -> None:
        """After Ctrl-C the status is 130; what had begun is stored, and the next run gets the rest."""
        self.registry.add_image("library/app", "1", BASE, RUNTIME)
        gate: Deferred[None] = Deferred()
        path = f"/blobs/{Digest.of(BASE)}"
        self.registry.script(path, Reply(body=BASE, hold=gate, hold_at=150_000))
        await self.start()
        status, output = await self.interrupted("library/app:1", "--jobs", "1", at=path)
        self.assertEqual(130, status)
        self.assertIn(b"oci-registry warm: interrupted", output)
        gate.callback(None)
        await self.idle()
        ran = await self.run_warm("library/app:1")
        self.assertEqual(0, ran.status)
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    async def interrupted(self, *args: str, at: str) -> tuple[int | None, bytes]:
        """Run the command in a process, and interrupt it when the registry is asked for something."""
        process = ListeningProcess(
            reactor,
            [sys.executable, "-m", "oci_registry", "warm", *args, *self.where()],
            {"PYTHONPATH": SOURCE},
            forked=True,
        )
        process.listening.addErrback(lambda _: None)
        self.addCleanup(process.end)
        await until(lambda: self.registry.count(at) == 1)
        await process.kill("INT")
        return process.status, process.output
