"""oci-registry warm, and a daemon that it asks."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.interfaces import StoreError
from tests.integration.test_warming import BASE, RUNTIME, WarmingTestCase
from tests.support.bundles import Ran, command
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Asked, Reply
from tests.support.process import SOURCE, ListeningProcess


class WarmCommand(WarmingTestCase):
    """``oci-registry warm --url``."""

    async def run_warm(self, *args: object, **environ: str) -> Ran:
        """Run the command in a thread, against the daemon."""
        port = self.client._port
        url = f"http://127.0.0.1:{port}"
        ran: Ran = await deferToThread(command, "warm", "--url", url, *args, **environ)
        return ran

    @running
    async def test_fifty_images(self) -> None:
        """Fifty indexes that share layers: each GET once, and nothing when it is begun again."""
        digests = [self.index(f"v{n}", "linux/amd64", "linux/arm64") for n in range(50)]
        await self.start()
        names = [f"library/app:v{n}" for n in range(50)]
        ran = await self.run_warm(*names, "--jobs", 8)
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertIn("50 of 50 images stored completely", ran.out)
        self.assertIn(f"docker.io/library/app:v7 {digests[7]} (linux/amd64, linux/arm64)", ran.out)
        gets = self.gets()
        self.assertEqual((50 * 7 + 2, len(gets)), (len(set(gets)), len(gets)))
        self.assertEqual(0, self.registry.count("", "HEAD"))
        await self.recorded()
        await self.stop()
        await self.start()
        again = await self.run_warm(*names)
        self.assertEqual((0, gets), (again.status, self.gets()))
        self.assertEqual(50, again.out.count("all stored before"))
        await self.registry.stop()
        layer = await self.client.get(f"/v2/library/app/blobs/{Digest.of(BASE)}")
        self.assertTrue(layer.body == BASE, "the bytes differ")

    @running
    async def test_waits(self) -> None:
        """It waits until a layer is stored, of which it gets one byte."""
        self.registry.add_image("library/app", "1", BASE)
        gate: Deferred[None] = Deferred()
        path = f"/blobs/{Digest.of(BASE)}"
        self.registry.script(path, Reply(body=BASE, hold=gate, hold_at=150_000))
        daemon = await self.start()
        warming = self.run_in_background("library/app:1")
        await until(lambda: self.registry.count(path) == 1)
        counted = daemon.parts.metrics._responses.counted
        await until(lambda: counted.get(("blob", "GET", "206"), 0) >= 4)
        self.assertFalse(warming.called)
        gate.callback(None)
        ran = await warming
        self.assertEqual((0, 1), (ran.status, self.registry.count(path)))
        sent = daemon.parts.metrics.client_bytes.labels("blob")._value.get()  # type: ignore[no-untyped-call]
        self.assertLess(sent, 100)

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
        self.assertIn(f"blob {blobs[1]}", ran.err)
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
    async def test_not_stored(self) -> None:
        """A blob that the mirror cannot store is missing."""
        self.registry.add_image("library/app", "1", RUNTIME)
        daemon = await self.start()
        await self.run_warm("library/app:1")
        self.registry.add_image("library/app", "2", BASE)

        store = daemon.parts.transfers._store
        self.patch(store, "create", lambda *args: _broken())
        ran = await self.run_warm("library/app:2")
        self.assertEqual(1, ran.status)
        self.assertIn("the mirror does not store it", ran.err)

    @running
    async def test_interrupted(self) -> None:
        """After Ctrl-C the status is 130; what had begun is stored, and the next run gets the rest."""
        self.registry.add_image("library/app", "1", BASE, RUNTIME)
        gate: Deferred[None] = Deferred()
        path = f"/blobs/{Digest.of(BASE)}"
        self.registry.script(path, Reply(body=BASE, hold=gate, hold_at=150_000))
        await self.start()
        url = f"http://127.0.0.1:{self.client._port}"
        arguments = ("warm", "library/app:1", "--jobs", "1", "--url", url)
        process = ListeningProcess(
            reactor,
            [sys.executable, "-m", "oci_registry", *arguments],
            {**os.environ, "PYTHONPATH": SOURCE},
        )
        process.listening.addErrback(lambda _: None)
        self.addCleanup(process.end)
        await until(lambda: self.registry.count(path) == 1)
        await process.kill("INT")
        self.assertEqual(130, process.status)
        self.assertIn(b"oci-registry warm: interrupted", process.output)
        gate.callback(None)
        await self.idle()
        ran = await self.run_warm("library/app:1")
        self.assertEqual(0, ran.status)
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    @running
    async def test_too_large(self) -> None:
        """A layer that the limit of the store does not allow is requested once, and missing."""
        large = bytes(3 * 1024 * 1024)
        self.registry.add_image("library/app", "1", large)
        await self.start(max_size=parse_size("8MiB"))
        await until(lambda: self.daemons[-1].parts.account.is_complete)  # type: ignore[union-attr]
        ran = await self.run_warm("library/app:1")
        self.assertIn(f"blob {Digest.of(large)}: the mirror does not store it", ran.err)
        self.assertEqual(1, self.registry.count(f"/blobs/{Digest.of(large)}"))

    @running
    async def test_no_mirror(self) -> None:
        """Whatever else answers there, or nothing, is an error that says so."""
        await self.start()
        url = f"http://{self.registry.host}"
        self.registry.add_image("library/app", "1", b"x")
        ran: Ran = await deferToThread(command, "warm", "library/app:1", "--url", url)
        self.assertEqual(1, ran.status)
        self.assertIn("but not oci-registry", ran.err)
        await self.registry.stop()
        ran = await deferToThread(command, "warm", "x", "--url", url)
        self.assertIn("connection refused", ran.err)


def _broken() -> Deferred[None]:
    broken: Deferred[None] = Deferred()
    broken.errback(StoreError("it is broken"))
    return broken
