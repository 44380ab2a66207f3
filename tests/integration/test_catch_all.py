"""Registries without an entry of their own: first a mirror that has many, then each itself."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.config.settings import CATCH_ALL, HostSettings, UpstreamSettings
from oci_registry.upstream import tls
from oci_registry.upstream.limits import UpstreamLimits
from tests.support.certificates import Certified
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Asked, Reply
from tests.support.network import Network
from tests.support.patterns import pattern

FAILURES = UpstreamLimits().breaker.failures
NAMES = tuple(f"r{number}.test" for number in range(2 * FAILURES))
APP = "team/app"


class Fallback(MirrorTestCase):
    """A mirror, `registry`, and registries that are all one server, by https, at a public address."""

    def setUp(self) -> None:
        super().setUp()
        certified = Certified(NAMES[0], names=NAMES)
        file = Path(self.mktemp())
        file.write_bytes(certified.certificate)
        context = tls._new_context(tls._identity(HostSettings("", ca_file=str(file))))
        self.patch(tls, "_plain_context", lambda: context)
        self.itself = FakeRegistry()
        self.itself.start(reactor, certified.server())
        self.registries.append(self.itself)
        self.network = Network(reactor)
        self.network.names |= {name: ["1.1.1.1"] for name in NAMES}
        self.network.servers["1.1.1.1", 443] = int(self.itself.host.rpartition(":")[2])
        self.itself.add_image(APP, "v1")
        self.settings = UpstreamSettings(
            CATCH_ALL, (HostSettings(self.registry.host, tls=False), HostSettings(CATCH_ALL))
        )

    async def pull(self, namespace: str = NAMES[0], repository: str = APP) -> Response:
        got: Response = await self.client.get(f"/v2/{repository}/manifests/v1?ns={namespace}")
        return got

    def dialled(self) -> int:
        """Return how often a connection to the mirror was tried."""
        port = int(self.registry.host.rpartition(":")[2])
        return self.network.dialled.count(("127.0.0.1", port))

    @running
    async def test_mirror_first(self) -> None:
        """While the mirror has an image the registry itself is not asked."""
        self.registry.add_image(APP, "v1")
        await self.start(self.settings, on=self.network)
        self.assertEqual(200, (await self.pull()).status)
        self.assertEqual([f"ns={NAMES[0]}"], [asked.query for asked in self.registry.asked])
        self.assertEqual([], self.itself.asked)

    @running
    async def test_missing(self) -> None:
        """What the mirror does not have is asked of the registry itself, under its own name."""
        await self.start(self.settings, on=self.network)
        self.assertEqual(200, (await self.pull()).status)
        self.assertEqual([f"ns={NAMES[0]}"], [asked.query for asked in self.registry.asked])
        self.assertEqual([""], [asked.query for asked in self.itself.asked])

    @running
    async def test_dead(self) -> None:
        """That the mirror cannot be reached is found out once, and not by each registry."""
        # No pause is over before the last pull, however busy the machine is.
        long = evolve(UpstreamLimits().breaker, first_pause=600.0, longest_pause=600.0)
        self.makers = evolve(self.makers, upstream_limits=UpstreamLimits(breaker=long))
        await self.registry.stop()
        await self.start(self.settings, on=self.network)
        for name in NAMES:
            self.assertEqual(200, (await self.pull(name)).status)
        self.assertEqual(FAILURES, self.dialled())
        page = self.daemons[-1].parts.metrics.page().decode()
        labels = f'{{host="{self.registry.host}",namespace="*"}}'
        self.assertIn(f"oci_registry_upstream_available{labels} 0.0", page)
        self.registry.start(self.time)

    @running
    async def test_broken(self) -> None:
        """A registry that is broken behind the mirror does not keep others from being asked there."""

        def answer(asked: Asked) -> Reply | None:
            return Reply(502) if asked.query == f"ns={NAMES[0]}" else None

        self.registry.add_image(APP, "v1")
        self.registry.guard = answer
        await self.start(self.settings, on=self.network)
        for number in range(2 * FAILURES):
            self.itself.add_image(f"team/broken{number}", "v1")
            got = await self.pull(NAMES[0], f"team/broken{number}")
            self.assertEqual(200, got.status)
        self.assertEqual(200, (await self.pull(NAMES[1])).status)
        self.assertEqual([], [asked for asked in self.itself.asked if APP in asked.path])

    @running
    async def test_guarded(self) -> None:
        """The registry itself is reached at public addresses only; the mirror may be inside."""
        self.network.names |= {"inside.test": ["10.0.0.1"]}
        await self.start(self.settings, on=self.network)
        got = await self.client.get(f"/v2/{APP}/tags/list?ns=inside.test")
        self.assertEqual(502, got.status)
        self.assertIn(b"cannot be resolved to a public address", got.body)
        self.assertEqual({"ns=inside.test"}, {asked.query for asked in self.registry.asked})
        self.assertNotIn("10.0.0.1", [host for host, _ in self.network.dialled])

    @running
    async def test_audience(self) -> None:
        """The registry that the client named decides which downloads it may follow."""
        blob = self.registry.add_blob(pattern(300_000))
        gate: Deferred[None] = Deferred()

        def held(asked: Asked) -> Reply:
            reply = self.registry.honest(asked)
            reply.hold = gate
            return reply

        self.registry.script("/blobs/", held)
        await self.start(self.settings, on=self.network)
        for name in NAMES[:2]:
            await self.client.begin(f"/v2/{APP}/blobs/{blob}?ns={name}")
        await until(lambda: self.registry.count(f"{blob}") == 2)
        gate.callback(None)
        for response in self.client.responses:
            self.assertEqual(200, (await response.done).status)

    @running
    async def test_connections(self) -> None:
        """Registries take turns on the same connection to the mirror."""
        self.registry.add_image(APP, "v1")
        await self.start(self.settings, on=self.network)
        for name in NAMES:
            self.assertEqual(200, (await self.pull(name)).status)
        self.assertEqual(1, self.dialled())
