"""Figures of a daemon with a bucket."""

from __future__ import annotations

import json
import os
from glob import glob
from typing import Any

from oci_registry.spec.sizes import parse_size
from tests.support.admin import LocalClient
from tests.support.daemon import running, until
from tests.support.s3_daemon import BucketTestCase

PATH = "/v2/library/app/manifests/1"


class Figures(BucketTestCase):
    """A daemon whose admin API is on a socket."""

    async def begin(self, **settings: Any) -> None:
        place = self.root.parent / "admin.sock"
        await self.start(self.upstream("docker.io"), admin_listen=(f"unix:{place}",), **settings)
        self.admin = LocalClient(place)
        self.addCleanup(self.admin.close)
        (step,) = [s for s in self.daemons[-1].parts.steps if s.name == "activity"]
        recorder: Any = step.stop.__self__  # type: ignore[attr-defined]
        await until(lambda: recorder._taken)

    async def get(self, path: str) -> Any:
        response = await self.admin.get(f"/api/v1{path}")
        self.assertEqual(200, response.status)
        return json.loads(response.body)

    @running
    async def test_restart(self) -> None:
        """The history is in the directory of the spool, and is there after a restart."""
        self.registry.add_image("library/app", "1")
        await self.begin()
        for _ in range(2):
            self.assertEqual(200, (await self.client.get(PATH)).status)
        await until(lambda: not len(self.daemons[-1].parts.records))
        before = (await self.get("/activity"))["totals"]
        self.assertEqual((2, 1, 1), (before["images"], before["images_cached"], before["hits"]))
        await self.stop()
        (file,) = glob(os.path.join(self.storage.spool, "activity-*.json"))
        self.assertGreater(os.stat(file).st_size, 0)
        await self.begin()
        self.assertEqual(before, (await self.get("/activity"))["totals"])

    @running
    async def test_disk(self) -> None:
        """There is no volume; with a limit, there is that."""
        await self.begin()
        disk = await self.get("/disk")
        names = ("limit", "low", "volume_size", "volume_free", "min_free", "next")
        self.assertEqual([None] * 6, [disk[name] for name in names])
        await self.stop()
        await self.begin(max_size=parse_size("64MiB"))
        disk = await self.get("/disk")
        self.assertEqual((2**26, None), (disk["limit"], disk["volume_size"]))
