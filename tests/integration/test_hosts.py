"""An upstream with two hosts: what the first cannot do, the second does."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.config.settings import UpstreamSettings
from oci_registry.spec.digest import Digest
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Asked, Reply
from tests.support.patterns import pattern
from tests.support.streams import LIMITS

SIZE = 700_000
APP = "library/app"
RESPONSE_TIMEOUT = 20.0


class TwoHosts(MirrorTestCase):
    """docker.io at two hosts, which have the same images."""

    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.registry, self.another()
        self.data = pattern(SIZE)
        self.digest = self.add(self.data)
        self.path = f"/v2/{APP}/blobs/{self.digest}"
        for tag in "abcdefgh":
            for host in (self.first, self.second):
                host.add_image(APP, tag)

    def add(self, data: bytes) -> Digest:
        """Put a blob on both hosts."""
        self.first.add_blob(data)
        return self.second.add_blob(data)

    def settings(self, **settings: Any) -> UpstreamSettings:
        return self.upstream("docker.io", hosts=(self.first.host, self.second.host), **settings)

    def whole(self, got: Response, data: bytes | None = None) -> None:
        data = self.data if data is None else data
        self.assertEqual((200, len(data), True), (got.status, got.length, got.complete))
        self.assertTrue(got.body == data, "the bytes differ")

    async def tag(self, tag: str) -> Response:
        return await self.client.get(f"/v2/{APP}/manifests/{tag}")


class Preferred(TwoHosts):
    """Which host is asked."""

    @running
    async def test_first(self) -> None:
        """While the first host is well the second is not asked at all."""
        await self.start(self.settings())
        self.whole(await self.client.get(self.path))
        self.assertEqual(200, (await self.tag("a")).status)
        self.assertEqual(0, self.second.connections)

    @running
    async def test_missing_on_the_first(self) -> None:
        """What the first host does not have may be on the second."""
        data = b"only there" * 1000
        digest = self.second.add_blob(data)
        self.second.add_image(APP, "there")
        await self.start(self.settings())
        self.whole(await self.client.get(f"/v2/{APP}/blobs/{digest}"), data)
        self.assertEqual(200, (await self.tag("there")).status)
        self.assertEqual(1, self.first.count(f"{digest}"))
        # To lack something is no trouble: the first is still asked first.
        self.assertEqual(200, (await self.tag("a")).status)
        self.assertEqual(0, self.second.count("/a$"))

    @running
    async def test_missing_on_both(self) -> None:
        """What neither has does not exist."""
        await self.start(self.settings())
        got = await self.tag("nowhere")
        self.assertEqual(404, got.status)
        got = await self.client.get(f"/v2/{APP}/blobs/{Digest.of(b'nowhere')}")
        self.assertEqual(404, got.status)
        for host in (self.first, self.second):
            self.assertEqual(2, len(host.asked))

    @running
    async def test_missing_on_one_and_the_other_fails(self) -> None:
        """A host that cannot say may have what the other has not: that is no 404."""
        self.second.script("", Reply(500))
        await self.start(self.settings(retries=0))
        self.assertEqual(502, (await self.time.hurry(self.tag("nowhere"))).status)


class Dead(TwoHosts):
    """A host that fails is not asked for a while."""

    async def served_without(self, *tags: str) -> None:
        """Tags are served, and the first host is not asked for any of them."""
        asked, connections = len(self.first.asked), self.first.connections
        for tag in tags:
            self.assertEqual(200, (await self.tag(tag)).status)
        self.assertEqual((asked, connections), (len(self.first.asked), self.first.connections))

    async def first_falls_silent(self) -> Response:
        """Start, and return the client whose question has cost the first host's timeout."""
        for method in ("GET", "HEAD"):
            self.first.script("", Reply(silent=True), method)
        await self.start(self.settings())
        waiting = await self.client.begin(f"/v2/{APP}/manifests/a")
        await until(lambda: len(self.first.asked) == 1)
        self.time.forward(RESPONSE_TIMEOUT)
        await waiting.done
        return waiting

    @running
    async def test_silent(self) -> None:
        """A host that accepts and never answers costs one timeout, not one per request."""
        waiting = await self.first_falls_silent()
        self.assertEqual(200, waiting.status)
        await self.served_without("b", "c", "d")
        self.assertEqual(1, len(self.first.asked))

    @running
    async def test_refusing(self) -> None:
        """A host that refuses connections does not make a pull wait for it."""
        await self.first.stop()
        await self.start(self.settings())
        self.whole(await self.client.get(self.path))
        for tag in "abc":
            self.assertEqual(200, (await self.tag(tag)).status)

    @running
    async def test_statuses(self) -> None:
        """A host that answers with trouble is passed over, for this and for others."""
        for status in (500, 502, 503, 504, 429):
            await self.afresh()
            self.first.script("", Reply(status))
            await self.start(self.settings())
            self.whole(await self.client.get(self.path))
            self.assertEqual(200, (await self.tag("a")).status)
            # However many it takes to say that it is ill, it is not asked each time.
            before = len(self.first.asked)
            for tag in "bcdefgh":
                self.assertEqual(200, (await self.tag(tag)).status)
            self.assertLess(len(self.first.asked) - before, 7, status)

    @running
    async def test_recovers(self) -> None:
        """After a while one request tries the host again, and when it is well it is preferred again."""
        await self.first.stop()
        await self.start(self.settings())
        for tag in "abc":
            await self.tag(tag)
        self.first.start(self.time)
        self.time.forward(3600)
        await self.tag("d")
        await self.tag("e")
        self.assertEqual(1, self.first.count("/e$"))
        self.assertEqual(0, self.second.count("/e$"))

    @running
    async def test_tried_again_by_one(self) -> None:
        """Of many who come when its time is over one alone tries the host; the others do not wait."""
        await self.first_falls_silent()
        self.time.forward(3600)
        many = [await self.client.begin(f"/v2/{APP}/manifests/{tag}") for tag in "bcdefg"]
        await until(lambda: sum(client.complete for client in many) >= 5)
        self.assertEqual(2, len(self.first.asked))
        self.time.forward(RESPONSE_TIMEOUT)
        for client in many:
            await client.done
            self.assertEqual(200, client.status)


