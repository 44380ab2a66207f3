"""The admin API of a daemon, on its socket and on a port with a token."""

from __future__ import annotations

import os
import signal

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from oci_registry.spec.digest import Digest
from tests.support.admin import AdminTestCase, events_of, held_download
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_replies import Reply
from tests.support.patterns import pattern

TOKEN = "0123456789-abcdefghij"
OTHER = "another-token-0123456789"


class Port(AdminTestCase):
    """A TCP port, which needs a token."""

    async def begin(self, token: str | None = TOKEN) -> None:
        """Start a daemon with such a port; `remote` is a client of it."""
        self.file = self.root.parent / "token"
        self.file.write_text(f"{token}\n")
        self.file.chmod(0o600)
        await self.start(
            admin_listen=("tcp:0:interface=127.0.0.1",),
            admin_token=token,
            admin_token_file=None if token is None else str(self.file),
        )
        port = await self.daemons[-1].parts.ports.services[1]._waitingForPort  # type: ignore[attr-defined]
        self.remote = Client(reactor, port.getHost().port)
        self.addCleanup(self.remote.close)

    async def status(self, **headers: str) -> int:
        return (await self.call("GET", "/status", client=self.remote, **headers))[0]

    @running
    async def test_token(self) -> None:
        """The API is served with the token alone, metrics and health without it."""
        await self.begin()
        self.assertEqual(200, await self.status(Authorization=f"Bearer {TOKEN}"))
        self.assertEqual(401, await self.status(Authorization=f"Bearer {TOKEN}x"))
        self.assertEqual(401, await self.status())
        for path in ("/metrics", "/healthz"):
            self.assertEqual(200, (await self.remote.get(path)).status)
        self.assertEqual(401, (await self.remote.get("/_admin/x/manifests/1", "DELETE")).status)

    @running
    async def test_without_token(self) -> None:
        """Without a token file there are metrics and health, and no API."""
        await self.begin(None)
        self.assertEqual(403, await self.status(Authorization="Bearer None"))
        self.assertEqual(200, (await self.remote.get("/metrics")).status)

    @running
    async def test_reload(self) -> None:
        """SIGHUP reads the token again; one that cannot be used changes nothing."""
        await self.begin()
        said: list[str] = []

        def observe(event: LogEvent) -> None:
            if "TokenReload" in event.get("log_namespace", ""):
                said.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for content, accepted in (("short", TOKEN), (OTHER, OTHER)):
            self.file.write_text(content)
            os.kill(os.getpid(), signal.SIGHUP)
            count = len(said) + 1
            await until(lambda count=count: len(said) == count)  # type: ignore[misc]
            for token in (TOKEN, OTHER):
                expected = 200 if token == accepted else 401
                self.assertEqual(expected, await self.status(Authorization=f"Bearer {token}"))
        self.assertFalse(
            [line for line in said if "short" in line.split(": ")[-1][:5] or OTHER in line]
        )

    @running
    async def test_streams_after_a_reload(self) -> None:
        """Streams of events that were opened with the old token end; one of the socket goes on."""
        await self.begin()
        local = await self.admin.begin("/api/v1/events")
        old = await self.remote.begin("/api/v1/events", Authorization=f"Bearer {TOKEN}")
        for stream in (local, old):
            await stream.got_headers
        streams = self.daemons[-1].parts.streams
        self.assertEqual(2, len(streams))
        self.file.write_text(OTHER)
        os.kill(os.getpid(), signal.SIGHUP)
        await old.done
        self.assertTrue(old.complete)
        self.assertEqual(1, len(streams))


