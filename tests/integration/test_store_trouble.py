"""A directory that fails while blobs are downloaded into it: pulls continue, and it is used again."""

from __future__ import annotations

import os
import shutil
from errno import EIO, ENOSPC, EROFS
from functools import partial
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from oci_registry.makers import Makers
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.streams.limits import GrowingLimits
from tests.support.client import Response
from tests.support.daemon import PATIENT, MirrorTestCase, running, until
from tests.support.disk import Fault, beyond, creating, error, failing
from tests.support.fake_replies import Reply
from tests.support.patterns import noise

MIB = 1024 * 1024
SIZE = 17 * MIB
HELD_AT = 16 * MIB
FULL_AT = 8 * MIB
"""So early that what is kept in memory from there on does not reach to the gate."""


class TroubleTestCase(MirrorTestCase):
    """A blob of 17 MiB, of which upstream sends 16 before it waits."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.data = noise(8, SIZE)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"
        self.gate: Deferred[None] = Deferred()
        self.hold()
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        # Ten seconds are long for a test: for those who hold up others, and after the last failure.
        self.makers = Makers(
            store_health=partial(StoreHealth, recovery=0.0),
            store_limits=PATIENT,
            transfer_limits=TransferLimits(growing=GrowingLimits(stall=0.2)),
        )

    def hold(self) -> None:
        """Let upstream wait in the middle until the gate opens."""
        body = Reply(body=self.data, hold=self.gate, hold_at=HELD_AT)
        self.registry.script(str(self.digest), body)

    def said(self, level: LogLevel) -> list[str]:
        """Return what was said about the store."""
        return [
            formatEvent(event)
            for event in self.logged
            if event.get("log_level") is level
            and str(event.get("log_namespace", "")).endswith("StoreHealth")
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric."""
        metrics = self.daemons[-1].parts.metrics
        value: float | None = metrics.registry.get_sample_value(f"oci_registry_{name}", labels)
        return value

    async def begin(self) -> Response:
        """Begin to get the blob."""
        return await self.client.begin_compared(self.path, self.data)

    def check(self, *responses: Response) -> None:
        """They have all bytes."""
        for response in responses:
            self.assertEqual((200, True), (response.status, response.complete))
            self.assertTrue(response.body.right, "the bytes differ")

    def asked(self) -> int:
        """Return how often upstream was asked for the blob."""
        return self.registry.count(str(self.digest))

    async def delete_root(self) -> None:
        """Delete the directory, into which the account may be written meanwhile."""

        def deleted() -> bool:
            shutil.rmtree(self.root, ignore_errors=True)
            return not self.root.exists()

        await until(deleted)

    async def served(self) -> None:
        """A fast reader, one far behind and one that comes late are all served to the end."""
        slow = await self.begin()
        await slow.got_headers
        slow.pause()
        fast = await self.begin()
        await until(lambda: len(fast.body) >= HELD_AT - MIB)
        self.assertLess(len(slow.body), FULL_AT)
        late = await self.begin()
        await late.got_headers
        self.gate.callback(None)
        for response in (fast, late):
            await response.done
        self.assertFalse(slow.complete)
        slow.resume()
        await slow.done
        self.check(fast, slow, late)
        await self.idle()

    async def recovers(self) -> None:
        """What was not stored is stored by the next pull, without a restart; both ends are told once."""
        self.assertEqual(set(), self.files())
        self.assertEqual(1, self.value("store_failing", doing="written"))
        self.assertEqual((1, 0), (len(self.said(LogLevel.error)), len(self.said(LogLevel.info))))
        before = self.asked()
        for _ in range(2):
            again = await self.begin()
            await again.done
            self.check(again)
            await self.idle()
        self.assertEqual(before + 1, self.asked())
        self.assertEqual(0, self.value("store_failing", doing="written"))
        self.assertEqual((1, 1), (len(self.said(LogLevel.error)), len(self.said(LogLevel.info))))
        self.assertEqual(1, len(self.files()))
        self.assertEqual(0, self.value("errors_total", kind="transfer") or 0)


