"""Secrets and certificates: what an upstream is sent, and which upstream is trusted."""

from __future__ import annotations

import base64
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from oci_registry.config.settings import Credentials
from oci_registry.spec.errors import BadGateway, Denied, GatewayTimeout, RegistryError
from oci_registry.spec.reference import Tag
from oci_registry.upstream.limits import UpstreamLimits
from tests.support.daemon import reactor, running
from tests.support.fake_registry import Asked, FakeRegistry, Reply
from tests.support.fake_tokens import FakeTokens
from tests.support.forward import ForwardReactor
from tests.support.upstream_client import ClientTestCase, all_of, read

LATEST = Tag("latest")
APP = "library/app"
PAT = Credentials("pat", "s3cret-pass")


class TokenTestCase(ClientTestCase):
    """A registry with a token server, which gives token-1, token-2, ..."""

    def setUp(self) -> None:
        super().setUp()
        self.registry.add_image(APP, "latest")
        self.tokens = FakeTokens(self.registry)
        for method in ("GET", "HEAD"):
            self.registry.script("", self.tokens.challenge, method)


class Tokens(TokenTestCase):
    """The dance with a token server."""

    @running
    async def test_once(self) -> None:
        """One token serves all questions about a repository, each sent once from then on."""
        client = self.connect()
        for _ in range(3):
            await client.manifest(APP, LATEST)
        await client.manifest_digest(APP, LATEST)
        self.assertEqual(1, len(self.tokens.given))
        self.assertEqual(1 + 1 + 4, len(self.registry.asked))

    @running
    async def test_many_at_once(self) -> None:
        """Many cold questions at once wait for one token."""
        client = self.connect()
        manifests = await all_of([client.manifest(APP, LATEST) for _ in range(10)])
        self.assertEqual((10, 1), (len(manifests), len(self.tokens.given)))

    @running
    async def test_refused_token(self) -> None:
        """A token that is turned down is replaced once; a second one is not asked for."""
        client = self.connect()
        await client.manifest(APP, LATEST)
        self.tokens.expire()
        await client.manifest(APP, LATEST)
        self.assertEqual(2, len(self.tokens.given))
        self.tokens.expire()
        self.registry.script(
            "/manifests/", lambda asked: self.tokens.challenge(Asked("", "", "", {}))
        )
        await self.error(client.manifest(APP, LATEST), Denied)
        self.assertEqual(3, len(self.tokens.given))

    @running
    async def test_token_server_fails(self) -> None:
        """What is wrong with the token server is said, and the upstream named."""
        client = self.connect(credentials=PAT)
        for reply, kind in (
            (Reply(401), Denied),
            (Reply(500), BadGateway),
            (Reply(body=b"garbage"), BadGateway),
            (Reply(body=bytes(1 << 20), chunked=True), BadGateway),
            (Reply(body=b"{}", cut=0), BadGateway),
            (Reply(307, headers={"Location": "http://127.0.0.1:1/"}), BadGateway),
        ):
            self.registry.script("/token", reply)
            self.assertIn("token", await self.error(client.manifest(APP, LATEST), kind))

    @running
    async def test_token_server_never_answers(self) -> None:
        """It is given up in time, and asked again by the next who comes."""
        time = ForwardReactor(reactor)
        client = self.connect(on=time, limits=UpstreamLimits(token=10.0))
        for reply in (Reply(silent=True), Reply(body=b"{" * 100, hold=Deferred(), hold_at=10)):
            self.registry.script("/token", reply)
            message = await time.hurry(self.error(client.manifest(APP, LATEST), GatewayTimeout))
            self.assertIn("token server", message)
        self.registry.script("/token", self.tokens.honest)
        await client.manifest(APP, LATEST)

    @running
    async def test_foreign_realm(self) -> None:
        """Credentials are not sent to a token server of another domain."""
        challenge = 'Bearer realm="http://localhost:1/token",service="fake"'
        self.registry.script("/manifests/", Reply(401, headers={"WWW-Authenticate": challenge}))
        client = self.connect(credentials=PAT)
        self.assertIn("localhost", await self.error(client.manifest(APP, LATEST), Denied))


