"""Tags that move under a minimum age, and holds, in a running daemon."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.task import deferLater

from oci_registry.config.settings import AgeRule, MinAges, UpstreamSettings
from oci_registry.pullthrough.tag_control import TagControl
from oci_registry.spec.digest import Digest
from oci_registry.spec.patterns import parse_pattern
from oci_registry.storage.keys import history_key, hold_key, tag_key
from oci_registry.workers.leases import LEASE
from tests.support.client import Client, Response
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.process import DaemonProcess
from tests.support.s3_daemon import BucketTestCase
from tests.support.workers import WorkersTestCase

HOUR = 3600.0
DAY = 24 * HOUR
PATH = "/v2/library/app/manifests/1"
HISTORY = "/v2/library/app/_oci-registry/history/1"
NAMES = ("docker.io", "library/app", "1")


class TagsTestCase(MirrorTestCase):
    """A tag that is fresh for an hour."""

    def setUp(self) -> None:
        super().setUp()
        self.one, _ = self.registry.add_image("library/app", "1", b"one")

    def aged(self, age: float = 3 * DAY, **settings: Any) -> UpstreamSettings:
        """Return the settings of an upstream with a minimum age."""
        rules = MinAges(
            (AgeRule(parse_pattern("library/*:1"), age), AgeRule(parse_pattern("*"), 0.0))
        )
        settings.setdefault("manifest_invalidation_time", HOUR)
        return self.upstream("docker.io", min_age=rules, **settings)

    def move(self) -> Digest:
        """Move the tag upstream."""
        return self.registry.add_image("library/app", "1", b"two")[0]

    async def pull(self, path: str = PATH, method: str = "GET") -> Response:
        """Return the response of a pull, which never fails, when what it brought is stored."""
        got = await self.client.get(path, method=method)
        self.assertEqual(200, got.status)
        # A write under way would be given up if its time was let pass.
        await until(lambda: not any(len(daemon.parts.records) for daemon in self.daemons))
        return got

    async def digest(self, method: str = "GET") -> str:
        """Return the digest that is served for the tag, and for HEAD."""
        got = await self.pull(method=method)
        if method == "GET":
            self.assertEqual(str(Digest.of(got.body)), got.headers["docker-content-digest"])
        return got.headers["docker-content-digest"]

    async def history(self) -> dict[str, Any]:
        """Return the history of the tag."""
        document: dict[str, Any] = json.loads((await self.pull(HISTORY)).body)
        return document

    @property
    def control(self) -> TagControl:
        return self.daemons[-1].parts.tag_control


class MinAge(TagsTestCase):
    """A new digest of a tag waits for three days."""

    @running
    async def test_waits(self) -> None:
        """The previous digest is served with 200, by HEAD and GET, with every name, until the time has come."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        two = self.move()
        for method in ("HEAD", "GET", "GET", "HEAD"):
            self.assertEqual(str(self.one), await self.digest(method))
        got = await self.pull("/v2/docker.io/library/app/manifests/1?ns=docker.io")
        self.assertEqual(str(self.one), got.headers["docker-content-digest"])
        self.assertIn("; detail=min-age; ttl=", got.headers["cache-status"])
        self.assertNotIn("warning", got.headers)
        waiting = (await self.history())["waiting"]
        self.assertEqual(str(two), waiting["digest"])
        exact = await self.pull(f"/v2/library/app/manifests/{two}")
        self.assertEqual(str(two), exact.headers["docker-content-digest"])
        for hours in (10, 10, 10, 10, 10, 10, 10, 1):
            await self.later(hours * HOUR)
            self.assertEqual(str(self.one), await self.digest())
        await self.later(HOUR)
        self.assertEqual(str(two), await self.digest())
        history = await self.history()
        self.assertEqual((str(two), None), (history["digest"], history["waiting"]))
        self.assertEqual([str(two), str(self.one)], [each["digest"] for each in history["history"]])

    @running
    async def test_restart(self) -> None:
        """Restarts change nothing; neither does the loss of the account, nor of the record of the tag."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        two = self.move()
        await self.digest()
        for lost in ((), ("account.sqlite",), (tag_key(*NAMES),)):
            await self.later(DAY - 60)
            await self.stop()
            for name in lost:
                (self.root / name).unlink()
            await self.start(self.aged())
            self.assertEqual(str(self.one), await self.digest())
        for _ in range(2):
            self.assertEqual(str(self.one), await self.digest())
            await self.later(100)
        self.assertEqual(str(two), await self.digest())

    @running
    async def test_older_daemon(self) -> None:
        """What an older daemon has stored has a history from then on."""
        await self.start(self.aged())
        await self.digest()
        await self.stop()
        record = self.root / tag_key(*NAMES)
        old = json.loads(record.read_bytes())
        record.write_text(json.dumps({key: old[key] for key in ("digest", "mediaType", "checked")}))
        (self.root / history_key(*NAMES)).unlink()
        await self.start(self.aged())
        self.move()
        await self.later(HOUR)
        self.assertEqual(str(self.one), await self.digest())
        self.assertEqual(
            [False, True], [each["adopted"] for each in (await self.history())["history"]]
        )


class Holds(TagsTestCase):
    """Tags that are held."""

    @running
    async def test_rollback(self) -> None:
        """A tag is rolled back at once, also for clients that were served from memory, and after a restart."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=HOUR))
        await self.digest()
        two = self.move()
        await self.later(HOUR)
        for _ in range(3):
            self.assertEqual(str(two), await self.digest())
        await self.control.rollback(*NAMES)
        self.assertTrue((self.root / hold_key(*NAMES, self.one)).exists())
        for _ in range(3):
            self.assertEqual(str(self.one), await self.digest())
        await self.stop()
        await self.start()
        got = await self.pull()
        self.assertEqual(str(self.one), got.headers["docker-content-digest"])
        self.assertEqual("oci-registry; hit; detail=hold", got.headers["cache-status"])
        self.assertEqual(str(self.one), (await self.history())["hold"]["digest"])
        await self.control.release(*NAMES)
        self.assertEqual(str(two), await self.digest())
        page = (await self.client.get("/metrics")).body.decode()
        self.assertIn("oci_registry_held_tags 0.0", page)

    @running
    async def test_upstream_gone(self) -> None:
        """A held tag and a tag that waits are served without upstream."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        self.move()
        await self.digest()
        await self.registry.stop()
        await self.later(4 * DAY)
        got = await self.pull()
        self.assertEqual(str(self.one), got.headers["docker-content-digest"])
        self.assertIn("warning", got.headers)
        await self.control.hold(*NAMES)
        got = await self.pull()
        self.assertNotIn("warning", got.headers)


class Bucket(BucketTestCase, TagsTestCase):
    """Replicas on one bucket."""

    @running
    async def test_replicas(self) -> None:
        """A replica waits since another one has seen a digest, and knows of holds when it reads them again."""
        self.makers = evolve(self.makers, hold_interval=0.5)
        await self.start(self.aged())
        await self.digest()
        await until(lambda: not len(self.daemons[0].parts.records))
        first = self.client
        await self.start(self.aged())
        second = self.client
        await self.digest()
        two = self.move()
        self.clock.ahead += HOUR
        for self.client in (first, second):
            self.assertEqual(str(self.one), await self.digest())
            await until(lambda: not any(len(each.parts.records) for each in self.daemons))
            self.clock.ahead += DAY
        waiting = [(await self.history())["waiting"]["since"] for self.client in (first, second)]
        self.assertEqual(1, len(set(waiting)))
        self.clock.ahead += DAY
        for self.client in (second, first):
            self.assertEqual(str(two), await self.digest())
        await self.daemons[0].parts.tag_control.hold(*NAMES, self.one)
        self.assertEqual(str(self.one), await self.digest())
        self.client = second
        store = self.daemons[1].parts.tag_control._holds
        await until(lambda: len(store) == 1)
        self.assertEqual(str(self.one), await self.digest())

    @running
    async def test_catalog(self) -> None:
        """The repositories in a bucket are listed page by page."""
        names = ["library/app", "library/app-1", "library/app/x", "team/a"]
        await self.start()
        for name in names:
            self.registry.add_image(name, "1", b"x")
            await self.pull(f"/v2/{name}/manifests/1")
        await until(lambda: not len(self.daemons[0].parts.records))
        found: list[str] = []
        target = "/v2/_catalog?n=1"
        while target:
            got = await self.pull(target)
            found += json.loads(got.body)["repositories"]
            target = got.headers.get("link", "").partition(">")[0].lstrip("<")
        self.assertEqual([f"docker.io/{name}" for name in names], found)


class Workers(WorkersTestCase):
    """Workers serve what the main process lends them for a second."""

    def begin(self, *options: str) -> DaemonProcess:
        """Start a daemon whose tags are fresh for half a second."""
        keys = "manifest_invalidation_time: 500ms, min_age: 3s"
        upstream = (
            f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false, {keys}}}\n\n'
        )
        daemon = DaemonProcess(reactor, self.root, upstream, *options, forked=True)
        self.addCleanup(daemon.end)
        return daemon

    @running
    async def test_never_early(self) -> None:
        """No worker serves a new digest before its time, and none the previous one for long after that."""
        one, _ = self.registry.add_image("library/app", "1", b"one")
        _, client = await self.serve()
        self.assertEqual(200, (await client.get(PATH)).status)
        two, _ = self.registry.add_image("library/app", "1", b"two")
        moved = reactor.seconds()
        served: list[tuple[float, str]] = []
        while str(two) not in {digest for _, digest in served[-20:]}:
            if reactor.seconds() < moved + 2.8:
                await deferLater(reactor, 0.02)
            digest = await self.served_digest()
            served.append((reactor.seconds(), digest))
        before = [digest for when, digest in served if when < moved + 3.0]
        self.assertEqual({str(one)}, set(before))
        self.assertGreater(len(before), 10)
        ended = reactor.seconds() + LEASE
        await until(lambda: reactor.seconds() > ended)
        after = {await self.served_digest() for _ in range(20)}
        self.assertEqual({str(two)}, after)

    async def served_digest(self) -> str:
        """Return the digest of the tag, asked for on a new connection."""
        got = await Client(reactor, self.number).get(PATH, Connection="close")
        self.assertEqual(200, got.status)
        return got.headers["docker-content-digest"]
