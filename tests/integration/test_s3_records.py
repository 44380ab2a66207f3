"""Manifests and tags above a bucket that does not write: nobody waits for it."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.mediatypes import OCI_INDEX
from tests.support.daemon import running, until
from tests.support.s3_daemon import BucketTestCase
from tests.support.s3_proxy import held


class Hanging(BucketTestCase):
    """The bucket takes what is to be written, and does not answer; whoever waits for it waits too long."""

    timeout = 120

    @running
    async def test_nobody_waits(self) -> None:
        """A cold pull by tag and digest, and a tag that is confirmed, are answered at once."""
        image, _ = self.registry.add_image("library/app", "1", b"layer")
        other = self.registry.add_manifest("library/app", "2", b'{"manifests": []}', OCI_INDEX)
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        gate: Deferred[None] = Deferred()
        for kind in ("PUT", "DELETE"):
            self.proxy.script(kind, held(gate), "repositories/")
        for reference in ("1", "1", str(image), str(other), "2", "2"):
            got = await self.client.get(f"/v2/library/app/manifests/{reference}")
            self.assertEqual(200, got.status)
        await until(lambda: self.proxy.under_way["PUT"] > 0)
        self.assertEqual(set(), self.keys("repositories/"))
        self.proxy.unscript()
        gate.callback(None)
        await until(lambda: len(self.keys("repositories/")) == 4)
