"""What a daemon logs of its upstreams and downloads, and counts while bytes flow."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel

from oci_registry.config.settings import CATCH_ALL, Credentials
from oci_registry.repeats import INTERVAL
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import Reply
from tests.support.fake_replies import in_turn
from tests.support.fake_tokens import FakeTokens
from tests.support.patterns import pattern
from tests.support.reports import Lines

APP = "library/app"
SIZE = 700_000
BOB = Credentials("bob", "s3cret")


class ReportsCase(MirrorTestCase):
    """An image, and the lines that are logged."""

    def setUp(self) -> None:
        super().setUp()
        self.lines = Lines(self)
        self.data = pattern(SIZE)
        _, blobs = self.registry.add_image(APP, "1", self.data)
        self.tag = f"/v2/{APP}/manifests/1"
        self.digest = blobs[1]
        self.path = f"/v2/{APP}/blobs/{self.digest}"

    async def metric(self, line: str) -> float:
        """Return the value of a line of /metrics."""
        page = (await self.client.get("/metrics")).body.decode()
        match = re.search(rf"^{re.escape(line)} (.+)$", page, re.MULTILINE)
        return 0.0 if match is None else float(match[1])


class Upstreams(ReportsCase):
    """Failures of upstreams."""

    @running
    async def test_refused_credentials(self) -> None:
        """A mistyped token is a warning, a metric, and no secret, though the client sees a 403 only."""
        server = self.another()
        FakeTokens(server).protect(self.registry)
        server.script("^/token$", Reply(401))
        await self.start(self.upstream("docker.io", credentials=BOB, remember_denied=0.0))
        name = 'oci_registry_upstream_credentials_refused_total{namespace="docker.io"}'
        self.assertEqual(0, await self.metric(name))
        for _ in range(3):
            got = await self.client.get(self.tag)
            self.assertEqual(403, got.status)
            self.assertNotIn(b"bob", got.body)
        refused = (
            f'docker.io: the credentials for user "bob" were refused by http://{server.host}/token '
            "(401): check username and password in the upstream file or UPSTREAM_CREDENTIALS"
        )
        self.assertEqual([refused], self.lines.warnings)
        self.assertEqual(3, await self.metric(name))
        self.time.forward(INTERVAL)
        await until(lambda: len(self.lines.warnings) == 2)
        self.assertEqual(f"{refused} (2 more in the last minute)", self.lines.warnings[1])
        await self.stop()
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn):
            self.assertNotIn("s3cret", "\n".join(self.lines.of(level)))

    @running
    async def test_lists_and_referrers(self) -> None:
        """Tag lists and referrers that fail are told as well; what is not there is not."""
        self.registry.script("/(tags|referrers|manifests)/", Reply(403))
        await self.start()
        for path in (f"/v2/{APP}/tags/list", f"/v2/{APP}/referrers/{self.digest}", self.tag):
            await self.client.get(path)
        said = [line.partition(": upstream")[0] for line in self.lines.warnings]
        self.assertEqual(
            ["docker.io, tag lists", "docker.io, referrers", "docker.io, manifests"], said
        )
        self.registry.unscript()
        self.lines.clear()
        for path in (f"/v2/{APP}x/manifests/1", f"/v2/{APP}/blobs/sha256:{'0' * 64}"):
            self.assertEqual(404, (await self.client.get(path)).status)
        self.assertEqual([], self.lines.warnings)

    @running
    async def test_background_revalidation(self) -> None:
        """A tag that cannot be revalidated in the background leaves its reason."""
        await self.start(
            self.upstream("docker.io", manifest_invalidation_time=0.0, stale_while_revalidate=600.0)
        )
        await self.client.get(self.tag)
        self.registry.script("/manifests/", Reply(500))
        self.registry.script("/manifests/", Reply(500), "HEAD")
        self.time.forward(1)
        self.assertEqual(200, (await self.client.get(self.tag)).status)
        await until(lambda: len(self.lines.warnings) == 3)
        text = "\n".join(self.lines.warnings)
        self.assertIn("docker.io, digests of tags: upstream", text)
        self.assertIn("docker.io, manifests: upstream", text)
        self.assertIn(f"docker.io/{APP}:1 is served stale: upstream", text)

    @running
    async def test_catch_all(self) -> None:
        """Registries without an entry are named, and all of them make a bounded number of lines."""
        self.registry.script("/manifests/", Reply(403))
        await self.start(self.upstream(CATCH_ALL, hosts=(self.registry.host,)))
        for number in range(35):
            await self.client.get(f"/v2/x{number}.example/{APP}/manifests/1")
        named = [line for line in self.lines.warnings if "manifests: upstream" in line]
        self.assertEqual(30, len(named))
        self.assertTrue(named[3].startswith("x3.example, manifests: upstream"), named[3])

    @running
    async def test_broken_body(self) -> None:
        """A body that breaks off and continues is told once, with the place."""
        self.registry.script("/blobs/", in_turn(Reply(body=self.data, cut=300_000)))
        await self.start()
        got = await self.client.get(self.path)
        self.assertTrue(got.body == self.data)
        await self.idle()
        (line,) = self.lines.warnings
        self.assertIn(f"docker.io, blobs: {self.digest} broke off at byte 300000: upstream", line)
        asked = self.lines.of(LogLevel.debug)
        self.assertIn("blob for clients, resumed from byte 300000", "\n".join(asked))

    @running
    async def test_requests(self) -> None:
        """Each request is a line at level debug that says what it was for."""
        tokens = FakeTokens(self.another())
        tokens.protect(self.registry)
        self.registry.script("/manifests/", in_turn(Reply(503)))
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.time.hurry(self.client.get(self.tag))
        self.time.forward(1)
        await self.client.get(self.tag)
        lines = [
            re.sub(r" after \d\.\d+ s", "", line.replace(self.registry.host, "HOST"))
            for line in self.lines.of(LogLevel.debug)
            if line.startswith(("GET", "HEAD"))
        ]
        url = f"http://HOST/v2/{APP}/manifests/1"
        self.assertEqual(f"GET {url}: 401 (manifest 1)", lines[0])
        self.assertIn(f"token: 200 (token for repository:{APP}:pull)", lines[1])
        self.assertEqual(f"GET {url}: 503 (manifest 1; after status 401)", lines[2])
        self.assertIn(f"GET {url}: 200 (manifest 1; after: upstream HOST answered 503", lines[3])
        self.assertEqual(f"HEAD {url}: 200 (revalidation of tag 1)", lines[4])


class Downloads(ReportsCase):
    """Lines and bytes of downloads."""

    def of_downloads(self) -> list[str]:
        """Return the lines about the blob."""
        return [line for line in self.lines.of(LogLevel.info) if str(self.digest) in line]

    @running
    async def test_a_slow_one(self) -> None:
        """Progress is logged, bytes are counted while they flow, and in the end there is one line."""
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=self.data, hold=gate, hold_at=500_000))
        await self.start()
        pulling: list[Any] = [await self.client.begin(self.path) for _ in range(2)]
        await until(lambda: all(len(one.body) == 500_000 for one in pulling))
        upstream = 'oci_registry_upstream_bytes_total{namespace="docker.io"}'
        clients = 'oci_registry_client_bytes_total{route="blob"}'
        self.assertEqual(500_000, await self.metric(upstream))
        self.assertEqual(1_000_000, await self.metric(clients))
        self.time.forward(10)
        await until(lambda: len(self.of_downloads()) == 1)
        self.assertIn("500 kB of 700 kB (71 %)", self.of_downloads()[0])
        gate.callback(None)
        for one in pulling:
            await one.done
        await self.idle()
        self.assertEqual(SIZE, await self.metric(upstream))
        self.assertEqual(2 * SIZE, await self.metric(clients))
        line = self.of_downloads()[1]
        start = f"stored {self.digest} 700 kB from docker.io/{APP} in 10."
        self.assertTrue(line.startswith(start), line)
        self.assertTrue(line.endswith(", 2 clients"), line)