class MidBody(TwoHosts):
    """A body that begins at the first host."""

    @running
    async def test_moves(self) -> None:
        """A host that dies in the middle of a body is followed by the next, from the same byte."""
        gate: Deferred[None] = Deferred()
        self.first.script("/blobs/", Reply(body=self.data, hold=gate, hold_at=300_000))
        await self.start(self.settings())
        pulling = await self.client.begin(self.path)
        await until(lambda: len(pulling.body) == 300_000)
        await self.first.stop()
        self.whole(await pulling.done)
        (rest,) = self.second.matching("/blobs/")
        self.assertEqual(300_000, rest.first)
        self.assertEqual(1, self.first.count("/blobs/"))

    @running
    async def test_moves_when_it_stalls(self) -> None:
        """A host whose body stalls is followed by the next, from the same byte."""
        self.first.script("/blobs/", Reply(body=self.data, stall=300_000))
        await self.start(self.settings())
        pulling = await self.client.begin(self.path)
        await until(lambda: len(pulling.body) == 300_000)
        self.time.forward(60)
        self.whole(await pulling.done)
        (rest,) = self.second.matching("/blobs/")
        self.assertEqual(300_000, rest.first)
        self.assertEqual(1, self.first.count("/blobs/"))

    @running
    async def test_validator_of_another_host(self) -> None:
        """A validator is not shown to a host that did not give it."""
        gate: Deferred[None] = Deferred()
        reply = Reply(body=self.data, headers={"ETag": '"mine"'}, hold=gate, hold_at=300_000)
        self.first.script("/blobs/", reply)
        await self.start(self.settings())
        pulling = await self.client.begin(self.path)
        await until(lambda: len(pulling.body) == 300_000)
        await self.first.stop()
        self.whole(await pulling.done)
        self.assertNotIn("if-range", self.second.asked[-1].headers)


