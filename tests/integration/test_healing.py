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
        spoils = (self.remove, self.empty, self.folder, self.symlink, self.forbidden)
        daemon = await self.start()
        images = []
        for number, spoil in enumerate(spoils * 2):
            tag = f"m{number}"
            digest, _ = self.registry.add_image(REPOSITORY, tag)
            self.assertEqual(200, (await self.manifest_of(tag, "GET")).status)
            reference = tag if number < len(spoils) else str(digest)
            images.append((digest, reference, spoil))
        await self.settled(daemon)
        await self.stop()
        stored = []
        for digest, _, spoil in images:
            path = self.root / manifest_key("docker.io", digest)
            stored.append((path, path.read_bytes()))
            spoil(path)
        daemon = await self.start()
        for digest, reference, _ in images:
            for method in ("HEAD", "GET"):
                got = await self.manifest_of(reference, method)
                self.assertEqual(200, got.status)
                self.assertEqual(str(digest), got.headers["docker-content-digest"])
        await until(lambda: not len(daemon.parts.records))
        for path, whole in stored:
            self.assertEqual(whole, path.read_bytes())

    async def manifest_of(self, reference: str, method: str) -> Response:
        return await self.client.get(f"/v2/{REPOSITORY}/manifests/{reference}", method)

    @running
    async def test_tag(self) -> None:
        """A tag whose record is missing or corrupt is requested again."""
        spoils = (self.remove, self.empty, self.folder, self.symlink, self.forbidden)
        daemon = await self.start()
        tags = {}
        for number in range(len(spoils)):
            tag = f"t{number}"
            tags[tag], _ = self.registry.add_image(REPOSITORY, tag)
            self.assertEqual(200, (await self.manifest_of(tag, "GET")).status)
        await self.settled(daemon)
        await self.stop()
        paths = {tag: self.root / tag_key("docker.io", REPOSITORY, tag) for tag in tags}
        for path, spoil in zip(paths.values(), spoils, strict=True):
            self.assertTrue(path.is_file())
            spoil(path)
        daemon = await self.start()
        self.registry.asked.clear()
        for tag in tags:
            self.assertEqual(200, (await self.manifest_of(tag, "GET")).status)
        await until(lambda: not len(daemon.parts.records))
        for (tag, digest), spoil in zip(tags.items(), spoils, strict=True):
            # Nothing is forbidden to root.
            if os.geteuid() or spoil != self.forbidden:
                self.assertTrue(self.registry.matching(f"manifests/{tag}"), tag)
            self.assertIn(str(digest), paths[tag].read_text())

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
