"""Upstreams that nobody configured: whatever they are called and wherever they lead, it is not inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.config.settings import EgressSettings
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.reference import Tag
from oci_registry.upstream.guard import AT_ONCE
from tests.support.certificates import Certified
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import FakeRegistry, Reply
from tests.support.network import Network
from tests.support.upstream_client import ClientTestCase, read

LATEST = Tag("latest")
APP = "library/app"
HOST = "registry.example.org"
CDN = "cdn.example.net"
PUBLIC = "1.1.1.1"
INSIDE = (
    "127.0.0.1",
    "localhost",
    "localhost.",
    "inside.example.org",
    "127.0.0.1.",
    "127.1",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "0",
    "0.0.0.0",
    "\N{CIRCLED DIGIT ONE}\N{CIRCLED DIGIT TWO}\N{CIRCLED DIGIT SEVEN}.0.0.1",
    "127\N{IDEOGRAPHIC FULL STOP}0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "[::1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25lo]",
)
"""Ways to write what is not public."""


class GuardedTestCase(ClientTestCase):
    """A registry and a store, each at a public address of a network of our own."""

    def setUp(self) -> None:
        super().setUp()
        self.network = Network(reactor)
        self.network.names |= {
            HOST: [PUBLIC],
            CDN: ["8.8.8.8"],
            "localhost.": ["127.0.0.1"],
            "inside.example.org": ["127.0.0.1", "10.0.0.1", "::1"],
        }
        certified = Certified(HOST, names=(HOST, CDN))
        self.ca_file = Path(self.mktemp())
        self.ca_file.write_bytes(certified.certificate)
        self.secure, self.cdn = FakeRegistry(), FakeRegistry()
        for address, server in ((PUBLIC, self.secure), ("8.8.8.8", self.cdn)):
            server.start(reactor, certified.server())
            self.network.servers[address, 443] = int(server.host.rpartition(":")[2])
            self.addCleanup(lambda one=server: Deferred.fromCoroutine(one.stop()))
        self.secure.add_image(APP, "latest")
        self.digest = self.secure.add_blob(b"blob" * 1000)
        # Who gets this far inside finds somebody there.
        self.port = self.registry.host.rpartition(":")[2]

    def guarded(self, host: str = HOST) -> Any:
        return self.connect(
            on=self.network,
            host=host,
            tls=True,
            configured=False,
            guarded=True,
            ca_file=str(self.ca_file),
        )


class Named(GuardedTestCase):
    """Hosts as clients name them."""

    @running
    async def test_public(self) -> None:
        """A public one is served, at the address that was judged."""
        await self.guarded().manifest(APP, LATEST)
        self.assertEqual([(PUBLIC, 443)], self.network.dialled)

    @running
    async def test_inside(self) -> None:
        """What is inside is not reached, however it is written."""
        for host in INSIDE:
            client = self.guarded(f"{host}:{self.port}")
            await self.error(client.manifest(APP, LATEST), BadGateway, host)
        self.assertEqual([], self.network.dialled)

    @running
    async def test_both(self) -> None:
        """Of a name that is public and inside at once only the public part is tried."""
        self.network.names[HOST] = ["127.0.0.1", "::1", PUBLIC, "10.0.0.1", "9.9.9.9"]
        await self.guarded().manifest(APP, LATEST)
        self.assertLessEqual(set(self.network.dialled), {(PUBLIC, 443), ("9.9.9.9", 443)})
        self.network.dialled.clear()
        self.network.names[HOST] = ["127.0.0.1", "9.9.9.9"]
        await self.error(self.guarded().manifest(APP, LATEST), BadGateway, HOST)
        self.assertEqual([("9.9.9.9", 443)], self.network.dialled)

    @running
    async def test_rebinding(self) -> None:
        """A name that moves inside keeps its connection, and gets no other."""
        client = self.guarded()
        await client.manifest(APP, LATEST)
        self.network.names[HOST] = ["127.0.0.1"]
        await client.manifest(APP, LATEST)
        self.assertEqual([(PUBLIC, 443)], self.network.dialled)
        for channel in self.secure.channels:
            channel.transport.loseConnection()
        await until(lambda: not self.secure.channels)
        await self.error(client.manifest(APP, LATEST), BadGateway, HOST)
        self.assertEqual([(PUBLIC, 443)], self.network.dialled)
        self.network.names[HOST] = [PUBLIC]
        await client.manifest(APP, LATEST)

    @running
    async def test_unresolved(self) -> None:
        """A name that is not resolved for a while is served again when it is."""
        client = self.guarded()
        self.network.names[HOST] = []
        for _ in range(2):
            await self.error(client.manifest(APP, LATEST), BadGateway, HOST)
        self.network.names[HOST] = [PUBLIC]
        await client.manifest(APP, LATEST)


class Led(GuardedTestCase):
    """Where public hosts lead."""

    def urls(self) -> list[str]:
        return [f"https://{host}:{self.port}/x" for host in INSIDE]

    @running
    async def test_redirect_outside(self) -> None:
        """A redirect to another public host is followed."""
        location = {"Location": f"https://{CDN}/there"}
        self.secure.script("/blobs/", Reply(307, headers=location))
        self.cdn.script("/there", Reply(body=b"blob" * 1000))
        body = await read(await self.guarded().blob(APP, self.digest))
        self.assertEqual(b"blob" * 1000, body)
        self.assertEqual([(PUBLIC, 443), ("8.8.8.8", 443)], self.network.dialled)

    @running
    async def test_redirect_inside(self) -> None:
        """A redirect to the inside is not, for any question, from the first host or from the next."""
        self.secure.script("/away", Reply(307, headers={"Location": f"https://{CDN}/there"}))
        for url in self.urls():
            reply = Reply(307, headers={"Location": _ascii(url)})
            self.cdn.script("/there", reply)
            for method in ("GET", "HEAD"):
                self.secure.script("/manifests/", reply, method)
                self.secure.script("/blobs/", reply, method)
            client = self.guarded()
            for question in (
                client.manifest(APP, LATEST),
                client.manifest_digest(APP, LATEST),
                client.blob(APP, self.digest),
                client.blob_size(APP, self.digest),
            ):
                await self.error(question, BadGateway, HOST)
        self.secure.script("/manifests/", Reply(307, headers={"Location": "/away"}))
        await self.error(self.guarded().manifest(APP, LATEST), BadGateway, HOST)
        self.assertEqual({(PUBLIC, 443), ("8.8.8.8", 443)}, set(self.network.dialled))
        self.assertEqual(0, self.registry.connections)

    @running
    async def test_token_server_inside(self) -> None:
        """A token server that is inside is not asked, by https or by http."""
        for url in self.urls():
            for realm in (url, url.replace("https://", "http://")):
                challenge = f'Bearer realm="{_ascii(realm)}",service="x"'
                self.secure.script(
                    "/manifests/", Reply(401, headers={"WWW-Authenticate": challenge})
                )
                await self.error(self.guarded().manifest(APP, LATEST), BadGateway, HOST)
        self.assertEqual({(PUBLIC, 443)}, set(self.network.dialled))
        self.assertEqual(0, self.registry.connections)


def _ascii(url: str) -> str:
    """Write what is not ASCII as it is in a header: as UTF-8."""
    return url.encode().decode("latin-1")


class Mirrored(MirrorTestCase):
    """The mirror, asked for hosts that nobody configured."""

    @running
    async def test_unresolvable(self) -> None:
        """Names that are never resolved do not keep a configured one from being so."""
        network = Network(reactor)
        made_up = [f"h{n}.example.org" for n in range(AT_ONCE + 3)]
        network.names |= {HOST: ["192.0.2.1"], **dict.fromkeys(made_up)}
        network.servers["192.0.2.1", 80] = int(self.registry.host.rpartition(":")[2])
        self.registry.add_image(APP, "latest")
        upstream = self.upstream("docker.io", host=HOST)
        await self.start(upstream, on=network)
        for host in made_up:
            await self.client.begin(f"/v2/{APP}/manifests/latest?ns={host}")
        await until(lambda: len(network.nameResolver.asked) == AT_ONCE)
        response = await self.client.get(f"/v2/{APP}/manifests/latest")
        self.assertEqual(200, response.status)
        *asked, last = network.nameResolver.asked
        self.assertEqual((AT_ONCE, HOST), (len(asked), last))
        # Now there is an answer, and the others get their turns.
        network.names |= {host: [] for host in made_up}
        for host in asked:
            network.nameResolver.answer(host, [])
        for response in self.client.responses[:-1]:
            self.assertEqual(502, (await response.done).status)

    @running
    async def test_private_upstreams(self) -> None:
        """With it a host that a client named is asked wherever it is, though its certificate is verified."""
        secure = FakeRegistry()
        secure.start(reactor, Certified("127.0.0.1").server())
        self.addCleanup(lambda: Deferred.fromCoroutine(secure.stop()))
        path = f"/v2/{APP}/manifests/latest?ns={secure.host}"
        for allowed in (False, True):
            await self.start(egress=EgressSettings(allow_private=allowed))
            response = await self.client.get(path)
            self.assertEqual(502, response.status)
            message = json.loads(response.body)["errors"][0]["message"]
            self.assertIn("self-signed" if allowed else "configure private registries", message)
            self.assertEqual(allowed, secure.connections > 0)
            await self.stop()
