"""Manifests that are not what most are come through as they would without a mirror."""

from __future__ import annotations

import json

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import DOCKER_SCHEMA1_SIGNED, OCI_MANIFEST
from tests.support.daemon import MirrorTestCase, running
from tests.support.fake_registry import Reply
from tests.unit.spec.signing import schema_1, signed

PATH = "/v2/library/app/manifests"
CUSTOM = "application/vnd.cncf.foo+json"
IMAGE = {"schemaVersion": 2, "config": {}, "layers": []}
HTML = b"<!doctype html><html><body>Please log in</body></html>"


class OddManifests(MirrorTestCase):
    """A mirror of a registry that has all kinds of manifests."""

    async def pulls(self, *answers: tuple[Reply, Digest, str]) -> None:
        """What a registry answers comes by digest and by tag, and after a restart from the store.

        Each answer is that of two registries: from one it is pulled by its digest, from one by a tag.
        """
        pulled = [
            (f"r{number}-{kind}.example", reference, *answer)
            for number, answer in enumerate(answers)
            for kind, reference in (("digest", str(answer[1])), ("tag", "odd"))
        ]
        upstreams = [self.upstream(namespace) for namespace, *_ in pulled]
        await self.start(*upstreams)
        for namespace, reference, reply, digest, media_type in pulled:
            # Each registry has repositories of its own, by which its requests are known.
            path = f"/v2/{namespace[:-8]}/app/manifests"
            self.registry.script(path, reply)
            for method in ("HEAD", "GET"):
                got = await self.client.get(f"{path}/{reference}?ns={namespace}", method)
                self.assertEqual(200, got.status, bytes(got.body))
                self.assertEqual(str(digest), got.headers["docker-content-digest"])
                self.assertEqual(media_type, got.headers["content-type"])
                self.assertEqual(str(len(reply.body)), got.headers["content-length"])
            self.assertEqual(reply.body, bytes(got.body))
        await self.stop()
        await self.start(*upstreams)
        self.registry.script("/manifests/", Reply(500))
        for namespace, reference, reply, digest, media_type in pulled:
            for name in (reference, str(digest)):
                path = f"/v2/{namespace[:-8]}/app/manifests/{name}?ns={namespace}"
                again = await self.client.get(path)
                self.assertEqual(reply.body, bytes(again.body))
                self.assertEqual(media_type, again.headers["content-type"])

    def answer(self, raw: bytes, header: str | None, digest: Digest | None) -> Reply:
        """Return a registry's answer."""
        headers = {"Content-Type": header, "Docker-Content-Digest": digest and str(digest)}
        return Reply(body=raw, headers={k: v for k, v in headers.items() if v is not None})

    @running
    async def test_signed(self) -> None:
        """The digest of a signed schema 1 manifest is that of its payload, claimed or not."""
        payload = schema_1("sha256:" + "a" * 64)
        raw, digest = signed(payload), Digest.of(payload)
        await self.pulls(
            *(
                (self.answer(raw, header, claimed), digest, DOCKER_SCHEMA1_SIGNED)
                for header in (DOCKER_SCHEMA1_SIGNED, "application/json", None)
                for claimed in (digest, None)
            )
        )

    @running
    async def test_asked_for(self) -> None:
        """Schema 1 is asked for by name, after all else."""
        await self.start()
        await self.client.get(f"{PATH}/odd")
        (asked,) = self.registry.matching("/manifests/")
        accepted = asked.headers["accept"].split(", ")
        self.assertLess(accepted.index(OCI_MANIFEST), accepted.index(DOCKER_SCHEMA1_SIGNED))
        self.assertEqual("*/*", accepted[-1])

    @running
    async def test_custom_type(self) -> None:
        """A type of the registry's own wins over what the document looks like."""
        documents: list[object] = [
            IMAGE,
            {**IMAGE, "mediaType": OCI_MANIFEST},
            {"manifests": []},
            {"a": 1},
        ]
        await self.pulls(
            *(
                (self.answer(raw, CUSTOM, claimed), Digest.of(raw), CUSTOM)
                for raw in (json.dumps(document).encode() for document in documents)
                for claimed in (Digest.of(raw), None)
            )
        )

    @running
    async def test_verified(self) -> None:
        """With the right digest anything is passed on as it came."""
        nested = b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
        latin_1 = '{"by":"J\u00fcrgen"}'.encode("latin-1")
        await self.pulls(
            *(
                (self.answer(raw, header, Digest.of(raw)), Digest.of(raw), served)
                for raw in (b'{"a":1}', latin_1, nested, HTML, b"\x80\x04\x00\n\r", b"plain")
                for header, served in (
                    ("text/plain", "text/plain"),
                    (None, "application/octet-stream"),
                )
            )
        )

    @running
    async def test_portal(self) -> None:
        """By tag, a page that no digest speaks for is a 502 and is not kept."""
        await self.start(self.upstream("docker.io", retries=0))
        for raw, header in (
            (HTML, "text/html; charset=utf-8"),
            (HTML, OCI_MANIFEST),
            (b"Access denied", "text/plain"),
            (b'{"errors":[{"code":"DENIED"}]}', "application/json"),
        ):
            for claimed in (None, Digest.of(b"other")):
                self.registry.script("/manifests/", self.answer(raw, header, claimed))
                got = await self.client.get(f"{PATH}/odd")
                self.assertIn(got.status, (502, 503))
                self.assertNotIn(raw, bytes(got.body))
        self.assertEqual(set(), self.files("repositories"))
