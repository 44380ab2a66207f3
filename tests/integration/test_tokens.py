"""Tokens that run out, and token servers that make trouble, seen by a client of the mirror."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Asked, Reply, in_turn
from tests.support.fake_tokens import FakeTokens
from tests.support.patterns import pattern

SIZE = 700_000
APP = "library/app"
PAT = Credentials("pat", "pass")
BASIC = "Basic " + base64.b64encode(b"pat:pass").decode()


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
        """A token that is turned down when a broken body continues is replaced, and it continues."""
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
        """A token server that is down or talks garbage is an error that lets clients continue."""
        for trouble in (Reply(500), Reply(body=b"garbage"), Reply(body=b"{}", cut=0), Reply(429)):
            await self.afresh()
            self.server.script("^/token$", trouble)
            await self.start(self.upstream("docker.io", retries=0))
            got = await self.time.hurry(self.client.get(self.tag))
            self.assertIn(got.status, (502, 503, 504))
        await self.afresh()
        await self.server.stop()
        await self.start(self.upstream("docker.io", retries=0))
        got = await self.time.hurry(self.client.get(self.tag))
        self.assertIn(got.status, (502, 503, 504))
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
        await self.start(self.upstream("docker.io", credentials=PAT))
        got = await self.client.get(self.tag)
        self.assertEqual(403, got.status)
        self.assertIn(b"token_servers", got.body)
        self.assertEqual([], self.server.asked)

    @running
    async def test_allowed_server(self) -> None:
        """One that is named in token_servers gets them."""
        host = self.server.host.replace("127.0.0.1", "localhost")
        self.tokens.realm_host = host
        allowed = self.upstream("docker.io", credentials=PAT, token_servers=(host,))
        await self.start(allowed)
        self.assertEqual(200, (await self.client.get(self.tag)).status)
        self.assertEqual([BASIC], [asked.authorization for asked in self.server.asked])

    @running
    async def test_answers(self) -> None:
        """Tokens come in many ways, also by a redirect or with 201."""
        for reply in (
            Reply(201, b'{"token": "good"}'),
            Reply(body=b'{"access_token": "good", "expires_in": "300"}'),
            Reply(
                body=b'{"token": "", "access_token": "good", "issued_at": "2020-01-01T00:00:00Z"}'
            ),
            Reply(301, headers={"Location": "/token/"}),
            Reply(307, headers={"Location": f"http://{self.registry.host}/token"}),
        ):
            await self.afresh()
            self.tokens.good.add("good")
            for server in (self.server, self.registry):
                server.script("^/token(/|$)", Reply(body=b'{"token": "good"}'))
            self.server.script("^/token$", reply)
            await self.start(self.upstream("docker.io", credentials=PAT))
            self.assertEqual(200, (await self.client.get(self.tag)).status)

    @running
    async def test_challenges(self) -> None:
        """Challenges come in many forms, and whatever they ask for, what is wanted is in it."""
        realm = f"http://{self.server.host}/token"
        mine = f"repository:{APP}:pull"
        for line, scopes in (
            (f'Bearer realm="{realm}?",service="s"', [mine]),
            (f'Bearer realm="{realm}?account=x",scope="{mine}"', [mine]),
            (f'bearer realm="{realm}" , service="s" , scope="{mine},push"', [f"{mine},push"]),
            (f"Bearer realm={realm},scope={mine}", [mine]),
            (f'Bearer service="s", Basic realm="x", Bearer realm="{realm}"', [mine]),
            (
                f'Bearer realm="{realm}",scope="repository:base/os:pull {mine}"',
                [mine, "repository:base/os:pull"],
            ),
        ):
            await self.afresh()
            self.server.script("^/token$", self.tokens.honest)
            self.challenge(line)
            await self.start()
            self.assertEqual(200, (await self.client.get(self.tag)).status, line)
            (asked,) = self.server.asked
            self.assertEqual(scopes, parse_qs(asked.query)["scope"])

    def challenge(self, line: str) -> None:
        """Let the registry challenge requests without a good token with this."""

        def guard(asked: Asked) -> Reply | None:
            refused = self.tokens.challenge(asked)
            return refused and Reply(401, headers={"WWW-Authenticate": line})

        self.registry.guard = guard

    @running
    async def test_refused_otherwise(self) -> None:
        """A token that is refused with something else than its challenge is not sent again."""
        elsewhere = f'Bearer realm="http://{self.server.host}/elsewhere",service="other"'
        for refusal in (
            Reply(401),
            Reply(403, b"expired"),
            Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
            Reply(401, headers={"WWW-Authenticate": elsewhere}),
        ):
            await self.afresh()
            self.tokens.given.clear()
            self.server.script("^/token$", self.tokens.honest)

            def guard(asked: Asked, refusal: Reply = refusal) -> Reply | None:
                refused = self.tokens.challenge(asked)
                return refusal if refused and asked.authorization else refused

            self.registry.guard = guard
            await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
            self.assertEqual(200, (await self.client.get(self.tag)).status)
            self.tokens.expire()
            self.registry.asked.clear()
            got = await self.client.get(self.tag)
            self.assertEqual((200, None), (got.status, got.headers.get("warning")))
            self.assertEqual(
                ["Bearer token-1", None, "Bearer token-2"],
                [asked.authorization for asked in self.registry.asked],
            )

    @running
    async def test_limited_for_one_repository(self) -> None:
        """A token server that limits is not asked for the same token until the time is over."""
        self.registry.add_image("library/other", "1", b"other")
        limited = Reply(429, headers={"Retry-After": "600"})
        self.server.script("^/token$", in_turn(limited))
        await self.start(self.upstream("docker.io", remember_denied=0))
        self.assertEqual(503, (await self.client.get(self.tag)).status)
        other = await self.client.get("/v2/library/other/manifests/1")
        self.assertEqual((200, 2), (other.status, len(self.server.asked)))
        self.time.forward(300)
        self.assertEqual(503, (await self.client.get(self.tag)).status)
        self.assertEqual(2, len(self.server.asked))
        self.time.forward(301)
        self.assertEqual(200, (await self.client.get(self.tag)).status)


class ChallengedElsewhere(MirrorTestCase):
    """A registry that asks for credentials at /v2/, and hides what is private from strangers."""

    @running
    async def test_private(self) -> None:
        """Configured credentials are shown there, whatever a stranger is told."""
        server = self.another()
        tokens = FakeTokens(server)
        realm = f'Bearer realm="http://{server.host}/token",service="s"'
        page = Reply(body=b"<html>log in</html>", headers={"Content-Type": "text/html"})
        _, (_, layer) = self.registry.add_image(APP, "1", b"layer")
        for challenge in (realm, 'Basic realm="x"'):
            for told in (
                Reply(401),
                Reply(403),
                Reply(404),
                page,
                Reply(302, headers={"Location": "/login"}),
            ):
                await self.afresh()
                server.script("^/token$", tokens.honest)

                def guard(
                    asked: Asked, challenge: str = challenge, told: Reply = told
                ) -> Reply | None:
                    shown = asked.authorization
                    if shown == BASIC or (shown or "").removeprefix("Bearer ") in tokens.good:
                        return None
                    if asked.path == "/login":
                        return page
                    at_check = Reply(401, headers={"WWW-Authenticate": challenge})
                    return at_check if asked.path == "/v2/" else told

                self.registry.guard = guard
                await self.start(self.upstream("docker.io", credentials=PAT))
                for path in ("manifests/1", f"blobs/{layer}"):
                    got = await self.client.get(f"/v2/{APP}/{path}")
                    self.assertEqual(200, got.status, (challenge, told))
                self.assertEqual(1, self.registry.count("^/v2/$"))
                self.assertEqual(
                    1, sum(a.authorization is None for a in self.registry.matching(APP))
                )

    @running
    async def test_missing(self) -> None:
        """What is missing in a registry that asks nobody for anything is missing."""
        await self.start(self.upstream("docker.io", credentials=PAT))
        for tag in ("1", "2"):
            self.assertEqual(404, (await self.client.get(f"/v2/{APP}/manifests/{tag}")).status)
        self.assertEqual(1, self.registry.count("^/v2/$"))
        self.assertEqual({None}, {asked.authorization for asked in self.registry.asked})
