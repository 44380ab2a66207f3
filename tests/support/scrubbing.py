"""A daemon with an image that is stored, and that a scrub looks at."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from oci_registry.account.account import AccountLimits
from oci_registry.makers import Makers
from oci_registry.scrub.limits import ScrubLimits
from oci_registry.scrub.one_pass import PassLimits
from oci_registry.scrub.times import ScrubTimes
from oci_registry.service import Daemon
from oci_registry.spec.sizes import Size
from oci_registry.storage.keys import blob_key
from tests.support.daemon import PATIENT, MirrorTestCase, until
from tests.support.patterns import noise

MIB = 1024 * 1024
LIMITS = ScrubLimits(one_pass=PassLimits(saving=0.0), times=ScrubTimes(again=1.0))
REPOSITORY = "library/app"


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a stored file, as a disk would: without its permissions or its times."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


class ScrubTestCase(MirrorTestCase):
    """An image with a layer that is stored."""

    makers = Makers(
        account_limits=AccountLimits(interval=0.01), scrub_limits=LIMITS, store_limits=PATIENT
    )
    size = 3 * MIB

    def setUp(self) -> None:
        super().setUp()
        self.layer = noise(5, self.size)
        self.manifest, self.blobs = self.registry.add_image(REPOSITORY, "1", self.layer)
        self.blob = self.blobs[1]
        self.path = f"/v2/{REPOSITORY}/blobs/{self.blob}"
        self.image = f"/v2/{REPOSITORY}/manifests/1"

    @property
    def file(self) -> Path:
        """The file of the layer."""
        return self.root / blob_key(self.blob)

    async def pull(self) -> bytes:
        """Pull the image; return its layer."""
        got = await self.client.get(self.image)
        self.assertEqual(200, got.status)
        for blob in self.blobs:
            got = await self.client.get(f"/v2/{REPOSITORY}/blobs/{blob}")
            self.assertEqual((200, True), (got.status, got.complete))
        return bytes(got.body)

    async def filled(self, **settings: Any) -> Daemon:
        """Return a daemon that has stored the image."""
        settings.setdefault("scrub_rate", self.rate())
        daemon = await self.start(**settings)
        self.assertEqual(self.layer, await self.pull())
        await self.settled(daemon)
        return daemon

    def rate(self, rate: int = 0) -> Any:
        """Return a rate in bytes per second."""
        return Size(rate, None, str(rate))

    async def settled(self, daemon: Daemon) -> None:
        """Wait until all is stored, and known."""
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        account = daemon.parts.account
        if account is not None:
            await until(lambda: account.is_complete)
            await account.flush()

    async def scrubbed(self, daemon: Daemon) -> Any:
        """Let a pass run to its end; return what it says."""
        scrub = daemon.parts.scrub
        self.assertTrue(scrub.start())
        await until(lambda: not scrub.status.running)
        return scrub.status

    def quarantine(self) -> list[str]:
        return sorted(self.files("quarantine"))