class WrongBytes(TwoHosts):
    """A host that sends other bytes than the digest's."""

    def wrong_at(self, host: FakeRegistry, offset: int) -> None:
        wrong = self.data[:offset] + b"\xff" + self.data[offset + 1 :]

        def answer(asked: Asked) -> Reply | None:
            return Reply(body=wrong) if str(self.digest) in asked.path else None

        host.script("/blobs/", answer)

    @running
    async def test_in_the_tail(self) -> None:
        """Clients that lack but the held-back tail get it from the next host, and succeed."""
        self.wrong_at(self.first, SIZE - LIMITS.tail // 2)
        await self.start(self.settings())
        clients = [await self.client.begin(self.path) for _ in range(3)]
        for client in clients:
            self.whole(await client.done)
        self.assertEqual(1, self.first.count("/blobs/"))
        self.assertEqual(1, self.second.count("/blobs/"))
        await self.kept()

    async def kept(self) -> None:
        """What is kept afterwards is right, and asks nobody."""
        asked = self.first.count("/blobs/"), self.second.count("/blobs/")
        self.whole(await self.client.get(self.path))
        self.assertEqual(asked, (self.first.count("/blobs/"), self.second.count("/blobs/")))

    @running
    async def test_earlier(self) -> None:
        """A client with wrong bytes is cut short; later clients get the right ones from another host."""
        for offset in (0, SIZE // 2):
            data = self.data = pattern(SIZE)[offset:] + pattern(SIZE)[:offset] + b"%d" % offset
            self.digest = self.add(data)
            path = f"/v2/{APP}/blobs/{self.digest}"
            await self.afresh()
            gate: Deferred[None] = Deferred()
            wrong = data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]
            held = Reply(body=wrong, hold=gate, hold_at=len(wrong) - 1)
            self.first.script("/blobs/", held)
            await self.start(self.settings())
            got = await self.client.begin(path)
            await until(lambda: len(got.body) > offset)  # noqa: B023
            gate.callback(None)
            await got.done
            self.assertEqual((200, False, "closed"), (got.status, got.complete, got.ended))
            again = await self.client.get(path)
            self.assertTrue(again.complete, "the second pull fails too")
            self.assertTrue(again.body == data, "the bytes differ")
            self.assertEqual(1, self.first.count("/blobs/"), offset)

    @running
    async def test_small(self) -> None:
        """A blob that is held back as a whole is right for its first client already."""
        data = b"small" * 100
        digest = self.add(data)
        self.first.script("/blobs/", Reply(body=b"smell" * 100))
        await self.start(self.settings())
        self.whole(await self.client.get(f"/v2/{APP}/blobs/{digest}"), data)

    @running
    async def test_others_are_not_concerned(self) -> None:
        """Other blobs are still asked of that host first."""
        self.wrong_at(self.first, SIZE - 1)
        await self.start(self.settings())
        self.whole(await self.client.get(self.path))
        data = pattern(200_000)
        digest = self.add(data)
        self.whole(await self.client.get(f"/v2/{APP}/blobs/{digest}"), data)
        self.assertEqual(1, self.first.count(str(digest)))
        self.assertEqual(0, self.second.count(str(digest)))

    @running
    async def test_on_both(self) -> None:
        """When every host sends wrong bytes the pull fails, and nothing is kept."""
        for host in (self.first, self.second):
            self.wrong_at(host, SIZE - 1)
        await self.start(self.settings())
        got = await self.client.get(self.path)
        self.assertEqual((False, "closed"), (got.complete, got.ended))
        await until(lambda: not self.files())
