"""What upstream may answer to who asks for the rest of a body, and what it costs when it is wrong."""

from __future__ import annotations

from itertools import count
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.config.settings import Credentials
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Asked, Reply, Script, in_turn
from tests.support.patterns import pattern
from tests.support.streams import LIMITS

SIZE = 700_000
AT = 300_000


class Rests(MirrorTestCase):
    """A blob whose first answer ends at `AT`, and what comes then."""

    def setUp(self) -> None:
        super().setUp()
        self.data = pattern(SIZE)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    def rest(self, content_range: str | None, body: bytes, **more: Any) -> Reply:
        headers = {"ETag": f'"{self.digest}"'}
        if content_range is not None:
            headers["Content-Range"] = content_range
        return Reply(206, body, headers, **more)

    async def pulled(self, *rests: Reply | Script | None, **settings: Any) -> Response:
        """Pull the blob, whose first answer is cut; *rests* are the answers after it."""
        await self.start(self.upstream("docker.io", **settings))
        gate: Deferred[None] = Deferred()
        etag = {"ETag": f'"{self.digest}"'}
        first = Reply(body=self.data, headers=etag, cut=AT, hold=gate, hold_at=AT // 2)
        self.registry.script("/blobs/", in_turn(first, *rests))
        pulling = await self.client.begin(self.path)
        # So that what comes then can only be seen in the body.
        await pulling.got_headers
        gate.callback(None)
        return await pulling.done

    def whole(self, got: Response, requests: int, case: str = "") -> None:
        """The client has one complete response, and upstream was asked so often."""
        expected = 200, len(self.data), True
        self.assertEqual(expected, (got.status, got.length, got.complete), case)
        self.assertTrue(got.body == self.data, f"the bytes differ: {case}")
        self.assertEqual(requests, self.registry.count("/blobs/"), case)

    async def short(self, got: Response, requests: int) -> None:
        """The client's response ends short and in order, and nothing is kept of it."""
        self.assertEqual((200, False, "closed"), (got.status, got.complete, got.ended))
        self.assertTrue(bytes(got.body) == self.data[: len(got.body)], "the bytes differ")
        self.assertEqual(requests, self.registry.count("/blobs/"))
        await until(lambda: not self.files())

    @running
    async def test_good(self) -> None:
        """The rest is asked for by its first byte, if what is there is still the same."""
        self.whole(await self.pulled(), 2)
        rest = self.registry.asked[-1]
        self.assertEqual(AT, rest.first)
        self.assertEqual(f'"{self.digest}"', rest.headers["if-range"])
        self.assertEqual("identity", rest.headers["accept-encoding"])

    @running
    async def test_wrong_range(self) -> None:
        """A 206 that is not what was asked for is not used, and asked for again."""
        rest = self.data[AT:]
        for wrong in (
            self.rest(f"bytes {AT - 1}-{SIZE - 1}/{SIZE}", self.data[AT - 1 :]),
            self.rest(f"bytes {AT}-{SIZE - 1}/{SIZE + 1}", rest),
            self.rest(f"bytes {AT}-{SIZE}/{SIZE + 1}", rest + b"x"),
            self.rest(f"bytes {AT}-{SIZE - 1}/{SIZE}", rest[:-1]),
            self.rest(f"bytes {AT}-{AT}/{SIZE}", rest),
            self.rest(f"bytes {SIZE}-{AT}/{SIZE}", rest),
            self.rest(f"bytes={AT}-{SIZE - 1}/{SIZE}", rest),
            self.rest("bytes */700000", b""),
            self.rest("", rest),
            self.rest(None, rest),
            Reply(416, headers={"Content-Range": f"bytes */{SIZE}"}),
        ):
            await self.afresh()
            self.whole(await self.pulled(wrong), 3, str(wrong.headers))

    @running
    async def test_earlier_range(self) -> None:
        """A range that begins with the blob's first byte is as good as the whole."""
        rest = self.rest(f"bytes 0-{SIZE - 1}/{SIZE}", self.data)
        self.whole(await self.pulled(rest), 2)

    @running
    async def test_whole_instead(self) -> None:
        """A 200 with everything is read from its start, and what is there already is skipped."""
        whole = Reply(body=self.data, headers={"ETag": f'"{self.digest}"'})
        self.whole(await self.pulled(whole), 2)

    @running
    async def test_whole_instead_that_breaks_too(self) -> None:
        """A 200 that breaks before it comes to anything new is no progress, and tried again."""
        early = Reply(body=self.data, cut=AT // 2)
        self.whole(await self.pulled(early), 3)
        self.assertEqual(AT, self.registry.asked[-1].first)

    @running
    async def test_whole_of_another_length(self) -> None:
        """A 200 with another length is another blob."""
        self.whole(await self.pulled(Reply(body=self.data + b"x")), 3)

    @running
    async def test_unknown_total(self) -> None:
        """A server whose Content-Range does not say the total is trusted for the rest."""
        rest = self.rest(f"bytes {AT}-{SIZE - 1}/*", self.data[AT:])
        self.whole(await self.pulled(rest), 2)

    @running
    async def test_without_validator(self) -> None:
        """Without a strong validator the rest is asked for without a condition."""
        for headers in ({}, {"ETag": f'W/"{self.digest}"'}):
            await self.afresh()
            await self.start()
            first = Reply(body=self.data, headers=headers, cut=AT)
            self.registry.script("/blobs/", in_turn(first))
            self.whole(await self.client.get(self.path), 2)
            rest = self.registry.asked[-1]
            self.assertEqual((AT, None), (rest.first, rest.headers.get("if-range")))

    @running
    async def test_many_breaks(self) -> None:
        """A body that comes further each time may break as often as it likes."""
        self.data = pattern(3_000_000)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

        def further(asked: Asked) -> Reply:
            return evolve(self.registry.honest(asked), cut=AT)

        got = await self.pulled(*[further] * 8, retries=2)
        self.whole(got, 1 + 8 + 1)

    @running
    async def test_no_progress(self) -> None:
        """A body that makes no progress is given up after so many attempts, and the client is cut short."""
        await self.short(await self.pulled(*[Reply(500)] * 20, retries=2), 1 + 2)
        self.registry.unscript()
        again = await self.client.get(self.path)
        self.assertTrue(again.body == self.data)

    @running
    async def test_no_retries(self) -> None:
        """With no attempts allowed a broken body ends its clients' as it ended."""
        await self.short(await self.pulled(retries=0), 1)

    @running
    async def test_all_followers(self) -> None:
        """All clients of a transfer are continued by one request."""
        await self.start()
        gate: Deferred[None] = Deferred()
        first = Reply(body=self.data, cut=AT, hold=gate, hold_at=AT // 2)
        self.registry.script("/blobs/", in_turn(first))
        clients = [await self.client.begin(self.path) for _ in range(5)]
        for client in clients:
            await client.got_headers
        gate.callback(None)
        for client in clients:
            self.whole(await client.done, 2)

    @running
    async def test_chunked(self) -> None:
        """A body without a length that breaks is continued too."""
        await self.start()
        self.registry.script("/blobs/", in_turn(Reply(body=self.data, chunked=True, cut=AT)))
        got = await self.client.get(self.path)
        self.assertEqual((200, True), (got.status, got.complete))
        self.assertTrue(got.body == self.data, "the bytes differ")
        self.assertEqual(2, self.registry.count("/blobs/"))

    @running
    async def test_unannounced(self) -> None:
        """A body that ends when its connection does continues if the manifest says that there is more."""
        _, (_, layer) = self.registry.add_image("library/app", "a", self.data)
        await self.start()
        await self.client.get("/v2/library/app/manifests/a")
        self.registry.script("/blobs/", in_turn(Reply(body=self.data, length=None, cut=AT)))
        self.whole(await self.client.get(f"/v2/library/app/blobs/{layer}"), 2)
        self.assertEqual(AT, self.registry.asked[-1].first)

    @running
    async def test_in_the_tail(self) -> None:
        """A break in the bytes that are held back is continued like any other."""
        await self.start()
        first = Reply(body=self.data, cut=SIZE - LIMITS.tail // 2)
        self.registry.script("/blobs/", in_turn(first))
        self.whole(await self.client.get(self.path), 2)

    @running
    async def test_before_the_first_byte(self) -> None:
        """A connection that ends after the headers, or before them, costs one more request."""
        for at, reset in ((0, False), (0, True)):
            await self.afresh()
            await self.start()
            self.registry.script("/blobs/", in_turn(Reply(body=self.data, cut=at, reset=reset)))
            self.whole(await self.client.get(self.path), 2)

    @running
    async def test_redirected(self) -> None:
        """The rest is asked of the registry, which may send us elsewhere, and its range goes along."""
        cdn, signatures = self.another(), count(1)

        def elsewhere(asked: Asked) -> Reply:
            if asked.authorization is None:
                return Reply(401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            location = f"http://{cdn.host}{self.path}?signature={next(signatures)}"
            return Reply(307, headers={"Location": location})

        cdn.add_blob(self.data)
        cdn.script("/blobs/", in_turn(lambda asked: evolve(cdn.honest(asked), cut=AT)))
        self.registry.script("/blobs/", elsewhere)
        await self.start(self.upstream("docker.io", credentials=Credentials("pat", "pass")))
        got = await self.client.get(self.path)
        self.assertTrue(got.complete)
        self.assertTrue(got.body == self.data, "the bytes differ")
        first, rest = cdn.asked
        self.assertEqual(("signature=1", "signature=2"), (first.query, rest.query))
        self.assertEqual((None, AT), (first.first, rest.first))
        self.assertEqual(f'"{self.digest}"', rest.headers["if-range"])
        self.assertEqual([None, None], [first.authorization, rest.authorization])
