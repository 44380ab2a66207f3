"""Upstreams over TLS: which the mirror trusts, what it says of others, and what they learn of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import TLSVersion

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.reference import Tag
from tests.support.certificates import Certified, Changing
from tests.support.daemon import MirrorTestCase, reactor, running
from tests.support.fake_registry import FakeRegistry, Reply
from tests.support.settings import upstream_settings
from tests.support.upstream_client import ClientTestCase, Talk

LATEST = Tag("latest")
APP = "library/app"
OURS = "127.0.0.1"
CLOCK = "(or the clock of this machine is wrong)"
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()


class _Listening(Protocol):
    """Answers one request with a manifest."""

    def dataReceived(self, data: bytes) -> None:
        self.factory.heard += data
        if self.factory.heard.endswith(b"\r\n\r\n"):
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\nConnection: close\r\n"
            self.transport.write(f"{head}Content-Length: {len(MANIFEST)}\r\n\r\n".encode())
            self.transport.write(MANIFEST)
            self.transport.loseConnection()


class Listener(Factory):
    """Keeps every byte that it hears, once it is decrypted, and answers with a manifest."""

    protocol = _Listening
    noisy = False

    def __init__(self, certified: Certified) -> None:
        self.shown = Changing(certified)
        self.heard = b""
        self._port = reactor.listenSSL(0, self, self.shown, interface=OURS)
        self.host = f"{OURS}:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Listen no more."""
        await self._port.stopListening()


class Files:
    """Certificates in files of a test."""

    def file(self: Any, *certified: Certified) -> str:
        path = Path(self.mktemp())
        path.write_bytes(b"".join(one.certificate for one in certified))
        return str(path)


class WrongCertificates(ClientTestCase, Files):
    """Servers with certificates that are not trusted."""

    def setUp(self) -> None:
        super().setUp()
        self.good = Certified(OURS)
        self.listener = Listener(self.good)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.listener.stop()))

    async def row(self, shown: Certified, trusted: Certified | None, words: str) -> None:
        """A certificate is refused in *words*; the same client accepts the right one later."""
        roots = [self.good] if trusted is None else [trusted, self.good]
        self.listener.shown.certified, self.listener.heard = shown, b""
        ca_file = self.file(*roots)
        words = words.format(name=Path(ca_file).name)
        client = self.connect(host=self.listener.host, tls=True, ca_file=ca_file)
        for _ in range(2):
            message = await self.error(client.manifest(APP, LATEST), BadGateway, self.listener.host)
            self.assertEqual(f"upstream {self.listener.host}: TLS: {words}", message)
        self.assertEqual(b"", self.listener.heard)
        self.listener.shown.certified = self.good
        manifest = await client.manifest(APP, LATEST)
        self.assertEqual(Digest.of(MANIFEST), manifest.digest)

    @running
    async def test_expired(self) -> None:
        """A certificate whose time is over is refused, until it is renewed."""
        authority = Certified("authority")
        expired = Certified(OURS, days=-1, issuer=authority)
        await self.row(
            expired,
            authority,
            "the certificate has expired (or the clock of this machine is wrong)",
        )

    @running
    async def test_early(self) -> None:
        """A certificate whose time has not begun is refused."""
        authority = Certified("authority")
        early = Certified(OURS, days=99, issuer=authority)
        await self.row(
            early,
            authority,
            "the certificate is not valid yet (or the clock of this machine is wrong)",
        )

    @running
    async def test_other_name(self) -> None:
        """A certificate for another host is refused."""
        other = Certified("registry.example.com")
        words = (
            "hostname mismatch: the certificate is for 'registry.example.com', not for 127.0.0.1"
        )
        await self.row(other, other, words)

    @running
    async def test_self_signed(self) -> None:
        """A self-signed certificate is refused."""
        stranger = Certified("stranger", names=(OURS,))
        words = "self-signed certificate (ca_file {name} does not contain it)"
        await self.row(stranger, None, words)

    @running
    async def test_unknown_authority(self) -> None:
        """A certificate from an authority other than those that are configured is refused."""
        leaf = Certified("registry.example.com", names=(OURS,), issuer=Certified("unknown"))
        words = "unknown certificate authority (ca_file {name} does not contain it)"
        await self.row(leaf, Certified("known"), words)

    @running
    async def test_system_authorities(self) -> None:
        """Without a file of our own, the authorities of the system are trusted, and only those."""
        client = self.connect(host=self.listener.host, tls=True)
        await self.error(client.manifest(APP, LATEST), BadGateway, self.listener.host)
        self.assertEqual(b"", self.listener.heard)

    @running
    async def test_accepted(self) -> None:
        """With accept_invalid_certs each of them is accepted."""
        client = self.connect(host=self.listener.host, tls=True, accept_invalid_certs=True)
        for shown in (Certified(OURS, days=-1), Certified("registry.example.com"), self.good):
            self.listener.shown.certified = shown
            await client.manifest(APP, LATEST)


