"""What is missing or broken in the store is fetched again when it is requested."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.support.client import Response
from tests.support.daemon import running, until
from tests.support.scrubbing import REPOSITORY, ScrubTestCase

RANGE = "bytes=100-199"


class Missing(ScrubTestCase):
    """Files that somebody has removed or replaced."""

    async def check_layer(self) -> None:
        """Ask for the layer in all ways, and wait until it is stored."""
        head = await self.client.get(self.path, "HEAD")
        self.assertEqual((200, self.size), (head.status, head.length))
        part = await self.client.get(self.path, Range=RANGE)
        self.assertEqual((206, self.layer[100:200]), (part.status, bytes(part.body)))
        got = await self.client.get(self.path)
        self.assertEqual((200, self.layer), (got.status, bytes(got.body)))
        await until(lambda: self.file.is_file() and not self.file.is_symlink())
        await self.idle()
        self.assertEqual(self.layer, self.file.read_bytes())

    def remove(self, path: Path) -> None:
        path.unlink()

    def truncate(self, path: Path) -> None:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:1000])
        path.chmod(0o444)

    def empty(self, path: Path) -> None:
        path.chmod(0o644)
        path.write_bytes(b"")
        path.chmod(0o444)

    def folder(self, path: Path) -> None:
        path.unlink()
        path.mkdir()

    def symlink(self, path: Path) -> None:
        path.unlink()
        path.symlink_to("/etc/passwd")

    def pipe(self, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def forbidden(self, path: Path) -> None:
        path.chmod(0)

    def parent(self, path: Path) -> None:
        shutil.rmtree(path.parent)

    @running
    async def test_blob(self) -> None:
        """A daemon that has served a blob in all ways fetches it again, and so does one that has started."""
        for restart in (False, True):
            await self.afresh()
            await self.filled()
            for spoil in (
                self.remove,
                self.truncate,
                self.empty,
                self.folder,
                self.symlink,
                self.pipe,
                self.forbidden,
                self.parent,
            ):
                for _ in range(3):
                    await self.client.get(self.path, Range=RANGE)
                if restart:
                    await self.stop()
                spoil(self.file)
                if restart:
                    await self.start()
                    await self.client.get(self.image)
                await self.check_layer()

    @running
    async def test_manifest(self) -> None:
        """A manifest that is missing or corrupt is fetched again, by tag and by digest; its tag stays."""
        for spoil in (self.remove, self.empty, self.folder, self.symlink, self.forbidden):
            for reference in ("1", str(self.manifest)):
                await self.afresh()
                await self.filled()
                await self.stop()
                path = self.root / manifest_key("docker.io", self.manifest)
                whole = path.read_bytes()
                spoil(path)
                daemon = await self.start()
                for method in ("HEAD", "GET"):
                    got = await self.manifest_of(reference, method)
                    self.assertEqual(200, got.status)
                    self.assertEqual(str(self.manifest), got.headers["docker-content-digest"])
                await until(lambda daemon=daemon: not len(daemon.parts.records))  # type: ignore[misc]
                self.assertEqual(whole, path.read_bytes())

    async def manifest_of(self, reference: str, method: str) -> Response:
        return await self.client.get(f"/v2/{REPOSITORY}/manifests/{reference}", method)

    @running
    async def test_tag(self) -> None:
        """A tag whose record is missing or corrupt is requested again."""
        for spoil in (self.remove, self.empty, self.folder, self.symlink, self.forbidden):
            await self.afresh()
            await self.filled()
            await self.stop()
            path = self.root / tag_key("docker.io", REPOSITORY, "1")
            spoil(path)
            daemon = await self.start()
            got = await self.manifest_of("1", "GET")
            self.assertEqual(200, got.status)
            await until(lambda daemon=daemon: not len(daemon.parts.records))  # type: ignore[misc]
            self.assertIn(str(self.manifest), path.read_text())

    @running
    async def test_folder_with_content(self) -> None:
        """A folder with content in the place of a blob stays; the blob is served without being stored."""
        await self.filled()
        self.file.unlink()
        (self.file / "more").mkdir(parents=True)
        self.assertEqual(self.layer, await self.pull())
        self.assertTrue(self.file.is_dir())

    @running
    async def test_scrub_of_odd_files(self) -> None:
        """A scrub finds nothing in files that are none, and takes out one that nobody can read."""
        daemon = await self.filled()
        for spoil in (self.folder, self.symlink, self.pipe):
            spoil(self.file)
            self.assertEqual(0, (await self.scrubbed(daemon)).found)
            await self.check_layer()
        if os.geteuid():
            self.forbidden(self.file)
            self.assertEqual(1, (await self.scrubbed(daemon)).quarantined)
            await self.check_layer()
        self.assertEqual([], [key for key in self.quarantine() if blob_key(self.blob) not in key])
