"""Clients that leave whenever they like cost nothing that lasts."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from random import Random

from twisted.internet.task import deferLater

from oci_registry.account.schema import FILE
from oci_registry.activity.file import FILE as ACTIVITY
from oci_registry.storage.drivers.open_files import OpenFilesLimits
from oci_registry.storage.lock import LOCK
from tests.support.daemon import MirrorTestCase, reactor, running, until

SIZE = 600_000


def open_files(root: Path) -> set[str]:
    """Return the paths below *root* that this process has open, except those of a whole daemon."""
    paths = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            paths.add(os.readlink(f"/proc/self/fd/{number}"))
    top = str(root.resolve())
    kept = tuple(f"{top}/{name}" for name in (LOCK, FILE, ACTIVITY))
    return {path for path in paths if path.startswith(top) and not path.startswith(kept)}


class Leaving(MirrorTestCase):
    """Many clients, none of which stays to the end."""

    @running
    async def test_nothing_lasts(self) -> None:
        """After clients have left at any moment, no file, connection or reader is left of them."""
        random = Random(9)
        blobs = [random.randbytes(SIZE) for _ in range(4)]
        paths = [f"/v2/library/app/blobs/{self.registry.add_blob(blob)}" for blob in blobs]
        self.registry.add_image("library/app", "1")
        paths.append("/v2/library/app/manifests/1")
        daemon = await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get("/v2/")
        for _ in range(150):
            path = random.choice(paths)
            if random.random() < 0.3:
                response = await self.client.begin(path)
                for _ in range(random.randrange(4)):
                    await deferLater(reactor, 0)
            else:
                response = await self.client.begin(path, leave_at=random.randrange(SIZE))
                if random.random() < 0.5:
                    await response.done
                    continue
            response.close()
        for response in self.client.responses:
            response.close()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        for path, blob in zip(paths, blobs, strict=False):
            got = await self.client.get(path)
            self.assertTrue(bytes(got.body) == blob)
        await until(lambda: len(self.files("blobs")) == 4 and not self.files("transfers"))
        for response in self.client.responses:
            response.close()
        await until(lambda: daemon.parts.site.connection_count() == 0)
        self.time.forward(2 * OpenFilesLimits().idle)
        await until(lambda: not open_files(self.root))
        page = await self.client.get("/metrics")
        self.assertIn(b"oci_registry_transfers_in_flight 0.0", page.body)
        self.assertEqual(4, self.registry.count("/blobs/"))
