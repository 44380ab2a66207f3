"""Upstreams behind a proxy, over real sockets: who is told what, and what trouble with it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials, EgressSettings, ProxySettings
from oci_registry.spec.errors import BadGateway, GatewayTimeout
from oci_registry.spec.reference import Tag
from oci_registry.upstream.schemes.basic import basic_authorization
from tests.support.certificates import Certified
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Asked, FakeRegistry, Reply
from tests.support.forward import ForwardReactor
from tests.support.network import Network
from tests.support.proxy import OPENED, ConnectProxy, refusing, saying, silent
from tests.support.upstream_client import ClientTestCase, Talk, read

LATEST = Tag("latest")
APP = "library/app"
HOST = "registry.example.org"
CDN = "cdn.example.net"
PAT = Credentials("pat", "s3cret-pass")
ME = Credentials("mirror", "pr0xy-pass")
DATA = bytes(range(256)) * 8000


class ProxyTestCase(ClientTestCase):
    """A proxy that knows a registry and a store by name; neither name resolves otherwise."""

    def setUp(self) -> None:
        super().setUp()
        self.network = Network(reactor)
        self.network.names |= {HOST: [], CDN: []}
        self.certified = Certified("proxy", names=(HOST, CDN, "127.0.0.1"))
        ca_file = Path(self.mktemp())
        ca_file.write_bytes(self.certified.certificate)
        self.ca_file = str(ca_file)
        self.secure, self.cdn = FakeRegistry(), FakeRegistry()
        self.proxy = ConnectProxy(reactor)
        self.proxy.up()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.proxy.down()))
        for name, server in ((HOST, self.secure), (CDN, self.cdn)):
            server.start(reactor, self.certified.server())
            self.proxy.places[f"{name}:443"] = server.host
            self.addCleanup(lambda one=server: Deferred.fromCoroutine(one.stop()))
        self.proxy.places[f"{HOST}:80"] = self.registry.host
        for registry in (self.registry, self.secure):
            registry.add_image(APP, "latest")
            self.digest = registry.add_blob(DATA)

    def settings(self, **options: Any) -> ProxySettings:
        return ProxySettings("127.0.0.1", self.proxy.port, **options)

    def by_proxy(self, environment: ProxySettings | None = None, **options: Any) -> Any:
        """Return a client that uses the proxy by default."""
        chosen = environment or self.settings()
        options.setdefault("egress", EgressSettings(https_proxy=chosen, http_proxy=chosen))
        options = {"host": HOST, "tls": True, "ca_file": self.ca_file, **options}
        return self.connect(on=self.network, **options)


class Tunnelled(ProxyTestCase):
    """Requests that go through."""

    @running
    async def test_pulling(self) -> None:
        """Both schemes go through both kinds of proxy, whole, and a connection is used again."""
        for tls in (False, True):
            if tls:
                await self.proxy.down()
                self.proxy.up(self.certified.server())
            for scheme, port in ((False, 80), (True, 443)):
                self.proxy.asked.clear()
                client = self.by_proxy(self.settings(tls=tls), tls=scheme)
                await client.manifest(APP, LATEST)
                self.assertEqual(DATA, await read(await client.blob(APP, self.digest)))
                self.assertEqual([f"{HOST}:{port}"], self.proxy.targets)
        self.assertEqual({("127.0.0.1", self.proxy.port)}, set(self.network.dialled))

    @running
    async def test_redirected(self) -> None:
        """Where the registry redirects to, and its token server, are reached by the proxy too."""
        location = {"Location": f"https://{CDN}/there"}
        challenge = f'Bearer realm="https://{CDN}/token"'

        def ask(asked: Asked) -> Reply:
            if asked.authorization != "Bearer t":
                return Reply(401, headers={"WWW-Authenticate": challenge})
            return Reply(307, headers=location)

        self.secure.script("/blobs/", ask)
        self.cdn.script("/token", Reply(body=b'{"token": "t"}'))
        self.cdn.script("/there", Reply(body=DATA))
        for options in ({}, {"egress": EgressSettings(), "proxy": self.settings()}):
            self.proxy.asked.clear()
            client = self.by_proxy(**options)
            self.assertEqual(DATA, await read(await client.blob(APP, self.digest)))
            self.assertEqual({f"{HOST}:443", f"{CDN}:443"}, set(self.proxy.targets))

    @running
    async def test_around(self) -> None:
        """What is in NO_PROXY, or needs no proxy at all, is reached directly."""
        proxy = self.settings()
        self.network.names[HOST] = ["1.1.1.1"]
        self.network.servers["1.1.1.1", 443] = int(self.secure.host.rpartition(":")[2])
        for options in (
            {"egress": EgressSettings(https_proxy=proxy, no_proxy=("example.org",))},
            {"egress": EgressSettings(http_proxy=proxy)},
            {"egress": EgressSettings(https_proxy=proxy), "proxy": "none"},
        ):
            await self.by_proxy(**options).manifest(APP, LATEST)
        self.assertEqual([], self.proxy.asked)
        self.assertEqual([("1.1.1.1", 443)] * 3, self.network.dialled)

    @running
    async def test_secrets(self) -> None:
        """The proxy's credentials reach no upstream, and the upstream's no proxy."""
        self.proxy.wants = basic_authorization(ME)
        basic = {"WWW-Authenticate": 'Basic realm="x"'}

        def ask(asked: Asked) -> Reply | None:
            return (
                None if asked.authorization == basic_authorization(PAT) else Reply(401, b"", basic)
            )

        for registry in (self.registry, self.secure):
            registry.script("", ask)
        for tls in (False, True):
            client = self.by_proxy(self.settings(credentials=ME), tls=tls, credentials=PAT)
            await client.manifest(APP, LATEST)
        for asked in self.proxy.asked:
            self.assertEqual({"host", "proxy-authorization"}, set(asked.headers))
            self.assertNotIn(basic_authorization(PAT).encode(), asked.head)
        for registry in (self.registry, self.secure):
            self.assertEqual(2, len(registry.asked))
            for request in registry.asked:
                self.assertNotIn("proxy-authorization", request.headers)
                self.assertNotIn(basic_authorization(ME), request.headers.values())


class Guarded(ProxyTestCase):
    """Hosts that nobody configured, by a proxy that could reach everything."""

    def setUp(self) -> None:
        super().setUp()
        self.network.names[HOST] = ["10.0.0.1", "1.1.1.1", "2606:4700::1", "127.0.0.1"]
        self.network.names["inside.example.org"] = ["10.0.0.1"]
        for host in ("10.0.0.1", "127.0.0.1", "inside.example.org", "[2606:4700::1]"):
            self.proxy.places[f"{host}:443"] = self.secure.host

    def guarded(self, host: str = HOST) -> Any:
        return self.by_proxy(host=host, guarded=True)

    @running
    async def test_addresses(self) -> None:
        """The proxy is told addresses that were judged, one after the other, and never a name."""
        await self.guarded().manifest(APP, LATEST)
        self.assertEqual(["1.1.1.1:443", "[2606:4700::1]:443"], self.proxy.targets)
        for asked in self.proxy.asked:
            self.assertNotIn(HOST.encode(), asked.head)

    @running
    async def test_wrong_certificate(self) -> None:
        """It is the name that the certificate must be for, though an address was asked for."""
        self.network.names["other.example.org"] = ["2606:4700::1"]
        message = await self.error(
            self.guarded("other.example.org").manifest(APP, LATEST), BadGateway, "other.example.org"
        )
        self.assertIn("hostname mismatch", message)
        self.assertEqual([], self.secure.asked)

    @running
    async def test_inside(self) -> None:
        """Nothing inside is asked for: no host, no redirect, no token server."""
        for host in ("inside.example.org", "10.0.0.1", "127.0.0.1", "127.1", "[::ffff:10.0.0.1]"):
            message = await self.error(self.guarded(host).manifest(APP, LATEST), BadGateway, host)
            self.assertIn("configure private registries", message)
        self.assertEqual([], self.proxy.asked)
        url = "https://inside.example.org/x"
        for reply in (
            Reply(307, headers={"Location": url}),
            Reply(401, headers={"WWW-Authenticate": f'Bearer realm="{url}"'}),
        ):
            self.secure.script("/manifests/", reply)
            await self.error(self.guarded().manifest(APP, LATEST), BadGateway, HOST)
        self.assertEqual({"1.1.1.1:443", "[2606:4700::1]:443"}, set(self.proxy.targets))

    @running
    async def test_allowed(self) -> None:
        """A host that may be private is named to the proxy, which may know it when we do not."""
        self.proxy.places["inside.example.org:443"] = self.secure.host
        client = self.by_proxy(host="inside.example.org", accept_invalid_certs=True)
        await client.manifest(APP, LATEST)
        self.assertEqual(["inside.example.org:443"], self.proxy.targets)
        self.assertEqual([], [n for n in self.network.nameResolver.asked if n != "127.0.0.1"])


class Trouble(ProxyTestCase):
    """Proxies that do not do their work, and do it again; the client is the same all the time."""

    async def failing(self, client: Any, kind: Any, words: str) -> None:
        message = await self.error(client.manifest(APP, LATEST), kind, HOST)
        self.assertIn(f"its proxy 127.0.0.1:{self.proxy.port} {words}", message)
        self.assertNotIn(ME.password, message)
        self.assertEqual([], self.secure.asked)

    async def works(self, client: Any) -> None:
        await client.manifest(APP, LATEST)
        self.secure.asked.clear()

    @running
    async def test_down(self) -> None:
        """A proxy that is down is named; once it is up it is used."""
        client = self.by_proxy()
        await self.proxy.down()
        await self.failing(client, BadGateway, "refused the connection")
        self.proxy.up()
        await self.works(client)
        # Its idle connections are gone with it, and that is noticed.
        await self.proxy.down()
        await until(lambda: not self.secure.channels)
        await self.failing(client, BadGateway, "refused the connection")
        self.proxy.up()
        await self.works(client)

    @running
    async def test_refusing(self) -> None:
        """What the proxy answers is told, and no sooner done with than it answers otherwise."""
        client = self.by_proxy()
        for script, kind, words in (
            (refusing(403), BadGateway, "could not connect (status 403)"),
            (refusing(502), BadGateway, "could not connect (status 502)"),
            (refusing(504), GatewayTimeout, "could not connect (status 504)"),
            (saying(b""), BadGateway, "closed the connection"),
            (saying(OPENED[:20]), BadGateway, "closed the connection"),
            (saying(b"SSH-2.0-x\r\n"), BadGateway, "sent a malformed HTTP response"),
            (saying(b"HTTP/1.1 200 " + b"x" * 20000), BadGateway, "a malformed HTTP response"),
        ):
            self.proxy.script = script
            message = await self.error(client.manifest(APP, LATEST), kind, HOST)
            self.assertIn(f"its proxy 127.0.0.1:{self.proxy.port}", message)
            self.assertIn(words, message)
        self.assertEqual([], self.secure.asked)
        self.proxy.script = None
        await self.works(client)

    @running
    async def test_credentials(self) -> None:
        """A proxy that wants credentials, or others, says so until it is content."""
        unknown, known = self.by_proxy(), self.by_proxy(self.settings(credentials=ME))
        self.proxy.wants = basic_authorization(PAT)
        await self.failing(unknown, BadGateway, "requires credentials (status 407)")
        await self.failing(known, BadGateway, "rejected our credentials")
        self.proxy.wants = basic_authorization(ME)
        await self.works(known)
        self.proxy.wants = None
        await self.works(unknown)

    @running
    async def test_silent(self) -> None:
        """A proxy that does not answer is given up in time, and its connection closed."""
        time = ForwardReactor(reactor)
        self.network = Network(time)
        # So long that it is not over before the proxy answers on a busy machine.
        client = self.by_proxy(connect_timeout=10.0)
        self.proxy.script = silent
        await time.hurry(self.failing(client, GatewayTimeout, "did not answer in time"))
        await until(lambda: not self.proxy.channels)
        self.proxy.script = None
        await self.works(client)

    @running
    async def test_unknown_proxy(self) -> None:
        """A proxy is asked for nothing, and told no secret, before its certificate is verified."""
        await self.proxy.down()
        self.proxy.up(Certified("other.example.org").server())
        proxy = self.settings(tls=True, credentials=ME)
        for options in ({}, {"accept_invalid_certs": True, "ca_file": None}):
            message = await self.error(
                self.by_proxy(proxy, **options).manifest(APP, LATEST), BadGateway, HOST
            )
            self.assertIn(
                f"its proxy 127.0.0.1:{self.proxy.port}: TLS: self-signed certificate", message
            )
        self.assertEqual([], self.proxy.asked)

    @running
    async def test_cut(self) -> None:
        """A tunnel that ends in the middle of an answer ends the answer."""
        gate: Deferred[None] = Deferred()
        self.secure.script("/blobs/", Reply(body=DATA, hold=gate, hold_at=100_000))
        body = read(await self.by_proxy().blob(APP, self.digest))
        await until(lambda: self.proxy.opened == 1)
        await self.proxy.down()
        with self.assertRaises(BadGateway):
            await body
        gate.callback(None)

    @running
    async def test_no_proxy_at_all(self) -> None:
        """A server that is no proxy, and says so after anything, is not taken for the upstream."""
        other = Talk(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        host, _, port = other.host.rpartition(":")
        client = self.by_proxy(ProxySettings(host, int(port)))
        message = await self.error(client.manifest(APP, LATEST), BadGateway, HOST)
        self.assertIn("status 400", message)
        await other.stop()
