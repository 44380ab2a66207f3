"""Figures of a daemon that serves pulls."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from oci_registry.activity.file import FILE, HistoryFile, OfAnother
from oci_registry.admin.local import NAME
from oci_registry.spec.sizes import parse_size
from tests.support.admin import AdminTestCase, LocalClient, events_of
from tests.support.daemon import running, until
from tests.support.fake_replies import Reply
from tests.support.patterns import noise
from tests.support.workers import WorkersTestCase

APP = "/v2/library/app"
LAYER = noise(1, 300_000)


class Activity(AdminTestCase):
    """What has happened, of pulls as clients make them."""

    async def totals(self, period: str = "hour") -> dict[str, int]:
        code, answer = await self.call("GET", f"/activity?period={period}")
        self.assertEqual(200, code)
        totals: dict[str, int] = answer["totals"]
        return totals

    async def pull(self, tag: str) -> None:
        """Pull an image of `registry`, as containerd does."""
        manifest = await self.client.get(f"{APP}/manifests/{tag}", "HEAD")
        self.assertEqual(200, manifest.status)
        digest = manifest.headers["docker-content-digest"]
        got = await self.client.get(f"{APP}/manifests/{digest}")
        document = json.loads(got.body)
        blobs = [each["digest"] for each in (document["config"], *document["layers"])]
        found = await gatherResults([self.fetch(blob) for blob in blobs])
        self.assertEqual({200}, set(found))
        await until(lambda: not len(self.daemons[-1].parts.records))

    def fetch(self, blob: str) -> Deferred[int]:
        async def get() -> int:
            return (await self.client.get(f"{APP}/blobs/{blob}")).status

        return Deferred.fromCoroutine(get())

    @running
    async def test_pulls(self) -> None:
        """A pull from the registry and those from the store: requests, hits, bytes, and images."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await self.pull("1")
        await self.idle()
        cold = await self.totals()
        size = cold["bytes_fetched"]
        self.assertGreater(size, len(LAYER))
        self.assertEqual((4, size, 0), (cold["requests"], cold["bytes_sent"], cold["bytes_saved"]))
        self.assertEqual((1, 0), (cold["images"], cold["images_cached"]))
        for _ in range(3):
            await self.pull("1")
        warm = await self.totals()
        self.assertEqual((16, 0, 4), (warm["requests"], warm["errors"], warm["images"]))
        self.assertEqual(3, warm["images_cached"])
        self.assertEqual((3 * size, size), (warm["bytes_saved"], warm["bytes_fetched"]))
        self.assertEqual((13, 3), (warm["hits"], warm["misses"]))
        # Docker Hub counts each GET of a manifest: of four that clients sent it got one.
        self.assertEqual(3, warm["pulls_saved"])

    @running
    async def test_evicted_blob(self) -> None:
        """An image whose manifest is stored, but not all of its blobs, is not one from the store."""
        _, blobs = self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await self.pull("1")
        await self.idle()
        self.assertEqual(200, (await self.call("DELETE", f"/blob?digest={blobs[1]}"))[0])
        for expected in (0, 1):
            await self.pull("1")
            await self.idle()
            self.assertEqual(expected, (await self.totals())["images_cached"])

    @running
    async def test_errors(self) -> None:
        """What could not be served because a registry fails is an error."""
        self.registry.script("/manifests/", Reply(500, body=b""))
        await self.start()
        got = await self.time.hurry(self.client.get(f"{APP}/manifests/1"))
        self.assertLess(500, got.status)
        totals = await self.totals()
        self.assertEqual((1, 1, 0), (totals["requests"], totals["errors"], totals["images"]))

    @running
    async def test_restart(self) -> None:
        """What has happened is known after a restart, and after the file was lost nothing else is."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await self.pull("1")
        before = await self.totals("day")
        await self.stop()
        self.assertEqual(0o600, (self.root / FILE).stat().st_mode & 0o777)
        await self.start()
        await until(lambda: self.recorder()._taken)
        self.assertEqual(before, await self.totals("day"))
        await self.pull("1")
        self.assertEqual(2, (await self.totals("week"))["images"])
        await self.stop()
        (self.root / FILE).write_text("broken")
        await self.start()
        await until(lambda: self.recorder()._taken)
        self.assertEqual(0, (await self.totals("week"))["images"])

    def recorder(self, number: int = -1) -> Any:
        """Return what records, of a daemon in this process."""
        (step,) = [s for s in self.daemons[number].parts.steps if s.name == "activity"]
        return step.stop.__self__  # type: ignore[attr-defined]

    @running
    async def test_killed(self) -> None:
        """It is written once a minute: what is lost with a process is what came after that."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await self.pull("1")
        self.time.forward(60)
        await until(lambda: (self.root / FILE).stat().st_size > 0)
        data = json.loads((self.root / FILE).read_bytes())
        rows = data["periods"]["hour"]
        self.assertEqual(4, sum(row[1 + data["columns"].index("requests")] for row in rows))

    @running
    async def test_two_daemons(self) -> None:
        """Of two daemons on one directory one keeps the file; the other takes over when that stops."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await until(lambda: self.recorder()._taken)
        await self.start(admin_socket=False)
        await self.pull("1")
        self.assertFalse(self.recorder()._taken)
        await self.daemons.pop(0).stopService()
        self.time.forward(60)
        await until(lambda: self.recorder()._taken)
        await self.stop()
        self.assertGreater((self.root / FILE).stat().st_size, 0)

    @running
    async def test_read_only(self) -> None:
        """A daemon that cannot have the file serves pulls, and knows what has happened since its start."""
        self.registry.add_image("library/app", "1", LAYER)
        self.root.mkdir()
        (self.root / FILE).mkdir()
        await self.start()
        await self.pull("1")
        self.assertEqual(1, (await self.totals())["images"])


class Disk(AdminTestCase):
    """The disk, and what comes next."""

    @running
    async def test_limit(self) -> None:
        """The limit, its watermark, and the image that was pulled longest ago, which is then evicted."""
        for tag in ("1", "2", "3"):
            self.registry.add_image("library/app", tag, noise(int(tag), 300_000))
        await self.start(max_size=parse_size("64MiB"), min_free=parse_size("1MiB"))
        await self.account_complete()
        _, disk = await self.call("GET", "/disk")
        self.assertEqual((2**26, 2**20, 0), (disk["limit"], disk["min_free"], disk["reserved"]))
        self.assertTrue(0 < disk["low"] < disk["limit"])
        self.assertGreater(disk["volume_size"], disk["volume_free"])
        self.assertIsNone(disk["next"])
        for tag in ("1", "2", "3"):
            got = await self.client.get(f"{APP}/manifests/{tag}")
            for each in json.loads(got.body)["layers"]:
                await self.client.get(f"{APP}/blobs/{each['digest']}")
            await self.idle()
            await until(lambda: not len(self.daemons[-1].parts.records))
            account = self.daemons[-1].parts.account
            assert account is not None
            await account.flush()
        self.time.forward(60)
        _, disk = await self.call("GET", "/disk")
        found = disk["next"]
        self.assertEqual(("image", "docker.io/library/app:1"), (found["kind"], found["name"]))
        self.assertGreater(found["frees"], 300_000)
        self.assertLess(found["used"], disk["time"])
        self.assertGreater(disk["size"], 900_000)

    @running
    async def test_no_limit(self) -> None:
        """Without a limit there is none, and nothing comes next."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        await self.account_complete()
        await self.client.get(f"{APP}/manifests/1")
        _, disk = await self.call("GET", "/disk")
        self.assertEqual([None] * 4, [disk[name] for name in ("limit", "low", "min_free", "next")])

    @running
    async def test_first_images(self) -> None:
        """The largest image comes first, and the one that was pulled most."""
        for tag, size in (("1", 100), ("2", 30_000)):
            self.registry.add_image("library/app", tag, noise(int(tag), size))
        await self.start()
        await self.account_complete()
        for tag in ("1", "2"):
            got = await self.client.get(f"{APP}/manifests/{tag}")
            for each in json.loads(got.body)["layers"]:
                await self.client.get(f"{APP}/blobs/{each['digest']}")
            await self.idle()
        await until(lambda: not len(self.daemons[-1].parts.records))
        account, pulls = self.daemons[-1].parts.account, 0
        assert account is not None
        # What is known before a pull is what that counts for.
        await account.flush()
        self.time.forward(100)
        await self.client.get(f"{APP}/manifests/1")
        while not pulls:
            # A use is noted after the response.
            await account.flush()
            pulls = await account.ask(
                lambda books: books.sql.execute("SELECT sum(total) FROM manifests").fetchone()[0]
            )
        for order, expected in (("size", ["2", "1"]), ("pulls", ["1"])):
            code, top = await self.call("GET", f"/images/top?order={order}")
            self.assertEqual((200, expected), (code, [image["tag"] for image in top["images"]]))

    @running
    async def test_summaries(self) -> None:
        """Summaries come while they are followed; pulls are in them."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start()
        stream = await self.admin.begin("/api/v1/events?kind=summary")
        await until(lambda: bool(events_of(stream)))
        await self.client.get(f"{APP}/manifests/1")
        self.time.forward(2)
        await until(lambda: events_of(stream)[-1]["fields"]["requests"] == 1)
        last = events_of(stream)[-1]["fields"]
        self.assertEqual((0, 1, 1), (last["transfers"], last["misses"], last["images"]))


class Workers(WorkersTestCase):
    """A daemon with two worker processes."""

    @running
    async def test_once(self) -> None:
        """A hit counts once, whichever process sends it, and so do its kind and its method."""
        self.registry.add_image("library/app", "1")
        daemon, _ = await self.serve()
        admin = LocalClient(self.root / NAME)
        self.addCleanup(admin.close)

        async def totals() -> dict[str, int]:
            response = await admin.get("/api/v1/activity")
            found: dict[str, int] = json.loads(response.body)["totals"]
            return found

        for number in range(60):
            connection = await self.connect()
            connection.ask(f"{APP}/manifests/1", Connection="close")
            status = (await connection.ended()).split(b" ")[1]
            self.assertEqual(b"200", status, number)
        found = await totals()
        while found["requests"] < 60:
            # Workers report what they have counted every quarter of a second.
            found = await totals()
        self.assertEqual((60, 60, 59), (found["requests"], found["images"], found["images_cached"]))
        self.assertEqual((59, 1, 59), (found["hits"], found["misses"], found["pulls_saved"]))
        await daemon.kill("TERM")
        self.assertTrue((self.root / FILE).exists())


class File(AdminTestCase):
    """The file itself."""

    def test_locked(self) -> None:
        """One process has it at a time, also after it was replaced; the next has the content."""
        path = str(Path(self.mktemp()))
        first, second = HistoryFile(path), HistoryFile(path)
        self.assertEqual(b"", first.take())
        self.assertRaises(OfAnother, second.take)
        for data in (b"one", b"two"):
            first.write(data)
            self.assertRaises(OfAnother, second.take)
        first.close()
        first.close()
        self.assertEqual(b"two", second.take())
        self.assertRaises(OfAnother, first.take)
        second.close()
        self.assertEqual([], [name for name in os.listdir(".") if name.endswith(".new")])

    def test_no_link(self) -> None:
        """A link in its place is not followed."""
        path = self.mktemp()
        os.symlink("/etc/hostname", path)
        self.assertRaises(OSError, HistoryFile(path).take)

    def test_leftover(self) -> None:
        """What a process that was killed has left is no obstacle."""
        path = self.mktemp()
        Path(f"{path}.new").write_bytes(b"a longer one than the next")
        file = HistoryFile(path)
        file.take()
        file.write(b"short")
        file.close()
        self.assertEqual(b"short", Path(path).read_bytes())
