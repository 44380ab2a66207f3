"""The access log and Cache-Status tell of each request how it was answered."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.config.settings import Settings
from oci_registry.logs import AccessLog
from tests.support.certificates import Certified
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import pattern
from tests.support.process import DaemonProcess, ProcessTestCase

SIZE = 3 * 1024 * 1024
CUT = 1024 * 1024


class Answers(MirrorTestCase):
    """A daemon whose access log is in memory, in the text of the default."""

    def setUp(self) -> None:
        super().setUp()
        self.stream = StringIO()
        self.makers = evolve(self.makers, access_log=self.access_log)

    def access_log(self, settings: Settings, output: object, clock: Any) -> AccessLog:
        return AccessLog(self.stream, settings.log_format, clock)

    async def lines(self, count: int = 1) -> list[str]:
        """Return the next lines of the log."""
        await until(lambda: self.stream.getvalue().count("\n") >= count)
        lines = self.stream.getvalue().splitlines()
        self.stream.seek(0)
        self.stream.truncate()
        return lines

    async def pulled(self, path: str, method: str = "GET") -> tuple[str, str]:
        """Return what header and log say of a request that succeeds."""
        got = await self.client.get(f"/v2/library/app/{path}", method)
        self.assertEqual(200, got.status)
        (line,) = await self.lines()
        length = 0 if method == "HEAD" else len(got.body)
        found = re.search(r'" 200 (\d+) \d+\.\d{3} "-" cache=([a-z]+)$', line)
        assert found is not None, line
        self.assertEqual(length, int(found[1]))
        return found[2], got.headers["cache-status"]

    @running
    async def test_pulls(self) -> None:
        """A pull is a miss, then a hit, then revalidated, then stale."""
        manifest, blobs = self.registry.add_image("library/app", "1", b"layer")
        await self.start(self.upstream("docker.io", manifest_invalidation_time=60.0))
        for path, miss, hit in (
            ("manifests/1", "fwd=miss; stored; ttl=60", r"hit; ttl=(60|59)"),
            (f"blobs/{blobs[1]}", "fwd=miss; stored", "hit"),
        ):
            self.assertEqual(("miss", f"oci-registry; {miss}"), await self.pulled(path))
            await self.idle()
            for method in ("GET", "HEAD"):
                word, header = await self.pulled(path, method)
                self.assertEqual("hit", word)
                self.assertRegex(header, f"^oci-registry; {hit}$")
        self.assertEqual(("hit", "oci-registry; hit"), await self.pulled(f"manifests/{manifest}"))
        await self.later(61)
        confirmed = ("revalidated", "oci-registry; fwd=stale; ttl=60")
        self.assertEqual(confirmed, await self.pulled("manifests/1"))
        await self.later(90)
        await self.registry.stop()
        word, header = await self.pulled("manifests/1")
        self.assertEqual("stale", word)
        self.assertRegex(header, r"^oci-registry; hit; ttl=-3\d; detail=stale-if-error$")

    @running
    async def test_joined(self) -> None:
        """Two clients of one download are a miss and one that has joined it."""
        digest = self.registry.add_blob(pattern(SIZE))
        gate: Deferred[None] = Deferred()
        body = pattern(SIZE)
        self.registry.script("/blobs/", Reply(body=body, hold=gate, hold_at=CUT))
        await self.start()
        path = f"/v2/library/app/blobs/{digest}"
        first = await self.client.begin(path)
        await first.got_headers
        second = await self.client.begin(path)
        await second.got_headers
        gate.callback(None)
        for response in (first, second):
            await response.done
        told = [response.headers["cache-status"] for response in (first, second)]
        self.assertEqual(
            ["oci-registry; fwd=miss; stored", "oci-registry; fwd=miss; collapsed"], told
        )
        lines = await self.lines(2)
        words = {line.rpartition(" cache=")[2] for line in lines}
        self.assertEqual({"miss", "joined"}, words)

    @running
    async def test_errors(self) -> None:
        """Every status of an error has its reason, and the registry's own answers their status."""
        await self.start()
        digest = f"sha256:{'0' * 64}"
        missing = "oci-registry; fwd=miss"
        for path, method, status, reason, cache in (
            ("/v2/library/app/manifests/2", "GET", 404, "MANIFEST_UNKNOWN: upstream ", missing),
            ("/v2/library/app/manifests/2", "HEAD", 404, "MANIFEST_UNKNOWN: ", "oci-registry; hit"),
            (f"/v2/library/app/blobs/{digest}", "HEAD", 404, "BLOB_UNKNOWN: upstream ", missing),
            ("/v2/UPPER/tags/list", "GET", 400, "NAME_INVALID: ", None),
            ("/v2/library/app/manifests/1", "DELETE", 405, "UNSUPPORTED: the method ", None),
            ("/elsewhere", "GET", 404, "NAME_UNKNOWN: there is nothing at this path", None),
        ):
            got = await self.client.get(path, method)
            self.assertEqual((status, cache), (got.status, got.headers.get("cache-status")), path)
            (line,) = await self.lines()
            self.assertIn(f' error="{reason}', line)
            self.assertTrue(line.endswith('"'), line)

    @running
    async def test_statuses_of_a_registry(self) -> None:
        """What a registry answers is in the log by status: credentials, limits, failures."""
        for status, ours, reason in (
            (401, 403, "DENIED: upstream .* denied access to library/app.*401"),
            (403, 403, "DENIED: upstream .* denied access to library/app.*403"),
            (429, 503, "TOOMANYREQUESTS: upstream .* rate limits requests"),
            (500, 502, "UNAVAILABLE: upstream .* answered 500"),
            (504, 504, "UNAVAILABLE: upstream .* answered 504"),
        ):
            await self.afresh()
            self.registry.script("/manifests/", Reply(status))
            await self.start(self.upstream("docker.io"))
            # It is asked several times, with pauses.
            got = await self.time.hurry(self.client.get("/v2/library/app/manifests/1"))
            self.assertEqual(ours, got.status)
            (line,) = await self.lines()
            self.assertRegex(line, f' {ours} .* error="{reason}')

    @running
    async def test_download_that_breaks(self) -> None:
        """A response that ends after its headers has the reason beside its 200."""
        data = pattern(SIZE)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=b"x" * SIZE, hold=gate, hold_at=CUT))
        await self.start()
        got = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await got.got_headers
        gate.callback(None)
        await got.done
        self.assertEqual((200, False), (got.status, got.complete))
        (line,) = await self.lines()
        self.assertRegex(line, r'" 200 \d+ .* cache=miss error="UNAVAILABLE: .*digest')

    @running
    async def test_client_that_leaves(self) -> None:
        """A client that leaves in the middle is the reason itself."""
        digest = self.registry.add_blob(pattern(SIZE))
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=pattern(SIZE), hold=gate, hold_at=CUT))
        await self.start()
        got = await self.client.begin(f"/v2/library/app/blobs/{digest}", leave_at=CUT // 2)
        await got.done
        (line,) = await self.lines()
        self.assertIn(' cache=miss error="the client closed the connection during', line)
        gate.callback(None)
        await self.idle()

    @running
    async def test_no_requests(self) -> None:
        """What never becomes a request has a line in the log, and cannot forge another."""
        await self.start(log_format="json")
        for sent, status, method in (
            (b"\x16\x03\x01", 400, "-"),
            (b'" 200 "\n{"time": 1}\r\n\r\n', 400, "-"),
            (b"GET /" + b"a" * 20_000, 414, "-"),
            (b"PUT /v2/?password=Tr0ub4dor HTTP/1.1\r\nHost: m\r\nx : y\r\n", 400, "PUT"),
            (b"GET /v2/ HTTP/1.1\r\nHost: m\r\nx: " + b"y" * 70_000, 431, "GET"),
            (b"GET /v2/ HTTP/3.0\r\n", 505, "GET"),
        ):
            response = await self.client.send(sent)
            await response.done
            (line,) = await self.lines()
            entry = json.loads(line)
            self.assertEqual((status, method), (entry["status"], entry["method"]), sent[:30])
            self.assertTrue(entry["error"])
            self.assertNotIn("Tr0ub4dor", line)


class Starting(ProcessTestCase):
    """The line that the real daemon logs when it listens."""

    @running
    async def test_line(self) -> None:
        """It has version, real addresses, registries, directory and free space, and is the first."""
        certified = Certified("127.0.0.1")
        for name, content in (("tls.key", certified.key), ("tls.crt", certified.certificate)):
            (self.folder / name).write_bytes(content)
        folder = self.folder.absolute()
        tls = f"ssl:0:interface=127.0.0.1:privateKey={folder}/tls.key:certKey={folder}/tls.crt"
        place = f"/tmp/{folder.parent.name[-8:]}-{id(self)}.sock"
        daemon = DaemonProcess(
            reactor, self.root, self.registry.host, "--listen", tls, "--listen", f"unix:{place}",
            "--admin-listen", "127.0.0.1:0", "--upstreams", "configured",
        )  # fmt: skip
        self.addCleanup(daemon.end)
        port = await daemon.listening
        await until(lambda: b"metrics are" in daemon.output)
        line, admin = daemon.output.decode().splitlines()[:2]
        self.assertRegex(
            line,
            r"^\S+ info oci-registry \d+\.\d+\.\d+\S* on "
            rf"http://127\.0\.0\.1:{port}, https://127\.0\.0\.1:[1-9]\d* and unix:{place}, "
            rf"mirroring docker\.io, storing in {self.root.absolute()} \([\d.]+ [MGT]B free\)$",
        )
        self.assertRegex(admin, r"info metrics are served on http://127\.0\.0\.1:[1-9]\d* only$")
        await daemon.kill("TERM")
