"""A daemon that checks what it has stored, while clients pull."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from oci_registry.scrub import scrub as scrub_module
from oci_registry.scrub.record import KEY
from oci_registry.scrub.times import ScrubTimes
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.support.client import Response
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.scrubbing import LIMITS, MIB, REPOSITORY, ScrubTestCase, flip


class Finding(ScrubTestCase):
    """What is wrong is found in one pass, and served to nobody afterwards."""

    @running
    async def test_nothing(self) -> None:
        """A store without faults stays as it is."""
        daemon = await self.filled()
        before = self.files()
        status = await self.scrubbed(daemon)
        self.assertEqual(
            (4, 2, 0, None), (status.objects, status.blobs, status.found, status.problem)
        )
        self.assertIsNotNone(status.ended)
        self.assertEqual(before | {KEY}, self.files())

    @running
    async def test_flipped_byte(self) -> None:
        """A blob with a flipped bit is moved away and fetched again; nobody gets it afterwards."""
        daemon = await self.filled()
        flip(self.file)
        # What a client could get up to now, from a file that is kept open.
        self.assertNotEqual(self.layer, await self.pull())
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 1, 1), (status.found, status.quarantined, status.refetched))
        self.assertEqual([f"quarantine/{blob_key(self.blob)}"], self.quarantine())
        self.assertEqual(self.layer, self.file.read_bytes())
        self.assertEqual(2, self.registry.count(str(self.blob)))
        self.assertEqual(self.layer, await self.pull())
        self.assertEqual(2, self.registry.count(str(self.blob)))
        value = daemon.parts.metrics.registry.get_sample_value
        self.assertEqual(1, value("oci_registry_scrub_corrupt_total", {"kind": "blob"}))
        self.assertEqual(1, value("oci_registry_scrub_restored_total", {"kind": "blob"}))
        self.assertEqual(0, (await self.scrubbed(daemon)).found)

    @running
    async def test_unknown_origin(self) -> None:
        """Without a tag it is not known where a blob came from: the next client gets it from there."""
        daemon = await self.start(scrub_rate=self.rate())
        await self.client.get(self.path)
        await self.settled(daemon)
        flip(self.file, 0)
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 0), (status.quarantined, status.refetched))
        self.assertFalse(self.file.exists())
        head = await self.client.get(self.path, "HEAD")
        self.assertEqual((200, self.size), (head.status, head.length))
        got = await self.client.get(self.path)
        self.assertEqual(self.layer, bytes(got.body))

    @running
    async def test_pulled_by_digest(self) -> None:
        """An image that clients have pulled by digest lately is known to come from there."""
        daemon = await self.start(scrub_rate=self.rate())
        await self.client.get(f"/v2/{REPOSITORY}/manifests/{self.manifest}")
        await self.client.get(self.path)
        await self.settled(daemon)
        flip(self.file, 0)
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 1), (status.quarantined, status.refetched))
        self.assertEqual(self.layer, self.file.read_bytes())

    @running
    async def test_registry_that_is_down(self) -> None:
        """A blob that cannot be fetched again is missing, and comes with a later pull."""
        daemon = await self.filled()
        flip(self.file)
        await self.registry.stop()
        status = await self.time.hurry(self.scrubbed(daemon))
        self.assertEqual((1, 0), (status.quarantined, status.refetched))
        got = await self.time.hurry(self.client.get(self.path))
        self.assertEqual(502, got.status)
        self.registry.start(self.time)
        await self.time_passes()
        self.assertEqual(self.layer, bytes((await self.client.get(self.path)).body))

    async def time_passes(self) -> None:
        self.time.forward(120)
        await deferLater(reactor, 0)

    @running
    async def test_parts_that_are_kept(self) -> None:
        """Parts that were served without looking at the store are served from it no longer."""
        daemon = await self.filled()
        for _ in range(3):
            got = await self.client.get(self.path, Range="bytes=0-9")
            self.assertEqual((206, self.layer[:10]), (got.status, bytes(got.body)))
        flip(self.file, 3)
        # The registry has other things to do, so nothing is fetched again.
        self.registry.script(f"blobs/{self.blob}", Reply(500))
        await self.time.hurry(self.scrubbed(daemon))
        got = await self.time.hurry(self.client.get(self.path, Range="bytes=0-9"))
        self.assertNotEqual(206, got.status)
        self.registry.unscript()
        await self.time_passes()
        got = await self.client.get(self.path, Range="bytes=0-9")
        self.assertEqual((206, self.layer[:10]), (got.status, bytes(got.body)))

    @running
    async def test_records(self) -> None:
        """A manifest and a tag are stored again from memory."""
        daemon = await self.filled()
        manifest = self.root / manifest_key("docker.io", self.manifest)
        tag = self.root / tag_key("docker.io", REPOSITORY, "1")
        whole = manifest.read_bytes()
        for spoil in (lambda path: flip(path, 3), self.truncate, self.foreign):
            for path in (manifest, tag):
                spoil(path)
            status = await self.scrubbed(daemon)
            self.assertEqual((2, 2), (status.found, status.refetched), spoil)
            self.assertEqual(whole, manifest.read_bytes())
            self.assertIn(str(self.manifest), tag.read_text())
        self.assertEqual(1, self.registry.count("manifests"))

    def truncate(self, path: Path) -> None:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:20])
        path.chmod(0o444)

    def foreign(self, path: Path) -> None:
        path.unlink()
        path.write_bytes(b"\xff" * 30)

    @running
    async def test_manifest_that_is_not_in_memory(self) -> None:
        """A manifest that is not in memory is fetched again."""
        await self.filled()
        await self.stop()
        manifest = self.root / manifest_key("docker.io", self.manifest)
        whole = manifest.read_bytes()
        flip(manifest)
        daemon = await self.start(scrub_rate=self.rate())
        await self.settled(daemon)
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 1), (status.quarantined, status.refetched))
        await until(manifest.exists)
        self.assertEqual(whole, manifest.read_bytes())

    @running
    async def test_several_faults(self) -> None:
        """Truncated, longer and foreign blobs are found in the same pass."""
        daemon = await self.filled()
        digests = [self.registry.add_blob(b"%d" % number * 5000) for number in range(6)]
        for digest in digests:
            await self.client.get(f"/v2/{REPOSITORY}/blobs/{digest}")
        await self.settled(daemon)
        paths = [self.root / blob_key(digest) for digest in digests]
        spoils: list[Callable[[Path], object]] = [flip, self.truncate, self.foreign]
        for spoil, path in zip(spoils, paths, strict=False):
            spoil(path)
        os.utime(paths[2], (1_000_000_000, 1_000_000_000))
        status = await self.scrubbed(daemon)
        self.assertEqual((3, 3), (status.found, status.quarantined))
        for number, digest in enumerate(digests):
            got = await self.client.get(f"/v2/{REPOSITORY}/blobs/{digest}")
            self.assertEqual(b"%d" % number * 5000, bytes(got.body))

    @running
    async def test_file_that_is_being_copied(self) -> None:
        """A new file of another program may be incomplete: it is left alone for ten minutes."""
        daemon = await self.filled()
        digest = Digest.of(b"copied slowly")
        path = self.root / blob_key(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"copied")
        self.assertEqual(0, (await self.scrubbed(daemon)).found)
        self.time.forward(700)
        self.assertEqual(1, (await self.scrubbed(daemon)).found)

    @running
    async def test_read_only_directory(self) -> None:
        """A blob that cannot be moved away is served to nobody nevertheless."""
        daemon = await self.filled()
        flip(self.file)

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "replace", refuse)
        status = await self.scrubbed(daemon)
        self.assertEqual((1, 0), (status.found, status.quarantined))
        self.assertEqual(self.layer, await self.pull())
        await self.idle()
        self.assertEqual(self.layer, await self.pull())


class Streaming(ScrubTestCase):
    """Clients that are being served a blob that turns out to be corrupt."""

    size = 24 * MIB

    @running
    async def test_cut(self) -> None:
        """A client that has received a part of it gets no end; one that comes then gets the right bytes."""
        daemon = await self.filled()
        flip(self.file)
        await self.check_cut(daemon, await self.begin())

    @running
    async def test_cut_download(self) -> None:
        """A client that still reads what it has downloaded itself gets no end either."""
        daemon = await self.start(scrub_rate=self.rate())
        response = await self.begin()
        await self.settled(daemon)
        flip(self.file)
        await self.check_cut(daemon, response)

    async def begin(self) -> Response:
        """Begin to receive the layer, and do not read on."""
        response = await self.client.begin(self.path)
        await response.got_headers
        response.pause()
        return response

    async def check_cut(self, daemon: Daemon, response: Response) -> None:
        """Scrub, and read on: that response gets no end, and the next one has the right bytes."""
        status = await self.scrubbed(daemon)
        self.assertEqual(1, status.quarantined)
        response.resume()
        got = await response.done
        self.assertFalse(got.complete)
        self.assertLess(len(got.body), self.size)
        self.assertEqual(self.layer, await self.pull())


class Going(ScrubTestCase):
    """Passes that are interrupted, and that come by themselves."""

    def fill(self, count: int) -> list[Digest]:
        return [self.registry.add_blob(b"%d" % number * 100) for number in range(count)]

    async def stored(self, daemon: Daemon, digests: list[Digest]) -> None:
        for digest in digests:
            await self.client.get(f"/v2/{REPOSITORY}/blobs/{digest}")
        await self.settled(daemon)

    @running
    async def test_restart(self) -> None:
        """A pass continues after a restart where it was, and checks nothing twice."""
        daemon = await self.filled()
        await self.stored(daemon, self.fill(20))
        scrub = daemon.parts.scrub
        middle: Deferred[None] = Deferred()
        pause = lambda _: middle if scrub.status.objects >= 5 else succeed(None)  # noqa: E731
        self.patch(scrub_module, "sleeping", lambda _: pause)
        scrub.start(1)
        await until(lambda: scrub.status.objects >= 5)
        await self.stop()
        done = scrub.status
        self.assertFalse(done.running)
        self.assertTrue(5 <= done.objects < 24, done.objects)
        makers = evolve(self.makers, scrub_limits=evolve(LIMITS, times=ScrubTimes(first=0.0)))
        daemon = await self.start(makers=makers, scrub_interval=86400.0, scrub_rate=self.rate())
        await until(lambda: daemon.parts.scrub.status.ended is not None)
        status = daemon.parts.scrub.status
        self.assertEqual(24, status.objects)
        self.assertEqual(done.since, status.since)
        checked = sum(
            daemon.parts.metrics.registry.get_sample_value(
                "oci_registry_scrub_checked_total", {"kind": kind}
            )
            or 0
            for kind in ("blob", "manifest", "tag")
        )
        self.assertEqual(24 - done.objects, checked)

    @running
    async def test_shutdown(self) -> None:
        """A daemon that stops does not wait for a pass."""
        daemon = await self.filled()
        scrub = daemon.parts.scrub
        scrub.start(1)
        await until(lambda: scrub.status.running and scrub._pass is not None)
        await self.stop()
        self.assertFalse(scrub.status.running)
        self.assertEqual("it was stopped", scrub.status.problem)
        self.assertFalse(scrub.start())

    @running
    async def test_interval(self) -> None:
        """Passes come at intervals, counted from the begin of the last one."""
        makers = evolve(
            self.makers, scrub_limits=evolve(LIMITS, times=ScrubTimes(first=0.0, looking=30.0))
        )
        daemon = await self.start(makers=makers, scrub_interval=3600.0, scrub_rate=self.rate())
        scrub = daemon.parts.scrub
        await until(lambda: scrub.status.ended is not None)
        first = scrub.status.since
        self.time.forward(1800)
        await deferLater(reactor, 0.1)
        self.assertEqual(first, scrub.status.since)
        self.time.forward(1900)
        await until(lambda: scrub.status.since != first and not scrub.status.running)

    @running
    async def test_sweep_meanwhile(self) -> None:
        """A sweep and evictions may continue at the same time."""
        daemon = await self.filled()
        digests = self.fill(30)
        await self.stored(daemon, digests)
        flip(self.root / blob_key(digests[3]))
        await self.later(15 * 86400)
        scrub = daemon.parts.scrub
        scrub.start()
        sweeping = daemon.parts.sweep.run()
        await sweeping
        await until(lambda: not scrub.status.running)
        self.assertIsNone(scrub.status.problem)
        for number, digest in enumerate(digests):
            got = await self.client.get(f"/v2/{REPOSITORY}/blobs/{digest}")
            self.assertEqual(b"%d" % number * 100, bytes(got.body))
