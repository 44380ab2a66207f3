"""A large blob whose bytes are wrong somewhere, with clients before, at and beyond that place."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred

from oci_registry.makers import Makers
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.streams.limits import GrowingLimits
from tests.support.client import Response
from tests.support.daemon import PATIENT, MirrorTestCase, running, until
from tests.support.fake_replies import Reply
from tests.support.patterns import noise
from tests.support.streams import LIMITS

MIB = 1024 * 1024
SIZE = 32 * MIB
WRONG_AT = 20 * MIB
PATH = "/blobs/"


class StartingOver(MirrorTestCase):
    """A first host that sends a wrong byte after 20 MiB of 32, and a second one that does not."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.second = self.another()
        self.data = noise(9, SIZE)
        self.digest = self.second.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"
        wrong = self.data[:WRONG_AT] + b"\xff\x00" + self.data[WRONG_AT + 2 :]
        self.first_gate: Deferred[None] = Deferred()
        self.second_gate: Deferred[None] = Deferred()
        self.registry.script(PATH, Reply(body=wrong, hold=self.first_gate, hold_at=SIZE - 1))
        again = Reply(body=self.data, hold=self.second_gate, hold_at=10 * MIB)
        self.second.script(PATH, again)

    async def serve(self) -> None:
        hosts = (self.registry.host, self.second.host)
        await self.start(self.upstream("docker.io", hosts=hosts))

    async def slow(self) -> Response:
        """Return a client that has received next to nothing and does not read on."""
        response = await self.client.begin_hashed(self.path)
        await response.got_headers
        response.pause()
        return response

    async def fast(self) -> Response:
        """Return a client that has received all but the tail."""
        response = await self.client.begin_hashed(self.path)
        await until(lambda: len(response.body) >= SIZE - LIMITS.tail)
        return response

    def check(self, *responses: Response) -> None:
        """They have the whole blob."""
        for response in responses:
            self.assertEqual((200, True), (response.status, response.complete))
            self.assertEqual(self.digest.encoded, response.body.sha256.hexdigest())

    @running
    async def test_everybody(self) -> None:
        """A client that has received the wrong byte is cut short; all others are served without a break."""
        await self.serve()
        slow, fast = await self.slow(), await self.fast()
        wanted = WRONG_AT + 5 * MIB
        ranged = await self.client.begin(self.path, Range=f"bytes={wanted}-{SIZE - 1}")
        await until(lambda: len(ranged.body) > 0)
        self.first_gate.callback(None)
        await until(lambda: self.second.count(PATH) == 1)
        late = await self.client.begin_hashed(self.path)
        await until(lambda: len(late.body) >= 9 * MIB)
        self.assertIsNone(fast.ended)
        self.second_gate.callback(None)
        await late.done
        await fast.done
        self.assertEqual((200, False, "closed"), (fast.status, fast.complete, fast.ended))
        slow.resume()
        await slow.done
        self.check(slow, late)
        await ranged.done
        right = self.data[wanted:]
        self.assertTrue(right.startswith(bytes(ranged.body)) and not ranged.complete)
        await self.idle()
        stored = self.files()
        self.assertEqual(1, len(stored))
        self.assertEqual(self.digest, Digest.of((self.root / stored.pop()).read_bytes()))
        self.assertEqual((1, 1), (self.registry.count(PATH), self.second.count(PATH)))

    @running
    async def test_nothing_stored(self) -> None:
        """The same without a store: who has had anything is closed short, and no wrong blob is whole."""
        self.makers = Makers(
            store_health=partial(StoreHealth, recovery=0.0),
            store_limits=PATIENT,
            transfer_limits=TransferLimits(growing=GrowingLimits(stall=0.2)),
        )
        self.root.write_text("not a directory")
        await self.serve()
        fast = await self.fast()
        self.first_gate.callback(None)
        await fast.done
        self.assertFalse(fast.complete)
        self.second_gate.callback(None)
        late = await self.client.begin_hashed(self.path)
        await late.done
        self.check(late)
        await self.idle()

    @running
    async def test_stopped_in_between(self) -> None:
        """A daemon that stops while the second download runs leaves nothing of either."""
        await self.serve()
        fast = await self.fast()
        self.first_gate.callback(None)
        await until(lambda: self.second.count(PATH) == 1)
        fast.close()
        await self.second_under_way()
        await self.stop()
        self.assertEqual(set(), self.files())

    async def second_under_way(self) -> None:
        """Wait until the second host has sent what it sends before its gate."""
        (transfer,) = self.daemons[-1].parts.transfers._all
        await until(
            lambda: transfer.joinable is not None and transfer.joinable.received >= 10 * MIB
        )
