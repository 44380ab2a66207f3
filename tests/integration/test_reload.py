"""SIGHUP: other upstreams while clients pull."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from oci_registry.config.settings import FilesystemSettings, Settings, UpstreamSources
from oci_registry.config.sources import reread_upstreams
from tests.support.certificates import Certified, Changing
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Reply
from tests.support.fake_tokens import FakeTokens
from tests.support.patterns import pattern
from tests.support.process import ProcessTestCase

SIZE = 700_000


class Reloading(MirrorTestCase):
    """A daemon in this process, whose upstream file changes."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "upstreams.yaml"
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "oci_registry.reload.Reloader":
            self.said.append(event["log_format"].format_map(event))

    def write(self, *entries: tuple[str, FakeRegistry, str]) -> None:
        """Write the upstream file: a namespace, its host, and further keys."""
        lines = []
        for namespace, registry, more in entries:
            tls = "true" if "ca_file" in more else "false"
            lines.append(
                f'- {{namespace: {namespace}, host: "{registry.host}", tls: {tls}{more}}}\n'
            )
        self.file.write_text("".join(lines))

    async def start_with(self, *entries: tuple[str, FakeRegistry, str]) -> None:
        """Start the daemon with a file of these upstreams."""
        self.write(*entries)
        sources = UpstreamSources(str(self.file))
        read = reread_upstreams(Settings((), FilesystemSettings("/"), sources=sources))
        await self.start(*read.upstreams, sources=sources)

    async def reload(self) -> str:
        """Send this process the signal, and return what is said in the end."""
        count = len(self.said)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: len(self.said) > count)
        return self.said[-1]

    @running
    async def test_unchanged(self) -> None:
        """An upstream that stays keeps its token and its connections while others come and go."""
        tokens = FakeTokens(self.another())
        tokens.protect(self.registry)
        self.registry.add_image("team/app", "1")
        other = self.another()
        other.add_image("team/app", "1")
        stays = ("a.example", self.registry, ", manifest_invalidation_time: 0s")
        await self.start_with(stays)
        path = "/v2/a.example/team/app/manifests/1"
        self.assertEqual(200, (await self.client.get(path)).status)
        connections = self.registry.connections
        self.write(("b.example", other, ""), stays)
        self.assertIn("upstreams: added b.example", await self.reload())
        self.assertEqual(200, (await self.client.get(path)).status)
        self.assertEqual((["token-1"], connections), (tokens.given, self.registry.connections))
        added = await self.client.get("/v2/b.example/team/app/manifests/1")
        self.assertEqual(200, added.status)
        self.write(stays)
        self.assertIn("upstreams: removed b.example", await self.reload())
        await until(lambda: not other.channels)

    @running
    async def test_all_others(self) -> None:
        """The entry for all registries without one holds for those that clients have named before, too."""
        before, after = self.another(), self.another()
        stays = ("a.example", self.registry, "")
        for registry in (before, after, self.registry):
            registry.add_image("team/app", "1")
            registry.add_image("team/app", "2")
        await self.start_with(('"*"', before, ""), stays)
        for tag, asked in (("1", before), ("2", after)):
            for name in ("a.example", "b.example"):
                got = await self.client.get(f"/v2/team/app/manifests/{tag}?ns={name}")
                self.assertEqual(200, got.status)
            self.assertEqual(["ns=b.example"], [one.query for one in asked.asked])
            self.write(('"*"', after, ""), stays)
            if asked is before:
                self.assertIn("upstreams: changed *", await self.reload())
        await until(lambda: not before.channels)
        self.assertEqual(1, self.registry.connections)

    @running
    async def test_evictions(self) -> None:
        """What an upstream says of evictions holds from then on."""
        await self.start_with(("a.example", self.registry, ", keep_newest_tags: 2"))
        limit = self.daemons[-1].parts.limit
        assert limit is not None
        self.assertEqual(2, limit.newest_tags("a.example"))
        more = ", keep_newest_tags: 3, max_size: 1GiB"
        self.write(("a.example", self.registry, more), ('"*"', self.registry, ""))
        await self.reload()
        self.assertEqual([3, 0], [limit.newest_tags(f"{name}.example") for name in "ab"])
        self.assertTrue(limit.upstreams)

    @running
    async def test_changed(self) -> None:
        """An upstream that changes is asked at its new place, and its noes are forgotten."""
        other = self.another()
        other.add_image("team/app", "1")
        await self.start_with(("a.example", self.registry, ", remember_not_found: 1h"))
        path = "/v2/a.example/team/app/manifests/1"
        for _ in range(2):
            self.assertEqual(404, (await self.client.get(path)).status)
        self.assertEqual(1, self.registry.count("/manifests/"))
        self.write(("a.example", other, ""))
        self.assertIn("upstreams: changed a.example", await self.reload())
        self.assertEqual(200, (await self.client.get(path)).status)
        page = (await self.client.get("/metrics")).body.decode()
        labels = f'{{host="{other.host}",namespace="a.example"}}'
        self.assertIn(f"oci_registry_upstream_available{labels} 1.0", page)
        self.assertNotIn(self.registry.host, page)

    @running
    async def test_minimum_age(self) -> None:
        """Another minimum age holds at once for a digest that waits, also for what is served from memory."""
        keys = ", manifest_invalidation_time: 1h, min_age: "
        path = "/v2/a.example/team/app/manifests/1"
        one, _ = self.registry.add_image("team/app", "1")
        await self.start_with(("a.example", self.registry, keys + "3d"))
        await self.client.get(path)
        await self.later(3600)
        two, _ = self.registry.add_image("team/app", "1", b"two")
        for age, digest in (("3d", one), ("{a/*: 0s, team/*: 2d}", one), ("0s", two)):
            self.write(("a.example", self.registry, keys + age))
            await self.reload()
            for _ in range(3):
                got = await self.client.get(path)
                self.assertEqual(str(digest), got.headers["docker-content-digest"])

    @running
    async def test_renewed_authority(self) -> None:
        """An authority that was renewed in its file is the one that is trusted from then on."""
        old, new = Certified("127.0.0.1"), Certified("127.0.0.1")
        shown, secure = Changing(new), FakeRegistry()
        secure.start(self.time, shown)
        self.registries.append(secure)
        secure.add_image("team/app", "1")
        authority = self.folder / "ca.pem"
        authority.write_bytes(old.certificate)
        await self.start_with(("a.example", secure, f', ca_file: "{authority.absolute()}"'))
        path = "/v2/a.example/team/app/manifests/1"
        self.assertEqual(502, (await self.client.get(path)).status)
        authority.write_bytes(new.certificate)
        self.assertIn("upstreams: changed a.example", await self.reload())
        self.assertEqual(200, (await self.client.get(path)).status)

    @running
    async def test_under_way(self) -> None:
        """What is being downloaded from an upstream that goes is downloaded to its end."""
        data = pattern(SIZE)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=100_000))
        await self.start_with(("a.example", self.registry, ""))
        pulling = await self.client.begin(f"/v2/a.example/team/app/blobs/{digest}")
        await until(lambda: len(pulling.body) == 100_000)
        self.write(("b.example", self.registry, ""))
        self.assertIn("added b.example; removed a.example", await self.reload())
        gate.callback(None)
        await pulling.done
        self.assertTrue(pulling.complete)
        self.assertTrue(pulling.body == data, "the bytes differ")
        # Its connection is not kept for anybody.
        await until(lambda: not self.registry.channels)

    @running
    async def test_bad_file(self) -> None:
        """With a file that cannot be used everything continues as before."""
        self.registry.add_image("team/app", "1")
        self.registry.add_image("team/app", "2")
        await self.start_with(("a.example", self.registry, ""))
        self.assertEqual(200, (await self.client.get("/v2/a.example/team/app/manifests/1")).status)
        self.file.write_text("- {namespace: a.example, hots: x}\n- {namespace: b.example}\n")
        await self.reload()
        await until(lambda: len(self.said) == 3)
        for part in ("hots", "entry 1", "entry 2"):
            self.assertTrue([said for said in self.said if part in said], part)
        self.assertEqual(200, (await self.client.get("/v2/a.example/team/app/manifests/2")).status)

    @running
    async def test_afterwards(self) -> None:
        """When the daemon has stopped the signal means what it meant before."""
        before = signal.getsignal(signal.SIGHUP)
        await self.start_with(("a.example", self.registry, ""))
        self.assertNotEqual(before, signal.getsignal(signal.SIGHUP))
        await self.stop()
        self.assertEqual(before, signal.getsignal(signal.SIGHUP))


