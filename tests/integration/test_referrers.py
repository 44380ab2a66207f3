"""Signatures, found by what refers to an image: with the registry, and while it is down."""

from __future__ import annotations

import json

from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Reply

DAY = 86400.0


class Signed(MirrorTestCase):
    """An image with a signature, which is an artifact of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.image, _ = self.registry.add_image("library/app", "1", b"layer")
        self.signature, self.blobs = self.registry.add_image("library/app", "sig", b"signature")
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": str(self.signature),
            "size": 1,
            "artifactType": "application/x.sig",
        }
        self.index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        self.path = f"/v2/library/app/referrers/{self.image}"
        self.offer()

    def offer(self) -> None:
        """Have the API."""
        body = json.dumps(self.index).encode()
        self.registry.script(
            f"/referrers/{self.image}", Reply(body=body, headers={"Content-Type": OCI_INDEX})
        )

    async def verify(self) -> Response:
        """Pull all that a verification needs; return the answer that lists the signature."""
        for path in (
            "/v2/library/app/manifests/1",
            f"/v2/library/app/manifests/{self.signature}",
            *(f"/v2/library/app/blobs/{blob}" for blob in self.blobs),
        ):
            self.assertEqual(200, (await self.client.get(path)).status, path)
        found = await self.client.get(f"{self.path}?artifactType=application/x.sig")
        self.assertEqual(200, found.status)
        self.assertEqual(self.index, json.loads(found.body))
        return found

    @running
    async def test_down(self) -> None:
        """What has been verified once can be verified while the registry is down, after a restart too."""
        await self.start()
        found = await self.verify()
        self.assertFalse({"age", "warning"} & set(found.headers))
        await self.stop()
        await self.registry.stop()
        await self.start()
        found = await self.time.hurry(self.verify())
        self.assertRegex(found.headers["age"], r"^\d+$")
        self.assertRegex(found.headers["warning"], r'^299 - "docker.io is unavailable; this list ')
        path = f"/v2/library/app/referrers/{self.signature}"
        unknown = await self.time.hurry(self.client.get(path))
        self.assertIn(unknown.status, (502, 503))

    @running
    async def test_failing(self) -> None:
        """A registry that only fails to say does not make signatures vanish."""
        daemon = await self.start()
        await self.verify()
        await until(lambda: not len(daemon.parts.records))
        self.registry.script("/referrers/", Reply(503))
        self.assertIn("warning", (await self.time.hurry(self.verify())).headers)

    @running
    async def test_not_for_ever(self) -> None:
        """Lists go with the sweep when nobody has asked for them for as long as objects may lie unused."""
        daemon = await self.start()
        await self.verify()
        await until(lambda: not len(daemon.parts.records))
        self.assertEqual(1, sum("_referrers" in name for name in self.files()))
        await self.later(15 * DAY)
        await self.account_complete()
        await daemon.parts.sweep.run()
        self.assertEqual(0, sum("_referrers" in name for name in self.files()))

    @running
    async def test_without_the_api(self) -> None:
        """Whatever a registry without the API answers, the tag is asked; with neither, nothing is signed."""
        await self.start()
        answers = [Reply(status) for status in (400, 403, 405, 406, 415, 500)]
        for answer in (*answers, Reply(body=b"<html>"), Reply(302, headers={"Location": "//"})):
            self.registry.unscript()
            self.registry.script("/referrers/", answer)
            tag = str(self.image).replace(":", "-")
            raw = json.dumps(self.index).encode()
            self.registry.add_manifest("library/app", tag, raw, OCI_INDEX)
            self.assertEqual(self.index, json.loads((await self.client.get(self.path)).body))
            del self.registry.manifests["library/app", tag]
            if answer.status < 500:
                nothing = await self.client.get(self.path)
                self.assertEqual([], json.loads(nothing.body)["manifests"])
