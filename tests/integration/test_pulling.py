"""The daemon pulls through, and keeps what it pulled."""

from __future__ import annotations

import json

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Asked, Reply


class Pulling(MirrorTestCase):
    """Cold, warm, by tag, by digest, under every name."""

    @running
    async def test_second_pull_without_upstream(self) -> None:
        """What was pulled once is pulled again without a byte from upstream."""
        digest, blobs = self.registry.add_image("library/app", "1", b"layer" * 100_000)
        await self.start()
        for round_ in range(2):
            tagged = await self.client.get("/v2/library/app/manifests/1")
            self.assertEqual(200, tagged.status)
            self.assertEqual(str(digest), tagged.headers["docker-content-digest"])
            self.assertEqual(self.registry.manifests["library/app", "1"][0], bytes(tagged.body))
            for blob in blobs:
                got = await self.client.get(f"/v2/library/app/blobs/{blob}")
                self.assertEqual(self.registry.blobs[str(blob)], bytes(got.body))
            if not round_:
                asked = len(self.registry.asked)
        self.assertEqual(asked, len(self.registry.asked))

    @running
    async def test_restart_without_upstream(self) -> None:
        """A second start on the same directory finds its objects, with the upstream gone."""
        digest, blobs = self.registry.add_image("library/app", "1", b"layer")
        await self.start()
        paths = ["/v2/library/app/manifests/1", f"/v2/library/app/manifests/{digest}"]
        paths += [f"/v2/library/app/blobs/{blob}" for blob in blobs]
        before = [bytes((await self.client.get(path)).body) for path in paths]
        upstreams = (self.upstream("docker.io"),)
        await self.stop()
        await self.registry.stop()
        await self.start(*upstreams)
        after = [await self.client.get(path) for path in paths]
        self.assertEqual([200] * len(paths), [response.status for response in after])
        self.assertEqual(before, [bytes(response.body) for response in after])

    @running
    async def test_three_ways_to_name_the_upstream(self) -> None:
        """``ns``, the first component and the default lead to the same repository."""
        self.registry.add_image("library/app", "1")
        await self.start()
        for path in (
            "/v2/library/app/manifests/1",
            "/v2/app/manifests/1",
            "/v2/docker.io/app/manifests/1",
            "/v2/docker.io/library/app/manifests/1",
            "/v2/index.docker.io/app/manifests/1",
            "/v2/library/app/manifests/1?ns=docker.io",
            "/v2/library/app/manifests/1?ns=registry-1.docker.io",
            "/v2/library/app/manifests/1?ns=DOCKER.IO",
            "/v2/library/app/manifests/1?ns=example.com",
            "/v2/example.com/library/app/manifests/1",
        ):
            self.assertEqual(200, (await self.client.get(path)).status, path)
        self.assertEqual({"/v2/library/app/manifests/1"}, {a.path for a in self.registry.asked})

    @running
    async def test_sha512(self) -> None:
        """Blobs and manifests named by sha512 are verified by sha512."""
        data, raw = b"long" * 1000, json.dumps({"schemaVersion": 2, "layers": [], "config": {}})
        blob, manifest = (Digest.of(d, "sha512") for d in (data, raw.encode()))
        self.registry.blobs[str(blob)] = data
        self.registry.manifests["library/app", str(manifest)] = (raw.encode(), OCI_MANIFEST)
        self.registry.script(r"/manifests/sha512", self._without_digest)
        await self.start()
        got = await self.client.get(f"/v2/library/app/blobs/{blob}")
        self.assertEqual(data, bytes(got.body))
        got = await self.client.get(f"/v2/library/app/manifests/{manifest}")
        self.assertEqual(str(manifest), got.headers["docker-content-digest"])
        place = f"blobs/sha512/{blob.encoded[:2]}/{blob.encoded[2:]}"
        await until(lambda: place in self.files())

    def _without_digest(self, asked: Asked) -> Reply:
        reply = self.registry.honest(asked)
        del reply.headers["Docker-Content-Digest"]
        return reply

    @running
    async def test_tag_revalidation(self) -> None:
        """A tag is asked with HEAD, and a GET is spent only when it has changed."""
        self.registry.add_image("library/app", "1", b"old")
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get("/v2/library/app/manifests/1")
        await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual(1, self.registry.count("manifests"))
        self.assertEqual(1, self.registry.count("manifests", "HEAD"))
        changed, _ = self.registry.add_image("library/app", "1", b"new")
        got = await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual(str(changed), got.headers["docker-content-digest"])
        self.assertEqual(2, self.registry.count("manifests"))

    @running
    async def test_stale_tag_while_upstream_is_down(self) -> None:
        """A tag that cannot be confirmed is served with a warning; a 404 is passed on."""
        digest, _ = self.registry.add_image("library/app", "1")
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get("/v2/library/app/manifests/1")
        for method in ("HEAD", "GET"):
            self.registry.script("manifests", Reply(500), method=method)
        stale = await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual((200, str(digest)), (stale.status, stale.headers["docker-content-digest"]))
        self.assertTrue(stale.headers["warning"].startswith('299 - "docker.io'))
        self.assertEqual("0", stale.headers["age"])
        for method in ("HEAD", "GET"):
            self.registry.script("manifests", Reply(404), method=method)
        gone = await self.client.get("/v2/library/app/manifests/1")
        self.assertEqual(404, gone.status)
        self.assertEqual("MANIFEST_UNKNOWN", json.loads(gone.body)["errors"][0]["code"])

    @running
    async def test_tags_and_paging(self) -> None:
        """Tags are listed with ``n`` and ``last``, and links lead back under the client's name."""
        for tag in ("1", "2", "3"):
            self.registry.add_image("library/app", tag)
        await self.start()
        for name, ns in (
            ("library/app", ""),
            ("docker.io/library/app", ""),
            ("library/app", "&ns=docker.io"),
        ):
            page = await self.client.get(f"/v2/{name}/tags/list?n=2{ns}")
            self.assertEqual({"name": name, "tags": ["1", "2"]}, json.loads(page.body))
            target, _, rel = page.headers["link"].partition(">; ")
            self.assertEqual('rel="next"', rel)
            self.assertTrue(target.startswith(f"</v2/{name}/tags/list?n=2&last=2"), target)
            self.assertEqual(bool(ns), "ns=docker.io" in target)
            rest = await self.client.get(target[1:])
            self.assertEqual(["3"], json.loads(rest.body)["tags"])
            self.assertNotIn("link", rest.headers)

    @running
    async def test_tags_from_the_store(self) -> None:
        """With the upstream down the tags that were pulled are listed, with a warning."""
        for tag in ("b", "a", "c"):
            self.registry.add_image("library/app", tag)
        daemon = await self.start()
        for tag in ("b", "a"):
            await self.client.get(f"/v2/library/app/manifests/{tag}")
        await until(lambda: not len(daemon.parts.records))
        await self.registry.stop()
        page = await self.time.hurry(self.client.get("/v2/library/app/tags/list"))
        self.assertEqual(["a", "b"], json.loads(page.body)["tags"])
        self.assertTrue(page.headers["warning"].startswith("299 "))
        first = await self.time.hurry(self.client.get("/v2/library/app/tags/list?n=1"))
        self.assertEqual(["a"], json.loads(first.body)["tags"])
        self.assertIn("last=a", first.headers["link"])
        none = await self.time.hurry(self.client.get("/v2/library/other/tags/list"))
        self.assertEqual(502, none.status)