class Process(ProcessTestCase):
    """The real daemon as a process."""

    @running
    async def test_signal(self) -> None:
        """A bad file is reported with all that is wrong, a good one holds, and no password is in the log."""
        self.registry.add_image("team/app", "1")
        daemon, client = await self.start("--upstreams", "configured")
        path = "/v2/corp.example/team/app/manifests/1"
        self.assertEqual(404, (await client.get(path)).status)
        file = self.folder / "root.yaml"
        good = file.read_text()
        file.write_text("- {namespace: docker.io, hots: x, password: Tr0ub4dor}\n")
        daemon.process.signalProcess("HUP")
        await until(
            lambda: daemon.output.count(b"error reload failed, the upstreams are unchanged") == 3
        )
        entry = f'host: "{self.registry.host}", tls: false, username: u, password: Tr0ub4dor'
        file.write_text(f"{good}- {{namespace: corp.example, {entry}}}\n")
        daemon.process.signalProcess("HUP")
        await until(lambda: b"info reloaded the upstreams: added" in daemon.output)
        self.assertIn(b"warn upstream corp.example", daemon.output)
        self.assertEqual(200, (await client.get(path)).status)
        client.close()
        await daemon.kill("TERM")
        self.assertIn(b"stopped", daemon.output)
        self.assertNotIn(b"Tr0ub4dor", daemon.output)

    @running
    async def test_while_stopping(self) -> None:
        """The signal does not end a daemon that lets a client have the rest of its blob."""
        data = pattern(SIZE)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=100_000))
        daemon, client = await self.start()
        pulling = await client.begin(f"/v2/team/app/blobs/{digest}")
        await until(lambda: len(pulling.body) == 100_000)
        daemon.process.signalProcess("TERM")
        await until(lambda: b" stopping" in daemon.output)
        daemon.process.signalProcess("HUP")
        await until(lambda: b"reload skipped" in daemon.output)
        gate.callback(None)
        await pulling.done
        self.assertTrue(pulling.body == data, "the bytes differ")
        await daemon.ended
        self.assertIn(b"stopped", daemon.output)
