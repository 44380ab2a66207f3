"""Whole stories of one blob: wrong hosts, a disk that comes and goes, clients of every pace."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.ranges import RequestedRange
from oci_registry.storage.drivers.memory import MemoryDriver, _MemoryWriter
from oci_registry.storage.interfaces import IObjectWriter, StoreError
from oci_registry.storage.keys import blob_key
from oci_registry.streams.batches import FLUSH_DELAY
from oci_registry.streams.follower import TransferFailed
from tests import examples
from tests.support.generated import evenly, events
from tests.support.streams import LIMITS, Reader
from tests.unit.pullthrough.support import CacheTestCase
from tests.unit.streams.world import SMALL

DATA = bytes(n % 251 for n in range(150))

EVENTS = st.lists(
    evenly(
        events("send", range(41)),
        events("open", range(150)),
        events("read", range(6)),
        events("leave", range(6)),
        events("tick"),
        events("stall"),
        events("disk", range(4)),
    ),
    max_size=80,
)
WRONG = st.one_of(
    st.none(),
    st.integers(0, 149).map(lambda n: DATA[:n] + b"\xff" + DATA[n + 1 :]),
    st.sampled_from([b"", b"login page", DATA[:-1], DATA + b"more"]),
)


class Disk:
    """What of the disk works at the moment."""

    def __init__(self) -> None:
        self.writable = self.readable = True


class _Writer(_MemoryWriter):
    """A writer on that disk."""

    def __init__(self, driver: MemoryDriver, key: str, disk: Disk) -> None:
        super().__init__(driver, key)
        self._disk = disk

    def append(self, data: bytes) -> None:
        if not self._disk.writable:
            self._failed = True
            raise StoreError("disk full")
        super().append(data)

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        if not self._disk.readable:
            return fail(StoreError("bad sector"))
        return succeed(bytes(self._data[offset : offset + length]))

    def commit(self) -> Deferred[None]:
        if not self._disk.writable:
            return fail(StoreError("disk full"))
        return super().commit()


class Stories(CacheTestCase):
    """A blob of 150 bytes, of which a few are many."""

    transfer_limits = TransferLimits(growing=SMALL)

    def begin(self, wrong: tuple[bytes | None, ...]) -> None:
        """Have hosts, the last of which is right."""
        self.setUp()
        self.digest = self.upstream.add_blob(DATA)
        self.upstream.manual = True
        hosts = [f"host{n}" for n in range(len(wrong) + 1)]
        self.upstream.hosts = tuple(hosts)
        sent = dict(zip(hosts, wrong, strict=False))
        self.upstream.wrong = {host: data for host, data in sent.items() if data is not None}
        self.clients: list[tuple[int, Reader]] = []
        self.opening: list[Deferred[OpenBlob]] = []
        self.refused = 0
        self.disk = Disk()

        async def create(digest: Digest, size: int | None = None) -> IObjectWriter:
            if not self.disk.writable:
                raise StoreError("disk full")
            writer: IObjectWriter = _Writer(self.driver, blob_key(digest), self.disk)
            return writer

        self.patch(self.blob_store, "create", create)

    def happen(self, event: str, number: int) -> None:
        """Let something happen."""
        if event == "send":
            self.send(number // 3 % 4, number)
        elif event == "open":
            self.open(number)
        elif event == "read" and number < len(self.clients):
            self.clients[number][1].read(1 + number % 2)
        elif event == "leave" and number < len(self.clients):
            self.clients.pop(number)[1].source.close()
        elif event == "tick":
            self.clock.advance(FLUSH_DELAY)
        elif event == "stall":
            self.clock.advance(LIMITS.stall)
        elif event == "disk":
            self.disk.writable, self.disk.readable = bool(number & 1), bool(number & 2)

    def open(self, start: int) -> None:
        """A client comes, for the bytes from *start* on."""
        opening = self.start(self.blobs.open(self.target, self.digest, 0, RequestedRange(start)))
        opening.addCallbacks(lambda blob: self.opened(blob, start), self.is_refused)

    def opened(self, blob: OpenBlob, start: int) -> None:
        start = start if blob.size is not None and start < blob.size else 0
        self.clients.append((start, Reader(blob.source(start, blob.size), 1 + start % 9)))

    def is_refused(self, failure: object) -> None:
        self.refused += 1

    def send(self, which: int, count: int) -> bool:
        """Let one of the bodies under way send some bytes; return whether there was one."""
        under_way = [body for body in self.upstream.bodies if not body.done.called]
        under_way = [body for body in under_way if body._consumer is not None and not body.paused]
        if not under_way:
            return False
        body = under_way[which % len(under_way)]
        piece, body.data = body.data[:count], body.data[count:]
        body.send(piece)
        if not body.data and not body.done.called:
            body.end()
        return True

    def end(self) -> None:
        """Let everything come to its end."""
        for _ in range(2000):
            self.send(0, 19)
            self.clock.advance(FLUSH_DELAY)
            for _, client in self.clients:
                client.read()
            if not self.transfers._all and all(client.over for _, client in self.clients):
                break
        else:
            self.fail("it does not come to an end")

    def check(self, *, right: bool) -> None:
        """Nobody has anything wrong that looks right; if all was *right*, everybody has it all."""
        for start, client in self.clients:
            if client.ended:
                self.assertEqual(bytes(client.got), DATA[start:])
            else:
                self.assertIsInstance(client.error, TransferFailed)
                self.assertFalse(right, client.error)
            client.source.close()
        if right:
            self.assertEqual(self.refused, 0)
        for data, _ in self.driver._objects.values():
            self.assertEqual(data, DATA)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.counted("oci_registry_transfers_in_flight"), 0)

    @settings(max_examples=examples(4))
    @given(EVENTS)
    def test_disk(self, events: list[tuple[str, int]]) -> None:
        """Whatever the disk does, and when, every client gets every byte."""
        self.begin(())
        self.open(0)
        for event, number in events:
            self.happen(event, number)
        self.end()
        self.check(right=True)

    @settings(max_examples=examples(4))
    @given(st.tuples(WRONG, WRONG), EVENTS)
    def test_wrong_hosts_too(
        self, wrong: tuple[bytes | None, ...], events: list[tuple[str, int]]
    ) -> None:
        """Whatever hosts send besides, no client takes a wrong blob for the right one."""
        self.begin(wrong)
        self.open(0)
        for event, number in events:
            self.happen(event, number)
        self.end()
        self.check(right=False)
