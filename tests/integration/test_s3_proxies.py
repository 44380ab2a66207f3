"""A bucket, and the proxies between."""

from __future__ import annotations

import os
from collections.abc import Awaitable

from attrs import evolve
from twisted.internet.threads import deferToThread

from oci_registry.config.settings import Credentials, ProxySettings
from oci_registry.storage.drivers.s3.connection import Connection
from oci_registry.storage.interfaces import StoreError
from tests.support import s3
from tests.support.daemon import MirrorTestCase, reactor, running
from tests.support.fake_replies import Asked, Reply
from tests.support.proxy import ConnectProxy, refusing
from tests.support.s3_proxy import Forward, S3Proxy

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


async def _forbidden(asked: Asked, forward: Forward) -> Reply:
    """Refuse as a proxy does, which knows nothing of S3."""
    return Reply(403, b"<html>no</html>", {"content-type": "text/html"})


class Proxies(MirrorTestCase):
    """The calls of one connection."""

    def setUp(self) -> None:
        super().setUp()
        for name in VARIABLES:
            for variable in (name, name.lower()):
                if variable in os.environ:
                    self.addCleanup(os.environ.__setitem__, variable, os.environ.pop(variable))
                else:
                    self.addCleanup(os.environ.pop, variable, None)
        self.settings = s3.new_bucket(str(self.root))
        self.proxy = S3Proxy(reactor, s3.endpoint())
        self.proxy.up()
        self.addCleanup(self.proxy.down)
        self.way = ProxySettings("127.0.0.1", self.proxy.port)

    def head(self, **settings: object) -> Awaitable[object]:
        """Ask for the bucket with other settings."""
        connection = Connection(evolve(self.settings, **settings))
        return deferToThread(connection.request, connection.reading.head_bucket)

    async def refused(self, **settings: object) -> str:
        """Ask for the bucket; return why that fails."""
        try:
            await self.head(**settings)
        except StoreError as error:
            return str(error)
        raise AssertionError("it worked")

    @running
    async def test_environment_is_ignored(self) -> None:
        """A server that is named is reached directly whatever the environment says."""
        os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = self.proxy.url
        await self.head()
        self.assertEqual(0, self.proxy.count("*"))

    @running
    async def test_refusal_names_the_proxy(self) -> None:
        """The error of a refused request through a proxy names the proxy, however that was chosen."""
        self.proxy.script("*", _forbidden)
        name = f"through the proxy 127.0.0.1:{self.proxy.port}: access is denied (403)"
        self.assertIn(name, await self.refused(proxy=self.way))
        os.environ["http_proxy"] = f"http://alice:secret@{self.proxy.url.partition('//')[2]}"
        refusal = await self.refused(proxy="environment")
        self.assertIn(name, refusal)
        self.assertNotIn("secret", refusal)
        self.assertEqual(2, self.proxy.count("*"))
        os.environ["no_proxy"] = "127.0.0.1"
        await self.head(proxy="environment")

    @running
    async def test_credentials(self) -> None:
        """The proxy gets its user name and password, and says so when they are not enough."""

        async def unknown(asked: Asked, forward: Forward) -> Reply:
            return Reply(407, b"", {})

        self.proxy.script("*", unknown)
        way = evolve(self.way, credentials=Credentials("a b", "c:d/@"))
        self.assertIn("the proxy requires credentials, or rejects", await self.refused(proxy=way))
        (asked,) = self.proxy.matching("*")
        self.assertEqual("Basic YSBiOmM6ZC9A", asked.headers["proxy-authorization"])

    @running
    async def test_tunnel(self) -> None:
        """To a server with https there is a tunnel; a proxy that refuses it, or is away, is to blame."""
        tunnels = ConnectProxy(reactor, script=refusing(403))
        tunnels.up()
        way = ProxySettings("127.0.0.1", tunnels.port)
        for status, reason in ((403, "refuses to connect (403)"), (407, "requires credentials")):
            tunnels.script = refusing(status)
            refusal = await self.refused(endpoint="https://s3.example", proxy=way)
            self.assertIn(
                f"through the proxy 127.0.0.1:{tunnels.port}: the proxy {reason}", refusal
            )
        self.assertEqual({"s3.example:443"}, set(tunnels.targets))
        await tunnels.down()
        refusal = await self.refused(endpoint="https://s3.example", proxy=way)
        self.assertIn(f"127.0.0.1:{tunnels.port}: the proxy cannot be reached", refusal)
