"""Manifests that state a wrong size of a layer, and upstreams that answer HEAD badly."""

from __future__ import annotations

import json

from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Reply

DATA = b"layer " * 50_000
SIZE = len(DATA)
WRONG = (SIZE + 1, SIZE - 1, 2 * SIZE, 0, -1, str(SIZE), float(SIZE), None)


class WrongSizes(MirrorTestCase):
    """Two images with the same layer: one states its size, the other something else."""

    def setUp(self) -> None:
        super().setUp()
        self.registry.add_image("library/app", "good", DATA)
        self.digest = self.registry.add_blob(DATA)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    def add_bad(self, size: object) -> None:
        layer = {"mediaType": "a/b", "digest": str(self.digest), "size": size}
        if size is None:
            del layer["size"]
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": layer,
            "layers": [layer],
        }
        self.registry.add_manifest("library/app", "bad", json.dumps(manifest).encode())

    async def look(self, *tags: str) -> None:
        """Have manifests served."""
        for tag in tags:
            got = await self.client.get(f"/v2/library/app/manifests/{tag}")
            self.assertEqual(200, got.status)

    async def check(self) -> None:
        """The layer can be pulled."""
        told = await self.client.get(self.path, "HEAD")
        self.assertEqual((200, str(SIZE)), (told.status, told.headers["content-length"]))
        got = await self.client.get(self.path)
        self.assertEqual((200, True), (got.status, got.body == DATA))
        self.assertEqual(str(SIZE), got.headers["content-length"])

    @running
    async def test_pulled(self) -> None:
        """The layer can be pulled whatever was stated, cold and stored, and is downloaded once."""
        for size in WRONG:
            await self.afresh()
            self.add_bad(size)
            await self.start()
            await self.look("good", "bad")
            await self.check()
            await self.look("bad")
            await self.check()
            whole = [asked for asked in self.registry.matching("/blobs/") if asked.range is None]
            # HEAD and the manifest differ: then the headers of a GET are asked for.
            self.assertLessEqual(len(whole), 2, size)

    @running
    async def test_unannounced(self) -> None:
        """If upstream announces no length, who was told a wrong one is closed short, and nobody else."""
        chunked = Reply(body=DATA, chunked=True, headers={"ETag": f'"{self.digest}"'})
        for size in (SIZE + 1, SIZE - 1, 2 * SIZE):
            await self.afresh()
            self.add_bad(size)
            self.registry.script("/blobs/", chunked)
            await self.start()
            await self.look("bad")
            got = await self.client.get(self.path)
            if got.headers["content-length"] != str(SIZE):
                self.assertFalse(got.complete)
            await until(lambda: bool(self.files("blobs")))
            await self.check()


class Heads(MirrorTestCase):
    """Registries that do not offer HEAD of blobs, or not properly."""

    @running
    async def test_odd(self) -> None:
        """The size of a blob can be had from them, whether its manifest was pulled or not."""
        replies = (
            *(Reply(status) for status in (204, 400, 401, 403, 404, 405, 500, 501)),
            Reply(length=None, close=True),
            Reply(length=0),
        )
        cases = [
            (f"r{number}-{pulled}".lower(), reply, pulled)
            for number, reply in enumerate(replies)
            for pulled in (False, True)
        ]
        # A registry for each: what one of them does is not held against another.
        await self.start(*(self.upstream(f"{name}.example") for name, _, _ in cases))
        for name, reply, pulled in cases:
            data = DATA + name.encode()
            _, (_, layer) = self.registry.add_image(f"{name}/app", "1", data)
            self.registry.script(f"{name}/app/blobs/", reply, method="HEAD")
            if pulled:
                got = await self.client.get(f"/v2/{name}/app/manifests/1?ns={name}.example")
                self.assertEqual(200, got.status)
            for method in ("HEAD", "GET", "HEAD"):
                path = f"/v2/{name}/app/blobs/{layer}?ns={name}.example"
                got = await self.client.get(path, method)
                told = (got.status, got.headers["content-length"])
                self.assertEqual((200, str(len(data))), told, (reply, pulled, method))
            self.assertEqual(2, self.registry.count(f"{name}/app/blobs/"))

    @running
    async def test_already_there(self) -> None:
        """A client that has a blob already is told so, and upstream is not asked."""
        _, (_, layer) = self.registry.add_image("library/app", "1", DATA)
        await self.start()
        for method in ("HEAD", "GET"):
            path = f"/v2/library/app/blobs/{layer}"
            got = await self.client.get(path, method, If_None_Match=f'"{layer}"')
            self.assertEqual((304, b""), (got.status, bytes(got.body)))
        self.assertEqual([], self.registry.asked)