class Watching(AdminTestCase):
    """What is seen of a daemon at work."""

    @running
    async def test_top(self) -> None:
        """A running download is listed with its size, what has arrived, and its readers."""
        digest, gate, pulling = await held_download(self)
        _, top = await self.call("GET", "/top")
        (transfer,) = top["transfers"]
        expected = {"digest": str(digest), "upstream": "docker.io", "repository": "team/app",
                    "phase": "receiving", "received": 200_000, "size": 500_000, "readers": 1}  # fmt: skip
        self.assertEqual(expected, {key: transfer[key] for key in expected})
        gate.callback(None)
        await pulling.done
        await self.idle()
        self.assertEqual([], (await self.call("GET", "/top"))[1]["transfers"])

    @running
    async def test_events(self) -> None:
        """A pull is followed live: the download, its end, and the response."""
        data = pattern(1000)
        digest = self.registry.add_blob(data)
        await self.start()
        stream = await self.admin.begin("/api/v1/events")
        await stream.got_headers
        await self.client.get(f"/v2/team/app/blobs/{digest}")
        await until(lambda: len(events_of(stream)) >= 3)
        found = events_of(stream)
        phases = [each["fields"]["phase"] for each in found if each["kind"] == "download"]
        (pull,) = [each["fields"] for each in found if each["kind"] == "pull"]
        self.assertEqual(["begun", "stored"], phases)
        self.assertEqual(
            (200, 1000, "docker.io"), (pull["status"], pull["sent"], pull["namespace"])
        )

    @running
    async def test_slow_reader(self) -> None:
        """A client that reads no events is cut off, and costs nothing further."""
        await self.start()
        stream = await self.admin.begin("/api/v1/events")
        await stream.got_headers
        stream.pause()
        parts = self.daemons[-1].parts
        for _ in range(30_000):
            parts.events.record("sweep", phase="x" * 400)
            if not len(parts.streams):
                break
        await until(lambda: not len(parts.streams))
        stream.resume()
        await stream.done
        self.assertFalse(stream.complete)

    @running
    async def test_stop(self) -> None:
        """An open stream of events ends at once when the daemon stops."""
        await self.start(grace=60.0)
        stream = await self.admin.begin("/api/v1/events")
        await stream.got_headers
        before = self.time.seconds()
        await self.stop()
        await stream.done
        self.assertTrue(stream.complete)
        self.assertLess(self.time.seconds() - before, 30)

    @running
    async def test_upstreams(self) -> None:
        """A registry that fails is seen with its error and its open circuit breaker."""
        self.registry.script("/manifests/", Reply(500, body=b"no"))
        await self.start(self.upstream("docker.io", retries=0))
        asked = [
            await self.client.begin(f"/v2/team/app{number}/manifests/1") for number in range(12)
        ]
        for response in asked:
            self.assertIn((await response.done).status, (502, 503))
        _, page = await self.call("GET", "/upstreams")
        ((host,),) = [each["hosts"] for each in page["upstreams"]]
        self.assertFalse(host["available"])
        self.assertIn("500", host["last_error"]["text"])
        self.assertIn("500", host["breakers"][0]["reason"])
        _, errors = await self.call("GET", "/errors")
        self.assertIn("500", errors["errors"][-1]["fields"]["text"])

    @running
    async def test_sweep(self) -> None:
        """A sweep is started by request, once at a time."""
        await self.start()
        code, status = await self.call("POST", "/sweep")
        self.assertEqual(202, code)
        self.assertIsNotNone(status["began"])
        await until(lambda: not self.daemons[-1].parts.sweep.status.running)
        _, status = await self.call("GET", "/sweep")
        self.assertEqual((False, None), (status["running"], status["error"]))


class Images(AdminTestCase):
    """The content of the store."""

    async def pull(self) -> Digest:
        """Pull an image, and return the digest of its manifest."""
        image = self.registry.add_image("team/app", "1")
        await self.start()
        got = await self.client.get("/v2/team/app/manifests/1")
        self.assertEqual(200, got.status)
        await until(lambda: not len(self.daemons[-1].parts.records))
        del image
        return Digest.parse(got.headers["docker-content-digest"])

    @running
    async def test_list_and_show(self) -> None:
        """What was pulled is listed and shown."""
        digest = await self.pull()
        _, page = await self.call("GET", "/images")
        self.assertEqual(["docker.io/team/app:1"], [each["name"] for each in page["images"]])
        code, shown = await self.call("GET", "/image?image=team/app:1")
        self.assertEqual((200, str(digest)), (code, shown["image"]["digest"]))
        self.assertEqual(404, (await self.call("GET", "/image?image=team/app:2"))[0])
        _, why = await self.call("GET", "/why?image=team/app:1")
        self.assertEqual("docker.io", why["upstream"]["name"])

    @running
    async def test_remove(self) -> None:
        """A removed tag is not served any more; a pinned one is not removed."""
        await self.pull()
        self.assertEqual(200, (await self.call("POST", "/pins", {"image": "team/app:1"}))[0])
        self.assertEqual(409, (await self.call("DELETE", "/image?image=team/app:1"))[0])
        self.assertEqual(200, (await self.call("DELETE", "/pins?image=team/app:1"))[0])
        code, removal = await self.call("DELETE", "/image?image=team/app:1")
        self.assertEqual((200, ["docker.io/team/app:1"]), (code, removal["tags"]))
        self.registry.script("/manifests/", Reply(404, body=b""))
        self.assertEqual(404, (await self.client.get("/v2/team/app/manifests/1")).status)

    @running
    async def test_original(self) -> None:
        """The original's requests remove a tag, a manifest and a blob."""
        digest = await self.pull()
        blob = self.registry.add_blob(b"blob")
        await self.client.get(f"/v2/team/app/blobs/{blob}")
        await self.idle()
        for path in ("manifests/1", f"manifests/{digest}", f"blobs/{blob}"):
            for status in (200, 404):
                got = await self.admin.get(f"/_admin/team/app/{path}?ns=docker.io", "DELETE")
                self.assertEqual((status, not got.body), (got.status, status == 200), path)
        self.assertEqual(405, (await self.admin.get("/_admin/team/app/manifests/1")).status)
        for path in ("", "team", "team/app/tags/list", "../x/manifests/1", "UP/manifests/1"):
            got = await self.admin.get(f"/_admin/{path}", "DELETE")
            self.assertIn(got.status, (400, 404), path)