class Handshakes(ClientTestCase, Files):
    """Servers that turn us away before anything is asked."""

    async def refused(self, certified: Certified, words: str, **options: Any) -> None:
        """A server with these options refuses the handshake, which is said in *words*."""
        port = reactor.listenSSL(
            0, Factory.forProtocol(_Listening), certified.server(**options), interface=OURS
        )
        port.factory.heard = b""
        self.addCleanup(port.stopListening)
        host = f"{OURS}:{port.getHost().port}"
        client = self.connect(host=host, tls=True, ca_file=self.file(certified))
        message = await self.error(client.manifest(APP, LATEST), BadGateway, host)
        self.assertEqual(f"upstream {host}: TLS: {words}", message)

    @running
    async def test_client_certificate(self) -> None:
        """A server that requires a certificate of ours says so, in TLS 1.3 and in TLS 1.2."""
        server, clients = Certified(OURS), Certified("clients")
        await self.refused(server, "certificate required: set client_cert_file", clients=clients)
        await self.refused(
            server,
            "handshake failure: the server may require a client certificate (set "
            "client_cert_file), or has no cipher in common",
            clients=clients,
            lower=TLSVersion.TLSv1_2,
        )

    @running
    async def test_old_server(self) -> None:
        """A server that speaks only old versions of TLS is refused, with the reason."""
        await self.refused(
            Certified(OURS),
            "protocol version: no TLS version in common: the server is too old or too new",
            lower=TLSVersion.TLSv1_1,
        )


class Schemes(ClientTestCase, Files):
    """https where there is none, and the way from one to the other."""

    def setUp(self) -> None:
        super().setUp()
        self.secure = FakeRegistry()
        self.secure.start(reactor, Certified(OURS).server())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.secure.stop()))

    @running
    async def test_plain_http_instead(self) -> None:
        """A registry that speaks plain http where TLS was expected is a 502, and vice versa."""
        plain = Talk(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        client = self.connect(host=plain.host, tls=True)
        message = await self.error(client.manifest(APP, LATEST), BadGateway, plain.host)
        self.assertEqual(
            f"upstream {plain.host}: TLS: wrong version number: is it plain HTTP? (set tls: false)",
            message,
        )
        await plain.stop()
        client = self.connect(host=self.secure.host)
        message = await self.error(client.manifest(APP, LATEST), BadGateway, self.secure.host)
        self.assertTrue(message.endswith(": does it expect TLS? (remove tls: false)"), message)

    @running
    async def test_tls_instead_of_plain_http(self) -> None:
        """What servers with TLS do to plain HTTP is recognised, whichever they are."""
        go = b"Client sent an HTTP request to an HTTPS server.\n"
        for said, did in (
            (b"HTTP/1.0 400 Bad Request\r\n\r\n" + go, "answered 400"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "answered with a TLS alert"),
            (b"", "closed the connection without an answer"),
        ):
            server = Talk(said)
            client = self.connect(host=server.host)
            message = await self.error(client.manifest(APP, LATEST), BadGateway, server.host)
            self.assertEqual(
                f"upstream {server.host} {did}: does it expect TLS? (remove tls: false)", message
            )
            await server.stop()

    @running
    async def test_not_from_https_to_http(self) -> None:
        """A redirect from https to http is not followed."""
        location = {"Location": f"http://{self.registry.host}/x"}
        self.secure.script("/blobs/", Reply(307, headers=location))
        client = self.connect(host=self.secure.host, tls=True, accept_invalid_certs=True)
        await self.error(client.blob(APP, Digest.of(b"x")), BadGateway, self.secure.host)
        self.assertEqual([], self.registry.asked)


class Pulling(MirrorTestCase, Files):
    """What a client of the mirror sees."""

    @running
    async def test_renewed(self) -> None:
        """A client learns what is wrong, and is served by the same daemon once that is fixed."""
        authority, secure = Certified("authority"), FakeRegistry()
        shown = Changing(Certified(OURS, days=-1, issuer=authority))
        secure.start(reactor, shown)
        self.addCleanup(lambda: Deferred.fromCoroutine(secure.stop()))
        secure.add_image(APP, "latest")
        await self.start(
            upstream_settings("docker.io", host=secure.host, ca_file=self.file(authority))
        )
        path = f"/v2/{APP}/manifests/latest"
        response = await self.client.get(path)
        error = json.loads(response.body)["errors"][0]
        self.assertEqual((502, "UNAVAILABLE"), (response.status, error["code"]))
        self.assertIn("the certificate has expired", error["message"])
        self.assertEqual([], secure.asked)
        shown.certified = Certified(OURS, issuer=authority)
        self.assertEqual(200, (await self.client.get(path)).status)
