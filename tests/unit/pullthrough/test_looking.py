"""How often the store is asked for a blob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.blobs import BlobSize, OpenBlob
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key
from tests.unit.pullthrough.test_blobs import DATA, BlobTestCase


class Looking(BlobTestCase):
    """A store whose look-ups are counted, and last as long as the test says."""

    def setUp(self) -> None:
        super().setUp()
        self.looked: list[str] = []
        self.gates: list[Deferred[None]] = []
        for name in ("open", "stat"):
            self.patch(self.driver, name, self.counting(getattr(self.driver, name)))

    def counting(self, really: Callable[..., Deferred[Any]]) -> Callable[..., Deferred[Any]]:
        """Return a look-up that is counted, and whose answer waits for the next gate, if there is one."""

        def look(key: str, *how: Any) -> Deferred[Any]:
            self.looked.append(key)
            found = really(key, *how)
            if not self.gates:
                return found
            return self.gates.pop(0).addCallback(lambda _: found)

        return look

    def gate(self) -> Deferred[None]:
        """Hold the answer to the next look-up."""
        gate: Deferred[None] = Deferred()
        self.gates.append(gate)
        return gate

    def looking(self) -> tuple[Deferred[OpenBlob], Deferred[None]]:
        """Let a client look for the blob; return what it gets, and what to fire when it is to continue."""
        gate = self.gate()
        return self.begin(), gate

    def committed(self, digest: Digest) -> None:
        """Let somebody else's download of a blob come to its end."""
        self.successResultOf(self.start(self.transfers.join(self.target, digest, None)))
        self.finish()
        self.assertIn(blob_key(digest), self.stored())

    def test_once_each(self) -> None:
        """A cold pull of an image looks once for each of its blobs, though each is committed meanwhile."""
        digests = [self.upstream.add_blob(bytes([n]) * 1000) for n in range(13)]
        gates = [self.gate() for _ in digests]
        opening = [self.begin(digest) for digest in digests]
        for digest, gate, blob in zip(digests, gates, opening, strict=True):
            gate.callback(None)
            source = self.successResultOf(blob).source(0, None)
            self.finish()
            self.assertEqual(1000, len(self.drain(source)))
            self.assertIn(blob_key(digest), self.stored())
        self.assertEqual(sorted(map(blob_key, digests)), sorted(self.looked))

    def test_commits_of_others(self) -> None:
        """However many other blobs are committed while somebody looks, there is no other look."""
        opening, gate = self.looking()
        for n in range(5):
            self.committed(self.upstream.add_blob(bytes([n])))
        gate.callback(None)
        self.assertIs(Outcome.MISS, self.successResultOf(opening).outcome)
        self.assertEqual([blob_key(self.digest)], self.looked)

    def test_committed_meanwhile(self) -> None:
        """A blob that is committed while somebody looks is found by another look."""
        opening, gate = self.looking()
        self.committed(self.digest)
        gate.callback(None)
        blob = self.successResultOf(opening)
        self.assertIs(Outcome.HIT, blob.outcome)
        self.assertEqual(DATA, self.drain(blob.source(0, None)))
        self.assertEqual((2, 1), (len(self.looked), len(self.upstream.asked)))

    def test_never_a_third_time(self) -> None:
        """If it is committed again during that one, and is not found, it is downloaded."""
        opening, gate = self.looking()
        again = self.gate()
        for one in (gate, again):
            self.committed(self.digest)
            del self.driver._objects[blob_key(self.digest)]
            one.callback(None)
        self.assertIs(Outcome.MISS, self.successResultOf(opening).outcome)
        self.assertEqual(2, len(self.looked))

    def test_size(self) -> None:
        """The same goes for the question how long a blob is."""
        gate = self.gate()
        asking: Deferred[BlobSize] = self.start(self.blobs.size(self.target, self.digest))
        self.committed(self.digest)
        gate.callback(None)
        self.assertEqual(BlobSize(len(DATA), Outcome.HIT), self.successResultOf(asking))
        self.assertEqual(2, len(self.looked))

    def test_fails_late(self) -> None:
        """A look-up that fails after a while is a miss, and is counted as the store's failure."""
        opening, gate = self.looking()
        gate.errback(StoreError("no answer within 5 s"))
        source = self.successResultOf(opening).source(0, None)
        self.finish()
        self.assertEqual(DATA, self.drain(source))
        self.assertEqual(1, self.counted("oci_registry_errors_total", kind="store"))
