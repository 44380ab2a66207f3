"""With worker processes, what is missing or broken in the store is fetched again when requested."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import deferLater

from oci_registry.admin.local import NAME
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key
from oci_registry.workers.sending import LEAST
from tests.support.admin import LocalClient
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.patterns import noise
from tests.support.workers import WorkersTestCase


class Healing(WorkersTestCase):
    """A layer that is large enough to be sent by a worker."""

    def remove(self, path: Path) -> None:
        path.unlink()

    def truncate(self, path: Path) -> None:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:1000])
        path.chmod(0o444)

    async def check(self, client: Client, path: str, layer: bytes) -> None:
        """Ask for the layer in all ways."""
        head = await client.get(path, "HEAD")
        self.assertEqual((200, len(layer)), (head.status, head.length))
        part = await client.get(path, Range="bytes=100-199")
        self.assertEqual((206, layer[100:200]), (part.status, bytes(part.body)))
        got = await client.get(path)
        self.assertEqual((200, True), (got.status, got.complete))
        self.assertTrue(layer == bytes(got.body))

    @running
    async def test_blob(self) -> None:
        """A blob that workers have sent is fetched again when its file is gone or truncated."""
        layer = noise(2, LEAST + 100_000)
        _, blobs = self.registry.add_image("library/app", "1", layer)
        path = f"/v2/library/app/blobs/{blobs[1]}"
        _, client = await self.serve()
        await client.get("/v2/library/app/manifests/1")
        await self.check(client, path, layer)
        file = self.stored(blobs[1])
        for spoil in (self.remove, self.truncate):
            await until(lambda: file.exists() and file.stat().st_size == len(layer))
            for _ in range(3):
                await self.check(client, path, layer)
            spoil(file)
            await self.check(client, path, layer)

    @running
    async def test_corrupt(self) -> None:
        """A worker stops sending a blob that a scrub finds corrupt; the next client gets the right bytes."""
        layer = noise(3, 12 * LEAST)
        digest = self.registry.add_blob(layer)
        path = f"/v2/library/app/blobs/{digest}"
        _, client = await self.serve("--scrub-rate", "0")
        admin = LocalClient(self.root / NAME)
        self.addCleanup(admin.close)
        await client.get(path)
        file = self.stored(digest)
        await until(file.exists)
        file.chmod(0o644)
        with file.open("r+b") as opened:
            opened.seek(-1, os.SEEK_END)
            opened.write(b"x" if layer[-1:] != b"x" else b"y")
        file.chmod(0o444)
        slow = await client.begin(path)
        await slow.got_headers
        slow.pause()
        self.assertEqual(202, (await admin.get("/api/v1/scrub", "POST")).status)
        while b'"running":true' in (await admin.get("/api/v1/scrub")).body:
            await deferLater(reactor, 0.1)
        slow.resume()
        got = await slow.done
        self.assertFalse(got.complete)
        self.assertLess(len(got.body), len(layer))
        await self.check(client, path, layer)

    def stored(self, digest: Digest) -> Path:
        """Return the file of a blob."""
        return Path(self.root) / blob_key(digest)