class Writing(TroubleTestCase):
    """Nothing can be written, from some moment on."""

    async def goes_on(self, asked: int, **faults: Fault) -> None:
        """With *faults* all readers are served, by so many downloads, and the store recovers."""
        daemon = await self.start()
        await until(lambda: bool(daemon.parts.store_started.called))
        with failing(self.root, **faults):
            await self.served()
        self.assertEqual(asked, self.asked())
        await self.recovers()

    @running
    async def test_full_from_the_beginning(self) -> None:
        """No room for a file, or no inode: who is too slow, or late, gets a download of its own."""
        await self.goes_on(3, open=creating(ENOSPC))

    @running
    async def test_read_only_from_the_beginning(self) -> None:
        """The same when the file system is read-only,"""
        await self.goes_on(3, open=creating(EROFS), mkdir=error(EROFS), unlink=error(EROFS))

    @running
    async def test_broken_from_the_beginning(self) -> None:
        """or the disk broken."""
        await self.goes_on(3, open=creating(EIO))

    @running
    async def test_full_in_the_middle(self) -> None:
        """The disk is full when some of the blob is written."""
        await self.goes_on(3, write=beyond(FULL_AT, ENOSPC))

    @running
    async def test_read_only_in_the_middle(self) -> None:
        """The file system becomes read-only when some of the blob is written."""
        await self.goes_on(3, write=beyond(FULL_AT, EROFS))

    @running
    async def test_broken_in_the_middle(self) -> None:
        """The disk breaks when some of the blob is written."""
        await self.goes_on(3, write=beyond(FULL_AT, EIO))

    @running
    async def test_full_at_the_commit(self) -> None:
        """The disk turns out to be full when all clients are served: one download was enough."""
        await self.goes_on(1, fsync=error(ENOSPC))

    @running
    async def test_read_only_at_the_commit(self) -> None:
        """The same when it has become read-only,"""
        await self.goes_on(1, replace=error(EROFS))

    @running
    async def test_broken_at_the_commit(self) -> None:
        """or broken."""
        await self.goes_on(1, fsync=error(EIO))

    @running
    async def test_root_deleted(self) -> None:
        """The directory is deleted in the middle: what is open is read on, and the next pull makes it."""
        await self.start()

        slow = await self.begin()
        await slow.got_headers
        slow.pause()
        fast = await self.begin()
        await until(lambda: len(fast.body) >= HELD_AT - MIB)
        await self.delete_root()
        late = await self.begin()
        await late.got_headers
        self.gate.callback(None)
        for response in (fast, late):
            await response.done
        slow.resume()
        await slow.done
        self.check(fast, slow, late)
        await self.idle()
        self.assertEqual(1, self.asked())
        await self.recovers()

    @running
    async def test_root_deleted_between_pulls(self) -> None:
        """Where the directory is gone the next pull makes it, and nothing is said."""
        await self.start()
        self.gate.callback(None)
        for _ in range(2):
            got = await self.begin()
            await got.done
            self.check(got)
            await self.idle()
            self.assertEqual(1, len(self.files()))
            await self.delete_root()
        self.assertEqual([], self.said(LogLevel.error))
        self.assertEqual(2, self.asked())

    @running
    async def test_whole_images(self) -> None:
        """Manifests and tags that cannot be written are served as blobs are, and it is one trouble."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        paths = ["manifests/1", f"manifests/{manifest}", *(f"blobs/{blob}" for blob in blobs)]
        await self.start()

        async def pull() -> None:
            for path in paths:
                got = await self.client.get(f"/v2/library/app/{path}")
                self.assertEqual((200, True), (got.status, got.complete), path)
                expected = path.partition("/")[2] if ":" in path else str(manifest)
                self.assertEqual(expected, str(Digest.of(bytes(got.body))))
            await self.idle()

        with failing(self.root, open=creating(EROFS), replace=error(EROFS)):
            for _ in range(3):
                await pull()
            self.assertEqual(set(), self.files())
            self.assertEqual(1, self.value("store_failing", doing="written"))
        await pull()
        await until(lambda: len(self.files("blobs")) == len(blobs))
        self.assertEqual(0, self.value("store_failing", doing="written"))
        self.assertEqual((1, 1), (len(self.said(LogLevel.error)), len(self.said(LogLevel.info))))

    @running
    async def test_pulled_again(self) -> None:
        """What was served from memory while the disk was full is stored when it is pulled again."""
        manifest, _ = self.registry.add_image("library/app", "1", b"layer" * 1000)
        daemon = await self.start()

        async def pull() -> None:
            for reference in ("1", str(manifest)):
                got = await self.client.get(f"/v2/library/app/manifests/{reference}")
                self.assertEqual((200, manifest), (got.status, Digest.of(bytes(got.body))))
            await until(lambda: not len(daemon.parts.records))

        with failing(self.root, open=creating(ENOSPC)):
            for _ in range(3):
                await pull()
        self.assertEqual(set(), self.files("repositories"))
        asked = self.registry.count("manifests")
        self.time.forward(10)
        await pull()
        self.assertEqual(2, len(self.files("repositories")))
        self.assertEqual(asked, self.registry.count("manifests"))


class Ready(TroubleTestCase):
    """What is stored can be served while nothing can be written."""

    @running
    async def test_full_or_read_only(self) -> None:
        """Hits are served, the daemon is ready and says what is wrong, and the metrics say it too."""
        digest = self.registry.add_blob(b"layer" * 1000)
        path = f"/v2/library/app/blobs/{digest}"
        await self.start()
        await self.client.get(path)
        await self.idle()
        for faults, reason in (
            ({"write": error(ENOSPC)}, "No space left on device"),
            ({"open": creating(EROFS), "unlink": error(EROFS)}, "Read-only file system"),
        ):
            with failing(self.root, **faults):
                for _ in range(3):
                    ready = await self.client.get("/readyz")
                    self.assertEqual(200, ready.status)
                    said = f"ready, but nothing new is stored: {reason}\n"
                    self.assertEqual(said, bytes(ready.body).decode())
                self.assertEqual(200, (await self.client.get(path)).status)
                await self.client.get("/metrics")
                self.assertEqual(0, self.value("store_writable"))
            self.assertEqual(1, self.value("store_readable"))
            self.assertEqual(1, self.registry.count(str(digest)))
            self.assertEqual(1, len(self.said(LogLevel.error)))
            self.assertEqual(b"ready\n", bytes((await self.client.get("/readyz")).body))
            self.assertEqual(1, self.value("store_writable"))
            self.logged.clear()

    @running
    async def test_unreadable(self) -> None:
        """It is not ready while what is stored cannot be read."""
        await self.start()
        with failing(self.root, scandir=error(EIO)):
            ready = await self.client.get("/readyz")
            self.assertEqual(503, ready.status)
            self.assertEqual(b"not ready: Input/output error\n", bytes(ready.body))
            self.assertEqual(0, self.value("store_readable"))

    @running
    async def test_space(self) -> None:
        """The metrics tell the space of the volume, and what is stored."""
        digest = self.registry.add_blob(b"layer" * 1000)
        daemon = await self.start()
        await self.client.get(f"/v2/library/app/blobs/{digest}")
        await self.idle()
        await self.client.get("/metrics")
        free, size = self.value("store_free_bytes"), self.value("store_size_bytes")
        self.assertTrue(0 <= (free or 0) < (size or 0), (free, size))
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.is_complete)
        await account.flush()
        stored = self.value("store_objects"), self.value("store_bytes")
        self.assertEqual((1, 5000), stored)


class Reading(TroubleTestCase):
    """What was written cannot be read."""

    @running
    async def test_growing_file(self) -> None:
        """A client that is behind, or late, when the growing file cannot be read gets its own download."""
        await self.start()
        slow = await self.begin()
        await slow.got_headers
        slow.pause()
        fast = await self.begin()
        await until(lambda: len(fast.body) == HELD_AT)
        with failing(self.root, pread=error(EIO), preadv=error(EIO)):
            late = await self.begin()
            await until(lambda: self.asked() == 2)
            slow.resume()
            await until(lambda: self.asked() == 3)
            self.assertEqual(1, self.value("store_failing", doing="read"))
            self.gate.callback(None)
            for response in (fast, slow, late):
                await response.done
            self.check(fast, slow, late)
            await self.idle()
        self.assertEqual(set(), self.files())
        self.assertEqual(3, self.asked())
        again = await self.begin()
        await again.done
        self.check(again)
        await self.idle()
        self.assertEqual(1, len(self.files()))
        self.assertEqual(0, self.value("store_failing", doing="read"))
        self.assertEqual((1, 1), (len(self.said(LogLevel.error)), len(self.said(LogLevel.info))))

    @running
    async def test_stored_file(self) -> None:
        """A client that reads a stored blob that cannot be read any further continues from a download.

        If that is faster, and its file cannot be read either, it is one more, for this reader alone.
        """
        await self.start()
        self.gate.callback(None)
        first = await self.begin()
        await first.done
        await self.idle()
        slow = await self.begin()
        await slow.got_headers
        slow.pause()
        sending = patch.object(os, "sendfile", side_effect=OSError(EIO, "I/O error"))
        with failing(self.root, pread=error(EIO), preadv=error(EIO)), sending:
            slow.resume()
            await slow.done
            self.check(slow)
            await self.idle()
        self.assertIn(self.asked(), (2, 3))
        self.assertEqual(1, self.value("store_failing", doing="read"))
