"""A directory that another program has filled is taken over, with care."""

from __future__ import annotations

import json
import os
from pathlib import Path

from oci_registry.spec.digest import Digest, Verifier
from oci_registry.storage import blobs as blob_store
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_upstream import manifest_of
from tests.support.original import original_file, original_key


class TakingOver(MirrorTestCase):
    """``blobs/sha256/ab/cdef...`` is the layout of both."""

    def place(self, digest: Digest, data: bytes) -> Path:
        """Put a blob there as another program would."""
        path = self.root / "blobs" / digest.algorithm / digest.encoded[:2] / digest.encoded[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    @running
    async def test_right_blobs_are_served_without_a_download(self) -> None:
        """A right blob is served from the start, and hashed but once."""
        data = b"right" * 100_000
        digest = Digest.of(data)
        self.place(digest, data)
        hashed = []

        class Counting(Verifier):
            """A verifier that records which blobs are hashed."""

            def __init__(self, expected: Digest) -> None:
                hashed.append(expected)
                super().__init__(expected)

        self.patch(blob_store, "Verifier", Counting)
        await self.start()
        for method in ("HEAD", "GET", "GET", "HEAD"):
            got = await self.client.get(f"/v2/library/app/blobs/{digest}", method)
            self.assertEqual((200, len(data)), (got.status, got.length))
        self.assertEqual(data, bytes((await self.client.get(f"/v2/x/blobs/{digest}")).body))
        self.assertEqual([digest], hashed)
        await self.stop()
        await self.start()
        await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual([digest], hashed)
        self.assertEqual([], self.registry.asked)

    @running
    async def test_wrong_and_short_blobs_are_replaced(self) -> None:
        """A wrong or truncated blob is dropped and fetched; its length is never told."""
        data = bytes(range(256)) * 1000
        digest = self.registry.add_blob(data)
        for wrong in (data[:-1], b"", data[:1000], data[:-1] + b"x", data + b"x"):
            path = self.place(digest, wrong)
            await self.start()
            head = await self.client.get(f"/v2/library/app/blobs/{digest}", "HEAD")
            self.assertEqual(len(data), head.length)
            got = await self.client.get(f"/v2/library/app/blobs/{digest}")
            self.assertEqual(data, bytes(got.body))
            await until(lambda path=path: path.exists())  # type: ignore[misc]
            await self.stop()
            self.assertEqual(data, path.read_bytes())
            path.unlink()

    @running
    async def test_own_blobs_are_not_hashed_again(self) -> None:
        """What this daemon has verified is served as it is."""
        digest = self.registry.add_blob(b"own" * 1000)
        await self.start()
        await self.client.get(f"/v2/library/app/blobs/{digest}")
        await until(lambda: bool(self.files("blobs")))
        self.patch(blob_store, "Verifier", None)
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(3000, len(got.body))

    @running
    async def test_check_cache_digest(self) -> None:
        """With ``--check-cache-digest`` a stored blob that has rotted is noticed and fetched."""
        data = b"fresh" * 10_000
        digest = self.registry.add_blob(data)
        await self.start(check_cache_digest=True)
        path = f"/v2/library/app/blobs/{digest}"
        await self.client.get(path)
        await until(lambda: bool(self.files("blobs")))
        stored = self.root / next(iter(self.files("blobs")))
        for rotten in (b"rotten" + data[6:], data[:100]):
            # Who asks before the transfer is over joins it, and the file is not looked at.
            await self.idle()
            stored.chmod(0o644)
            stored.write_bytes(rotten)
            stored.chmod(0o444)
            got = await self.client.get(path)
            self.assertEqual(data, bytes(got.body))
            await until(lambda: stored.exists() and stored.read_bytes() == data)
        self.assertEqual(3, self.registry.count("/blobs/"))

    @running
    async def test_old_blobs_survive_the_first_sweep(self) -> None:
        """A blob that another program wrote long ago counts as unused only from our start on."""
        data = b"old" * 1000
        digest = Digest.of(data)
        path = self.place(digest, data)
        os.utime(path, (1_000_000_000, 1_000_000_000))
        daemon = await self.start()
        await self.account_complete()
        await daemon.parts.sweep.run()
        got = await self.client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(data, bytes(got.body))
        self.assertEqual([], self.registry.asked)

    @running
    async def test_truncated_blob_that_looks_verified(self) -> None:
        """A blob shorter than its manifest says is hashed again, whatever its permissions."""
        _, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        await self.start()
        await self.client.get("/v2/library/app/manifests/1")
        for method in ("HEAD", "GET"):
            self.place(blobs[1], b"layer" * 999).chmod(0o444)
            got = await self.client.get(f"/v2/library/app/blobs/{blobs[1]}", method)
            self.assertEqual(5000, got.length)
        self.assertEqual(b"layer" * 1000, bytes(got.body))

    @running
    async def test_manifest_that_is_wrong_about_a_size(self) -> None:
        """A right blob is hashed once for a manifest that gives it another size, and then served."""
        digest = self.registry.add_blob(b"layer")
        layers = [{"mediaType": "a/b", "digest": str(digest), "size": 6}]
        raw = json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}).encode()
        self.registry.add_manifest("library/wrong", "1", raw)
        await self.start()
        await self.client.get(f"/v2/library/app/blobs/{digest}")
        await until(lambda: bool(self.files("blobs")))
        await self.client.get("/v2/library/wrong/manifests/1")
        for verifier in (blob_store.Verifier, None):
            self.patch(blob_store, "Verifier", verifier)
            got = await self.client.get(f"/v2/library/wrong/blobs/{digest}")
            self.assertEqual((200, b"layer"), (got.status, bytes(got.body)))
        self.assertEqual(1, self.registry.count("/blobs/"))

    @running
    async def test_manifests(self) -> None:
        """An image that mcronce/oci-registry has pulled is served without a download, while all is down."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer" * 1000)
        for digest in blobs:
            self.place(digest, self.registry.blobs[str(digest)])
        raw = self.registry.manifests["library/app", str(manifest)][0]
        data = original_file(manifest_of(raw))
        for reference in ("1", manifest):
            file = self.root / original_key("docker.io", "library/app", reference)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        before = self.files("manifests")
        await self.start()
        for path in (
            "manifests/1",
            f"manifests/{manifest}",
            f"blobs/{blobs[0]}",
            f"blobs/{blobs[1]}",
        ):
            self.assertEqual(200, (await self.client.get(f"/v2/library/app/{path}")).status)
        self.assertEqual(
            ["HEAD"], [asked.method for asked in self.registry.asked if "app" in asked.path]
        )
        await self.stop()
        self.assertEqual(before, self.files("manifests"))
        await self.registry.stop()
        await self.start()
        got = await self.client.get(f"/v2/library/app/manifests/{manifest}")
        self.assertEqual(raw, bytes(got.body))

    @running
    async def test_foreign_files_stay(self) -> None:
        """What is not ours is neither served nor removed at start."""
        self.root.mkdir()
        for name in ("notes.txt", "manifests/docker.io/x", "blobs/readme", "blobs/sha256/zz/top"):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("foreign")
        before = self.files()
        await self.start()
        self.assertEqual(200, (await self.client.get("/readyz")).status)
        self.assertEqual(before, self.files())
