"""What clients will request next is fetched before they do."""

from __future__ import annotations

import json

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import OCI_INDEX
from tests.support.patterns import noise

LAYER = noise(1, 300_000)


class Prefetch(MirrorTestCase):
    """A registry with ``prefetch``."""

    def fetching(self, namespace: str = "docker.io") -> UpstreamSettings:
        return self.upstream(namespace, prefetch=True)

    async def stored(self, *digests: Digest) -> None:
        """Wait until blobs are stored."""
        await until(lambda: len(self.files("blobs")) >= len(digests))
        await self.idle()

    def index(self, tag: str, *architectures: str) -> list[Digest]:
        """Have an index; return the digests of its manifests."""
        digests, entries = [], []
        for architecture in architectures:
            own = f"{tag} {architecture}"
            digest, _ = self.registry.add_image("library/app", own, own.encode())
            platform = {"os": "linux", "architecture": architecture}
            entries.append({"digest": str(digest), "platform": platform})
            digests.append(digest)
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        self.registry.add_manifest("library/app", tag, raw.encode(), OCI_INDEX)
        return digests

    @running
    async def test_layers(self) -> None:
        """A client pulls a manifest: config and layers are stored without being asked for."""
        _, blobs = self.registry.add_image("library/app", "1", b"one", LAYER)
        await self.start(self.fetching())
        await self.client.get("/v2/library/app/manifests/1")
        await self.stored(*blobs)
        self.assertEqual(3, self.registry.count("/blobs/"))
        for blob in blobs:
            self.assertEqual(200, (await self.client.get(f"/v2/library/app/blobs/{blob}")).status)
        self.assertEqual(3, self.registry.count("/blobs/"))

    @running
    async def test_nothing(self) -> None:
        """HEAD fetches nothing, nor a request that nobody waits for, nor a registry without the setting."""
        self.registry.add_image("library/app", "1", LAYER)
        await self.start(self.fetching(), self.upstream("example.com"))
        await self.client.get("/v2/library/app/manifests/1", "HEAD")
        await self.client.get("/v2/library/app/manifests/1", Priority="u=7")
        await self.client.get("/v2/library/app/manifests/1?ns=example.com")
        await self.idle()
        self.assertEqual(0, self.registry.count("/blobs/"))

    @running
    async def test_client_joins(self) -> None:
        """A client joins the download, and has its first bytes while it continues."""
        _, (_, layer) = self.registry.add_image("library/app", "1", LAYER)
        gate = self.registry.hold(f"/blobs/{layer}", LAYER, 200_000)
        await self.start(self.fetching())
        await self.client.get("/v2/library/app/manifests/1")
        await until(lambda: self.registry.count(f"/blobs/{layer}") == 1)
        client = await self.client.begin(f"/v2/library/app/blobs/{layer}")
        await until(lambda: len(client.body) >= 100_000)
        self.assertIn("collapsed", client.headers["cache-status"])
        gate.callback(None)
        await client.done
        self.assertTrue(client.body == LAYER, "the bytes differ")
        self.assertEqual(1, self.registry.count(f"/blobs/{layer}"))

    @running
    async def test_platforms(self) -> None:
        """Of an index, those platforms are fetched that clients have pulled before."""
        await self.start(self.fetching())
        first = self.index("1", "amd64", "arm64")
        await self.client.get("/v2/library/app/manifests/1")
        await self.idle()
        self.assertEqual(1, self.registry.count("/manifests/"))
        await self.client.get(f"/v2/library/app/manifests/{first[1]}")
        await self.stored(*first)
        newer = self.index("2", "amd64", "arm64")
        await self.client.get("/v2/library/app/manifests/2")
        await until(lambda: len(self.files("blobs")) == 4)
        await self.idle()
        counts = [self.registry.count(f"/manifests/{digest}") for digest in (*first, *newer)]
        self.assertEqual([0, 1, 0, 1], counts)

    @running
    async def test_platforms_after_restart(self) -> None:
        """After a restart a new index is fetched for the platforms that were used before, and no others."""
        await self.start(self.fetching())
        first = self.index("1", "amd64", "arm64")
        await self.client.get("/v2/library/app/manifests/1")
        await self.client.get(f"/v2/library/app/manifests/{first[1]}")
        await self.stored(*first)
        await self.stop()
        newer = self.index("2", "amd64", "arm64")
        await self.start(self.fetching())
        await self.client.get("/v2/library/app/manifests/2")
        await until(lambda: len(self.files("blobs")) == 4)
        await self.idle()
        counts = [self.registry.count(f"/manifests/{digest}") for digest in (*first, *newer)]
        self.assertEqual([0, 1, 0, 1], counts)

    @running
    async def test_stop(self) -> None:
        """A daemon that stops in the midst leaves nothing half stored."""
        _, (_, layer) = self.registry.add_image("library/app", "1", LAYER)
        gate = self.registry.hold(f"/blobs/{layer}", LAYER, 200_000)
        await self.start(self.fetching())
        await self.client.get("/v2/library/app/manifests/1")
        await until(lambda: self.registry.count(f"/blobs/{layer}") == 1)
        await self.stop()
        self.assertEqual(set(), self.files("transfers"))
        gate.callback(None)