class Redirected(TokenTestCase):
    """Redirects, which credentials do not follow to another origin."""

    def setUp(self) -> None:
        super().setUp()
        self.cdn = FakeRegistry()
        self.cdn.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.cdn.stop()))
        self.data = b"blob" * 1000
        self.digest = self.registry.add_blob(self.data)

    def redirect(self, location: str) -> None:
        """Send who has a token for a blob to *location*."""

        def answer(asked: Asked) -> Reply:
            return self.tokens.challenge(asked) or Reply(307, headers={"Location": location})

        self.registry.script("/blobs/", answer)
        self.registry.script("/blobs/", answer, "HEAD")

    @running
    async def test_other_port(self) -> None:
        """Another port is another origin: no Authorization arrives, neither by GET nor by HEAD."""
        self.redirect(f"http://{self.cdn.host}/there?signature=1")
        self.cdn.script("/there", Reply(body=self.data))
        self.cdn.script("/there", Reply(body=self.data), "HEAD")
        client = self.connect(credentials=PAT)
        self.assertEqual(self.data, await read(await client.blob(APP, self.digest)))
        self.assertEqual(len(self.data), await client.blob_size(APP, self.digest))
        self.assertEqual(2, len(self.cdn.asked))
        for asked in self.cdn.asked:
            self.assertIsNone(asked.authorization)
            self.assertEqual("signature=1", asked.query)

    @running
    async def test_same_origin(self) -> None:
        """Within the upstream's own origin it does."""
        self.redirect(f"http://{self.registry.host}/v2/{APP}/elsewhere")
        self.registry.script(
            "/elsewhere", lambda a: self.tokens.challenge(a) or Reply(body=self.data)
        )
        client = self.connect()
        self.assertEqual(self.data, await read(await client.blob(APP, self.digest)))

    @running
    async def test_challenged_elsewhere(self) -> None:
        """A challenge from where we were sent gets nothing of ours."""
        self.redirect(f"http://{self.cdn.host}/there")
        for challenge, kind in (
            ('Basic realm="cdn"', BadGateway),
            (f'Bearer realm="http://{self.cdn.host}/token",service="x"', Denied),
        ):
            self.cdn.script("", Reply(401, headers={"WWW-Authenticate": challenge}))
            client = self.connect()
            await self.error(client.blob(APP, self.digest), kind, self.cdn.host)
        self.assertEqual({None}, {asked.authorization for asked in self.cdn.asked})

    @running
    async def test_with_credentials_in_the_address(self) -> None:
        """A user in the address of a redirect is left out."""
        self.redirect(f"http://user:word@{self.cdn.host}/there")
        self.cdn.script("/there", Reply(body=self.data))
        await read(await self.connect().blob(APP, self.digest))
        self.assertIsNone(self.cdn.asked[0].authorization)


class Secrets(TokenTestCase):
    """What nobody may learn."""

    @running
    async def test_not_shown(self) -> None:
        """Passwords and tokens are in no error, log line or repr, whatever goes wrong."""
        events: list[str] = []

        def observe(event: Any) -> None:
            events.append(f"{formatEvent(event)} {event!r}")

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        told: list[str] = []
        client = self.connect(credentials=PAT)
        await client.manifest(APP, LATEST)
        for reply in (
            Reply(500),
            Reply(body=b"x", length="y"),
            Reply(body=b"x", cut=0),
            Reply(403),
        ):
            self.registry.script("/manifests/", reply)
            told += await self.failing(client)
        self.registry.script("/manifests/", self.tokens.challenge)
        for reply in (Reply(500), Reply(401), Reply(body=b"{}"), Reply(body=b"x", length="y")):
            self.tokens.expire()
            self.registry.script("/token", reply)
            told += await self.failing(client)
        told += [repr(client), repr(vars(client)), *events]
        encoded = base64.b64encode(f"{PAT.username}:{PAT.password}".encode()).decode()
        for text in told:
            for secret in (PAT.password, encoded, "token-1"):
                self.assertNotIn(secret, text)

    async def failing(self, client: Any) -> list[str]:
        try:
            await client.manifest(APP, LATEST)
        except RegistryError as error:
            return [error.message, repr(error), str(error), error.as_json().decode()]
        raise AssertionError("it did not fail")
