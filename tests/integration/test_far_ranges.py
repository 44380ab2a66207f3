"""Ranges far ahead of a download, as lazy pullers ask for them."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.makers import Makers
from oci_registry.pullthrough.far import FarLimits
from tests.support.daemon import PATIENT, MirrorTestCase, running, until
from tests.support.fake_replies import Asked, Reply, part_of
from tests.support.patterns import noise

MIB = 1024 * 1024
SIZE = 48 * MIB


class FarRanges(MirrorTestCase):
    """A blob of 48 MiB, of which upstream sends the first two and then waits.

    It answers for parts in time, however busy the machine is: they would come from the download else,
    which waits.
    """

    timeout = 120
    makers = Makers(
        far_limits=FarLimits(permit_timeout=60.0, answer_timeout=60.0), store_limits=PATIENT
    )

    def setUp(self) -> None:
        super().setUp()
        self.data = noise(10, SIZE)
        self.digest = self.registry.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"
        self.gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", self.slowly)

    def slowly(self, asked: Asked) -> Reply | None:
        """Answer for the whole blob; parts come at once."""
        if asked.range is not None:
            return None
        return Reply(body=self.data, hold=self.gate, hold_at=2 * MIB)

    def ranges(self) -> list[str | None]:
        """Return the ranges that upstream was asked for."""
        return [asked.headers.get("range") for asked in self.registry.matching("/blobs/")]

    def fetching(self) -> float | None:
        name = "oci_registry_far_ranges_in_flight"
        value: float | None = self.daemons[-1].parts.metrics.registry.get_sample_value(name)
        return value

    @running
    async def test_table_of_contents(self) -> None:
        """What is at the end comes at once, and all the rest with the one download, which is kept."""
        await self.start()
        for start, stop in ((SIZE - 47, SIZE), (SIZE - 3 * MIB, SIZE - 47), (30 * MIB, 31 * MIB)):
            got = await self.client.get(self.path, Range=f"bytes={start}-{stop - 1}")
            place = f"bytes {start}-{stop - 1}/{SIZE}"
            self.assertEqual((206, place), (got.status, got.headers["content-range"]))
            self.assertTrue(got.body == self.data[start:stop])
            self.assertEqual(f"bytes={start}-{stop - 1}", self.ranges()[-1])
        self.assertEqual(0, self.fetching())
        near = await self.client.begin(self.path, Range="bytes=1000000-3000000")
        whole = await self.client.begin_hashed(self.path)
        self.gate.callback(None)
        await near.done
        self.assertTrue(near.body == self.data[1_000_000:3_000_001])
        await whole.done
        self.assertEqual(self.digest.encoded, whole.body.sha256.hexdigest())
        await until(lambda: bool(self.files("blobs")))
        self.assertEqual([None], [asked for asked in self.ranges() if asked is None])
        self.assertEqual(4, len(self.ranges()))

    @running
    async def test_end(self) -> None:
        """What is asked for from the end, or up to the end, comes at once; there is one download."""
        await self.start()
        for asked, start in (("-47", SIZE - 47), (f"{SIZE - 3 * MIB}-", SIZE - 3 * MIB)):
            got = await self.client.get(self.path, Range=f"bytes={asked}")
            place = f"bytes {start}-{SIZE - 1}/{SIZE}"
            self.assertEqual((206, place), (got.status, got.headers["content-range"]))
            self.assertTrue(got.body == self.data[start:])
            self.assertEqual(f"bytes={start}-{SIZE - 1}", self.ranges()[-1])
        self.assertEqual((3, 0), (len(self.ranges()), self.fetching()))
        self.gate.callback(None)
        await until(lambda: bool(self.files("blobs")))

    @running
    async def test_end_of_unknown_length(self) -> None:
        """Where upstream does not announce the length either; it is asked for the first byte then."""

        def chunked(asked: Asked) -> Reply | None:
            reply = self.slowly(asked)
            if reply is not None:
                reply.chunked = True
            return reply

        self.registry.script("/blobs/", chunked)
        await self.start()
        got = await self.client.get(self.path, Range="bytes=-100")
        place = f"bytes {SIZE - 100}-{SIZE - 1}/{SIZE}"
        self.assertEqual((206, place), (got.status, got.headers["content-range"]))
        self.assertTrue(got.body == self.data[-100:])
        self.assertEqual([None, "bytes=0-0", f"bytes={SIZE - 100}-{SIZE - 1}"], self.ranges())
        self.gate.callback(None)
        await until(lambda: bool(self.files("blobs")))

    @running
    async def test_several(self) -> None:
        """A client that asks for several ranges gets the whole, which begins at once."""
        await self.start()
        whole = await self.client.begin(self.path, Range="bytes=0-9,-100")
        await whole.got_headers
        self.assertEqual((200, 1), (whole.status, len(self.ranges())))
        self.gate.callback(None)
        await whole.done
        self.assertTrue(whole.body == self.data)

    @running
    async def test_body_that_breaks(self) -> None:
        """A part that breaks off in the middle is continued, like everything."""
        start, stop = SIZE - 3 * MIB, SIZE - MIB
        await self.start()
        cuts = [MIB, MIB // 2]

        def cut(asked: Asked) -> Reply | None:
            if asked.range is None:
                return self.slowly(asked)
            reply = self.registry.honest(asked)
            if cuts:
                reply.cut = cuts.pop(0)
            return reply

        self.registry.script("/blobs/", cut)
        got = await self.client.get(self.path, Range=f"bytes={start}-{stop - 1}")
        self.assertEqual((206, True), (got.status, got.complete))
        self.assertTrue(got.body == self.data[start:stop])
        self.assertEqual(4, len(self.ranges()))

    @running
    async def test_upstream_without_ranges(self) -> None:
        """From an upstream that sends wholes only the range comes when the download has got there."""
        self.registry.script("/blobs/", Reply(body=self.data, hold=self.gate, hold_at=2 * MIB))
        await self.start()
        asked = await self.client.begin(self.path, Range=f"bytes={SIZE - 100}-{SIZE - 1}")
        await until(lambda: len(self.ranges()) == 2)
        self.gate.callback(None)
        got = await asked.done
        self.assertEqual((206, self.data[-100:]), (got.status, bytes(got.body)))
        self.assertEqual(0, self.fetching())

    @running
    async def test_client_that_leaves(self) -> None:
        """When the client of a long range leaves without having read it, upstream is hung up on."""
        start, stop = 20 * MIB, SIZE
        taken: list[Asked] = []

        def part(asked: Asked) -> Reply | None:
            if asked.range is None:
                return self.slowly(asked)
            taken.append(asked)
            return part_of(Reply(body=self.data, headers={"ETag": '"x"'}), asked)

        self.registry.script("/blobs/", part)
        await self.start()
        slow = await self.client.begin(self.path, Range=f"bytes={start}-{stop - 1}")
        await slow.got_headers
        slow.pause()
        self.assertEqual((206, 1, 1), (slow.status, len(taken), self.fetching()))
        slow.close()
        await until(lambda: self.fetching() == 0)
        await until(lambda: self.registry.hung_up > 0)
        # The download goes on all the same.
        self.gate.callback(None)
        await until(lambda: bool(self.files("blobs")))
