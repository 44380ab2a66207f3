"""Transfers into a store that is slow, hangs, or has the blob already."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.transfer import Phase
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.storage.drivers.memory import _MemoryWriter
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.follower import TransferFailed
from tests.unit.pullthrough.test_transfers import DATA, TransferTestCase


class SlowStore(TransferTestCase):
    """One step of storing a blob takes as long as the test says."""

    def waits(self, name: str) -> Deferred[None]:
        """Let a method of the writer wait; return what to fire when it is to end."""
        gate: Deferred[None] = Deferred()
        really: Callable[[_MemoryWriter], Deferred[None]] = getattr(_MemoryWriter, name)
        self.patch(_MemoryWriter, name, lambda writer: gate.addCallback(lambda _: really(writer)))
        return gate

    def creates(self, create: Callable[[], Awaitable[Any]]) -> None:
        async def created(digest: Digest, size: int | None) -> Any:
            return await create()

        self.patch(self.blob_store, "create", created)

    def phase(self) -> Phase:
        """Return how far the one transfer is."""
        (transfer,) = self.transfers._all
        return transfer.phase

    def errors(self) -> tuple[float, float]:
        """Return how often the store, and a transfer, has failed."""
        store, transfer = (
            self.counted("oci_registry_errors_total", kind=kind) for kind in ("store", "transfer")
        )
        return store, transfer

    def test_commit_hangs(self) -> None:
        """Nobody waits for a commit: clients have all bytes, and others may still join."""
        committing = self.waits("commit")
        early = self.read(self.joined())
        self.finish()
        self.assertEqual(DATA, self.successResultOf(early))
        self.assertIs(Phase.COMMITTING, self.phase())
        for _ in range(2):
            self.assertEqual(DATA, self.successResultOf(self.read(self.joined())))
        self.assertEqual((1, set()), (len(self.upstream.asked), self.stored()))
        committing.callback(None)
        self.assertEqual({self.key}, self.stored())
        self.assertNotIn(self.digest, self.transfers)

    def test_commit_fails_late(self) -> None:
        """If it fails in the end nobody notices but the operator, and the next client starts again."""
        committing = self.waits("commit")
        early = self.read(self.joined())
        self.finish()
        committing.errback(StoreError("no answer"))
        self.assertEqual(DATA, self.successResultOf(early))
        self.assertEqual((1, 0), self.errors())
        self.nothing_left()

    def test_create_fails_late(self) -> None:
        """A store that cannot begin an object in time is gone without."""
        creating: Deferred[Any] = Deferred()

        async def create() -> Any:
            return await creating

        self.creates(create)
        joining = self.join()
        self.assertNoResult(joining)
        self.assertIs(Phase.ASKING, self.phase())
        creating.errback(StoreError("no answer within 5 s"))
        reading = self.read(self.successResultOf(joining))
        self.finish()
        self.assertEqual(DATA, self.successResultOf(reading))
        self.assertEqual((1, 0), self.errors())
        self.nothing_left()

    def test_removal_hangs(self) -> None:
        """Nobody waits until the rest of a failed download is removed, but the daemon that stops does."""
        removing = self.waits("cancel")
        reading = self.read(self.joined())
        self.upstream.bodies[0].send(DATA[:100_000])
        self.upstream.bodies[0].end(BadGateway("broken"))
        self.failureResultOf(reading, TransferFailed)
        self.assertIs(Phase.ENDED, self.phase())
        again = self.joined()
        self.assertEqual(2, len(self.upstream.asked))
        self.assertIs(again, self.joined())
        stopping = self.start(self.transfers.stop())
        self.assertNoResult(stopping)
        removing.callback(None)
        self.successResultOf(stopping)
        self.nothing_left()
