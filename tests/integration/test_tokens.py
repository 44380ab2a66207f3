"""Tokens that run out, and token servers that make trouble, seen by a client of the mirror."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Reply, in_turn
from tests.support.fake_tokens import FakeTokens
from tests.support.patterns import pattern

SIZE = 700_000
APP = "library/app"


class TokenFaults(MirrorTestCase):
    """A registry that wants a token, and a token server beside it."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.another()
        self.tokens = FakeTokens(self.server)
        self.tokens.protect(self.registry)
        self.data = pattern(SIZE)
        self.manifest, blobs = self.registry.add_image(APP, "1", self.data)
        self.path = f"/v2/{APP}/blobs/{blobs[1]}"
        self.tag = f"/v2/{APP}/manifests/1"

    @running
    async def test_expires_in_the_middle(self) -> None:
        """A token that is turned down when a broken body goes on is replaced, and it goes on."""
        await self.start()
        gate: Deferred[None] = Deferred()
        first = Reply(body=self.data, cut=300_000, hold=gate, hold_at=100_000)
        self.registry.script("/blobs/", in_turn(first))
        pulling = await self.client.begin(self.path)
        await until(lambda: len(pulling.body) == 100_000)
        self.tokens.expire()
        gate.callback(None)
        await pulling.done
        self.assertEqual((200, True), (pulling.status, pulling.complete))
        self.assertTrue(pulling.body == self.data, "the bytes differ")
        self.assertEqual(["token-1", "token-2"], self.tokens.given)
        # Asked without a token, with it, for the rest with it, and with the next.
        asked = self.registry.matching("/blobs/")
        self.assertEqual(
            [None, "Bearer token-1", "Bearer token-1", "Bearer token-2"],
            [a.authorization for a in asked],
        )
        self.assertEqual([300_000] * 2, [a.first for a in asked[2:]])

    @running
    async def test_runs_out(self) -> None:
        """A token is not shown any more when its time is over, nor renewed before."""
        self.tokens.expires_in = 100
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get(self.tag)
        self.time.forward(50)
        await self.client.get(self.tag)
        self.assertEqual(1, len(self.tokens.given))
        self.time.forward(60)
        self.assertEqual(200, (await self.client.get(self.tag)).status)
        self.assertEqual("Bearer token-2", self.registry.asked[-1].authorization)
        self.assertNotIn("Bearer token-1", [a.authorization for a in self.registry.asked[-2:]])

    @running
    async def test_slow(self) -> None:
        """A slow token server is waited for, and by many at once asked once."""
        self.server.script("^/token$", self.slowed)
        await self.start()
        waiting = [await self.client.begin(self.tag), await self.client.begin(self.path)]
        await until(lambda: len(self.server.asked) == 1 and len(self.registry.asked) == 2)
        self.time.forward(5)
        for response in waiting:
            await response.done
            self.assertEqual((200, True), (response.status, response.complete))
        self.assertEqual(1, len(self.tokens.given))

    def slowed(self, asked: object) -> Reply:
        reply = self.tokens.honest(asked)
        reply.delay = 5.0
        return reply

    @running
    async def test_troubles(self) -> None:
        """A token server that is down or talks garbage is an error that lets clients go on."""
        for trouble in (Reply(500), Reply(body=b"garbage"), Reply(body=b"{}", cut=0), Reply(429)):
            await self.afresh()
            self.server.script("^/token$", trouble)
            await self.start(self.upstream("docker.io", retries=0))
            self.assertIn((await self.client.get(self.tag)).status, (502, 503, 504))
        await self.afresh()
        await self.server.stop()
        await self.start(self.upstream("docker.io", retries=0))
        self.assertIn((await self.client.get(self.tag)).status, (502, 503, 504))
        self.server.start(self.time)
        self.server.script("^/token$", self.tokens.honest)
        self.time.forward(3600)
        self.assertEqual(200, (await self.client.get(self.tag)).status)

    @running
    async def test_known_tag(self) -> None:
        """While there are no tokens a known tag is served stale."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get(self.tag)
        self.tokens.expire()
        await self.server.stop()
        got = await self.client.get(self.tag)
        self.assertEqual(200, got.status)
        self.assertTrue(got.headers["warning"].startswith("299 "))

    @running
    async def test_other_domain(self) -> None:
        """A token server in another domain gets no credentials, and the pull is denied."""
        self.tokens.realm_host = self.server.host.replace("127.0.0.1", "localhost")
        await self.start(self.upstream("docker.io", credentials=Credentials("pat", "pass")))
        self.assertEqual(403, (await self.client.get(self.tag)).status)
        self.assertEqual([], self.server.asked)
