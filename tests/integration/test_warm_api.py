"""Warming by the admin API of a daemon that has other things to do."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from oci_registry.spec.digest import Digest
from tests.integration.test_warming import BASE, RUNTIME, WarmingTestCase
from tests.support.admin import AdminTestCase, events_of
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply


class ApiTestCase(WarmingTestCase, AdminTestCase):
    """Images, and a client of the admin socket."""

    async def post(self, *images: str, **more: object) -> Any:
        status, answer = await self.call("POST", "/warm", {"images": images, **more})
        self.assertEqual(202, status, answer)
        return answer

    async def ended(self) -> Any:
        """Return the status at the end."""
        latest = self.daemons[-1].parts.warmer.latest
        assert latest is not None
        await latest.wait()
        return (await self.call("GET", "/warm"))[1]


class WarmApi(ApiTestCase):
    """``/api/v1/warm``."""

    @running
    async def test_beside_clients(self) -> None:
        """Twenty images, while clients pull the same: each GET is made once, and every byte is right."""
        digests = [self.index(f"v{n}", "linux/amd64", "linux/arm64") for n in range(20)]
        await self.start()
        begun = await self.post(*(f"library/app:v{n}" for n in range(20)), jobs=8)
        self.assertEqual((1, "running", 20), (begun["run"], begun["state"], begun["images"]))
        pulls = [
            Deferred.fromCoroutine(self.client.get(f"/v2/library/app/{path}"))
            for n in range(0, 20, 2)
            for path in (f"manifests/v{n}", f"blobs/{Digest.of(BASE)}")
        ]
        responses = await gatherResults(pulls)
        ended = await self.ended()
        self.assertEqual(("ended", 20), (ended["state"], ended["done"]))
        self.assertEqual(len(set(self.gets())), len(self.gets()))
        for n, served in zip(range(0, 20, 2), responses[::2], strict=True):
            self.assertEqual(digests[n], Digest.of(bytes(served.body)))
        self.assertEqual({200}, {response.status for response in responses})
        self.assertTrue(all(bytes(response.body) == BASE for response in responses[1::2]))

    @running
    async def test_events(self) -> None:
        """Begin, failures and end are events; an unknown image fails, and the others are fetched."""
        self.registry.add_image("library/app", "1", RUNTIME)
        daemon = await self.start()
        stream = await self.admin.begin("/api/v1/events?kind=warm")
        await until(lambda: len(daemon.parts.streams) == 1)
        await self.post("library/app:1", "library/app:2", "nowhere.example/x:1")
        ended = await self.ended()
        self.assertEqual((1, 2, 3), (ended["done"], ended["failed"], ended["fetched"]))
        reasons = {each["image"]: each["reason"] for each in ended["problems"]}
        self.assertIn("does not have library/app, 2", reasons["docker.io/library/app:2"])
        self.assertIn("nowhere.example/x:1", reasons)
        await until(lambda: len(events_of(stream)) == 4)
        fields = [event["fields"] for event in events_of(stream)]
        self.assertEqual(["begun", "failed", "failed", "ended"], [each["phase"] for each in fields])
        self.assertEqual(set(reasons), {each["name"] for each in fields[1:3]})
        _, page = await self.call("GET", "/warm/images?limit=1&after=1")
        self.assertEqual(("2", "failed"), (page["next"], page["images"][0]["state"]))

    @running
    async def test_cancel(self) -> None:
        """A warming is cancelled by its number; a download that has begun is stored."""
        self.registry.add_image("library/app", "1", BASE, RUNTIME)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 100_000)
        await self.start()
        await self.post("library/app:1", jobs=1)
        await until(lambda: self.registry.count(f"/blobs/{Digest.of(BASE)}") == 1)
        status, refused = await self.call("POST", "/warm", {"images": ["library/app:1"]})
        self.assertEqual((409, "NOT_POSSIBLE"), (status, refused["errors"][0]["code"]))
        self.assertEqual(404, (await self.call("DELETE", "/warm?run=2"))[0])
        status, cancelled = await self.call("DELETE", "/warm?run=1")
        self.assertEqual(
            (200, "cancelled", 1), (status, cancelled["state"], cancelled["cancelled"])
        )
        gate.callback(None)
        await self.idle()
        await self.post("library/app:1")
        self.assertEqual("ended", (await self.ended())["state"])
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    @running
    async def test_named_registry(self) -> None:
        """Names that only the upstream file has are known to the daemon."""
        self.registry.add_image("team/app", "1", RUNTIME)
        await self.start(self.upstream("mirror"))
        await self.post("mirror/team/app:1")
        self.assertEqual(1, (await self.ended())["done"])

    @running
    async def test_nothing(self) -> None:
        """Before the first one there is none, and the images of none are not found."""
        await self.start()
        status, answer = await self.call("GET", "/warm")
        self.assertEqual((200, None, "none"), (status, answer["run"], answer["state"]))
        self.assertEqual(404, (await self.call("GET", "/warm/images"))[0])


class WarmBudget(ApiTestCase):
    """A registry that counts requests of manifests."""

    @running
    async def test_reserve_by_api(self) -> None:
        """It stops at the reserve, exactly, and says what is left and why; client pulls continue."""
        for number in range(30):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        await self.start(self.limited())
        await self.post(*(f"library/app:v{number}" for number in range(30)), jobs=16)
        ended = await self.ended()
        self.assertEqual(
            ("reserve", 15, 15, 5), (ended["state"], ended["done"], ended["left"], self.left)
        )
        (reserved,) = ended["reserved"]
        self.assertEqual("docker.io", reserved["registry"])
        self.assertIn("5 are reserved for clients", reserved["reason"])
        _, page = await self.call("GET", "/warm/images")
        left = next(image["name"] for image in page["images"] if image["state"] == "left")
        tag = left.rpartition(":")[2]
        served = await self.client.get(f"/v2/library/app/manifests/{tag}")
        self.assertEqual((200, 4), (served.status, self.left))

    @running
    async def test_refused_in_the_midst(self) -> None:
        """A registry that begins to refuse is asked no more; what was stored before is complete."""
        for number in range(30):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        asked: list[str] = []
        refusal = Reply(429, json.dumps({"errors": []}).encode(), {"Retry-After": "3600"})

        def refuse(request: Any) -> Reply | None:
            if "/manifests/" not in request.path:
                return None
            asked.append(request.path)
            return refusal if len(asked) > 10 else None

        self.registry.guard = refuse
        await self.start()
        await self.post(*(f"library/app:v{number}" for number in range(30)), jobs=1)
        ended = await self.ended()
        self.assertEqual(("reserve", 10, 20), (ended["state"], ended["done"], ended["left"]))
        self.assertLess(len(asked), 15)
