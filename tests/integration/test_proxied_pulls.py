"""Pulls while the mirror's proxy or resolver fails and recovers: no restart, no wrong byte."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials, EgressSettings, ProxySettings
from oci_registry.upstream.limits import UpstreamLimits
from oci_registry.upstream.schemes.basic import basic_authorization
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.network import Network
from tests.support.proxy import ConnectProxy, refusing, silent

APP = "library/app"
HOST = "registry.example.org"
ME = Credentials("mirror", "pr0xy-pass")
DATA = bytes(range(256)) * 8192


class WayOutTestCase(MirrorTestCase):
    """A registry by the name of HOST, in a network of our own."""

    def setUp(self) -> None:
        super().setUp()
        # A host that has cost a timeout is asked again soon.
        short = evolve(UpstreamLimits().breaker, first_pause=0.02)
        self.makers = evolve(self.makers, upstream_limits=UpstreamLimits(breaker=short))
        self.network = Network(self.time)
        for tag in ("1", "2", "3", "4"):
            self.registry.add_image(APP, tag)
        self.digest = self.registry.add_blob(DATA)

    def manifest(self, tag: str) -> Any:
        return self.client.get(f"/v2/{APP}/manifests/{tag}")

    def told(self, response: Response) -> str:
        """Return what a client is told when a pull fails."""
        error = json.loads(response.body)["errors"][0]
        self.assertEqual("UNAVAILABLE", error["code"])
        self.assertNotIn(ME.password, error["message"])
        message: str = error["message"]
        return message

    async def recovered(self, tag: str) -> None:
        """Pull until the host is asked again."""
        while (await self.manifest(tag)).status == 503:
            pass
        self.assertEqual(200, (await self.manifest(tag)).status)


class ByProxy(WayOutTestCase):
    """By a proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.network.names[HOST] = []
        self.proxy = ConnectProxy(reactor, {f"{HOST}:80": self.registry.host})
        self.proxy.up()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.down()))

    async def begin(self, **settings: Any) -> None:
        proxy = ProxySettings("127.0.0.1", self.proxy.port, credentials=ME)
        await self.start(
            self.upstream("docker.io", host=HOST, **settings),
            egress=EgressSettings(http_proxy=proxy),
            on=self.network,
        )

    @running
    async def test_down(self) -> None:
        """A proxy that is down is a 502 that names it; what is pulled when it is up is served."""
        await self.begin()
        await self.proxy.down()
        response = await self.time.hurry(self.manifest("1"))
        self.assertEqual(502, response.status)
        self.assertIn(f"its proxy 127.0.0.1:{self.proxy.port} refused", self.told(response))
        self.proxy.up()
        self.assertEqual(200, (await self.manifest("1")).status)

    @running
    async def test_credentials(self) -> None:
        """A proxy that turns our credentials down is a 502, until it accepts them."""
        await self.begin()
        self.proxy.wants = basic_authorization(Credentials("other", "one"))
        response = await self.time.hurry(self.manifest("1"))
        self.assertEqual(502, response.status)
        self.assertIn("rejected our credentials", self.told(response))
        self.proxy.wants = basic_authorization(ME)
        self.assertEqual(200, (await self.manifest("1")).status)

    @running
    async def test_slow(self) -> None:
        """A proxy that does not answer is a 504 in time, and is asked again a while later."""
        await self.begin(connect_timeout=10.0)
        self.proxy.script = silent
        response = await self.time.hurry(self.manifest("1"))
        self.assertEqual(504, response.status)
        self.assertIn("did not answer in time", self.told(response))
        self.proxy.script = None
        await self.recovered("1")

    @running
    async def test_during_a_blob(self) -> None:
        """A proxy that restarts in the middle of a blob is not noticed by who pulls it."""
        await self.begin()
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=DATA, hold=gate, hold_at=500_000))
        response = await self.client.begin(f"/v2/{APP}/blobs/{self.digest}")
        await until(lambda: len(response.body) > 100_000)
        await self.proxy.down()
        self.registry.unscript()
        self.proxy.script = refusing(503)
        self.proxy.up()
        asked = len(self.proxy.asked)
        await until(lambda: len(self.proxy.asked) > asked)
        self.proxy.script = None
        await response.done
        self.assertEqual((200, True), (response.status, response.complete))
        self.assertEqual(DATA, bytes(response.body))
        gate.callback(None)


class ByName(WayOutTestCase):
    """By a name that is not always resolved."""

    @running
    async def test_resolver_fails(self) -> None:
        """What cannot be resolved is a 502; the next pull after that is served, wherever it is now."""
        await self.start(self.upstream("docker.io", host=HOST), on=self.network)
        port = int(self.registry.host.rpartition(":")[2])
        for tag, address in (("1", "192.0.2.1"), ("2", "192.0.2.2")):
            self.network.names[HOST] = []
            response = await self.time.hurry(self.manifest(tag))
            self.assertEqual(502, response.status)
            self.assertIn(f"upstream {HOST}: its name could not be resolved", self.told(response))
            self.network.names[HOST] = [address]
            self.network.servers[address, 80] = port
            self.assertEqual(200, (await self.manifest(tag)).status)
            for channel in list(self.registry.channels):
                channel.transport.loseConnection()
            await until(lambda: not self.registry.channels)
        self.assertEqual([("192.0.2.1", 80), ("192.0.2.2", 80)], self.network.dialled)

    @running
    async def test_resolver_hangs(self) -> None:
        """A resolver that never answers is a 504 in time, and pulls succeed when it works again."""
        await self.start(
            self.upstream("docker.io", host=HOST, connect_timeout=10.0), on=self.network
        )
        self.network.names[HOST] = None
        self.assertEqual(504, (await self.time.hurry(self.manifest("1"))).status)
        self.network.names[HOST] = ["192.0.2.1"]
        self.network.servers["192.0.2.1", 80] = int(self.registry.host.rpartition(":")[2])
        await self.recovered("1")
