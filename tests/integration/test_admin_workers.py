"""The admin API of a daemon with worker processes."""

from __future__ import annotations

import json
from typing import Any

from oci_registry.admin.local import NAME
from tests.support.admin import LocalClient, events_of
from tests.support.daemon import running, until
from tests.support.fake_replies import Reply
from tests.support.workers import WorkersTestCase

PATH = "/v2/library/app/manifests/1"


class Workers(WorkersTestCase):
    """A daemon with two workers, which have sent a manifest from memory."""

    async def serve_image(self) -> LocalClient:
        """Start it, and return a client of its admin socket."""
        self.registry.add_image("library/app", "1")
        await self.serve()
        admin = LocalClient(self.root / NAME)
        self.addCleanup(admin.close)
        return admin

    async def pull(self) -> int:
        """Pull the manifest on a connection of its own; return the status."""
        connection = await self.connect()
        connection.ask(PATH, Connection="close")
        return int((await connection.ended()).split(b" ")[1])

    async def warm(self, admin: LocalClient) -> None:
        """Pull until each worker has the manifest, and has reported what it has answered."""
        for _ in range(30):
            self.assertEqual(200, await self.pull())
        counted = b'requests_total{method="GET",route="manifest",status="200"} 30.0'
        while counted not in (await admin.get("/metrics")).body:
            pass

    async def call(self, admin: LocalClient, method: str, path: str) -> tuple[int, Any]:
        response = await admin.get(f"/api/v1{path}", method)
        return response.status, json.loads(response.body)

    @running
    async def test_removal(self) -> None:
        """A removal is seen by every worker at once."""
        admin = await self.serve_image()
        await self.warm(admin)
        self.registry.script("/manifests/", Reply(404, body=b""))
        self.registry.script("/manifests/", Reply(404, body=b""), "HEAD")
        code, removal = await self.call(admin, "DELETE", "/image?image=app:1")
        self.assertEqual((200, ["docker.io/library/app:1"]), (code, removal["tags"]))
        self.assertEqual({404}, {await self.pull() for _ in range(30)})

    @running
    async def test_pulls(self) -> None:
        """Pulls that workers have answered from memory are events too."""
        admin = await self.serve_image()
        await self.warm(admin)
        stream = await admin.begin("/api/v1/events?kind=pull")
        await stream.got_headers
        for _ in range(20):
            await self.pull()

        def seen() -> int:
            found = [each["fields"] for each in events_of(stream)]
            return sum(each["times"] for each in found if each["uri"] == PATH)

        await until(lambda: seen() >= 20)
        self.assertEqual(20, seen())
        together = [each["fields"] for each in events_of(stream) if "client" not in each["fields"]]
        self.assertEqual({None}, {fields.get("method") for fields in together})
        _, status = await self.call(admin, "GET", "/status")
        self.assertEqual(2, status["workers"])
