"""Client certificates: an upstream that wants to see ours does, and nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.errors import BadGateway, Denied
from oci_registry.spec.reference import Tag
from tests.support.certificates import Certified
from tests.support.daemon import reactor, running
from tests.support.fake_registry import Asked, FakeRegistry, Reply
from tests.support.upstream_client import ClientTestCase, read

LATEST = Tag("latest")
APP = "library/app"
OURS = "127.0.0.1"


class ClientCertificates(ClientTestCase):
    """An upstream that turns away who shows no certificate, and a store that asks for one."""

    def setUp(self) -> None:
        super().setUp()
        authority = Certified("authority")
        between = Certified("between", issuer=authority)
        mirror = Certified("mirror", issuer=between)
        self.files = Path(self.mktemp())
        self.files.mkdir()
        (self.files / "mirror.pem").write_bytes(mirror.certificate + between.certificate)
        (self.files / "mirror.key").write_bytes(mirror.key)
        server = Certified(OURS)
        (self.files / "server.pem").write_bytes(server.certificate)
        self.upstream, self.store = FakeRegistry(), FakeRegistry()
        self.upstream.start(reactor, server.server(clients=authority))
        self.store.start(reactor, server.server(clients=authority, demanding=False))
        for registry in (self.upstream, self.store):
            self.addCleanup(lambda one=registry: Deferred.fromCoroutine(one.stop()))
        self.upstream.add_image(APP, "latest")

    def client(self, **options: Any) -> Any:
        options.setdefault("ca_file", str(self.files / "server.pem"))
        return self.connect(host=self.upstream.host, tls=True, **options)

    def known(self, **options: Any) -> Any:
        """Return a client that has a certificate."""
        return self.client(
            client_cert_file=str(self.files / "mirror.pem"),
            client_key_file=str(self.files / "mirror.key"),
            **options,
        )

    def shown(self, registry: FakeRegistry) -> list[str]:
        """Return who the clients that are connected have said they are."""
        peers = [channel.transport.getPeerCertificate() for channel in registry.channels]
        return [p and p.to_cryptography().subject.rfc4514_string() for p in peers]

    @running
    async def test_demanded(self) -> None:
        """It is shown with the chain up to an authority that the upstream trusts, whichever we trust."""
        for options in ({}, {"accept_invalid_certs": True, "ca_file": None}):
            await self.known(**options).manifest(APP, LATEST)
            self.assertEqual({"CN=mirror"}, set(self.shown(self.upstream)))

    @running
    async def test_without(self) -> None:
        """Without one the upstream turns us away, which is said."""
        message = await self.error(
            self.client().manifest(APP, LATEST), BadGateway, self.upstream.host
        )
        self.assertIn("certificate required", message)
        self.assertEqual([], self.upstream.asked)

    @running
    async def test_not_where_it_redirects(self) -> None:
        """A store that a blob's URL leads to is not shown it, even on the same machine."""
        data = b"blob" * 1000
        digest = self.upstream.add_blob(data)
        location = {"Location": f"https://{self.store.host}/there"}
        self.upstream.script("/blobs/", Reply(307, headers=location))
        self.store.script("/there", Reply(body=data))
        for options in ({}, {"accept_invalid_certs": True, "ca_file": None}):
            client = self.known(**options)
            self.assertEqual(data, await read(await client.blob(APP, digest)))
            self.assertEqual({None}, set(self.shown(self.store)))

    @running
    async def test_not_to_a_token_server(self) -> None:
        """A token server that is not the upstream itself is not shown the certificate."""

        def refuse(asked: Asked) -> Reply:
            realm = f'Bearer realm="https://{self.store.host}/token"'
            return Reply(401, headers={"WWW-Authenticate": realm})

        self.upstream.script("/manifests/", refuse)
        self.store.script("/token", Reply(body=b'{"token": "t"}'))
        await self.error(self.known().manifest(APP, LATEST), Denied, self.upstream.host)
        self.assertEqual(1, self.store.count("/token"))
        self.assertEqual([None], self.shown(self.store))
