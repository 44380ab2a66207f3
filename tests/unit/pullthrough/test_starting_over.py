"""Downloads whose bytes are wrong, and those that come after them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.pullthrough.transfer import TransferLimits
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.storage.interfaces import IObjectWriter
from oci_registry.storage.keys import blob_key
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.growing import GrowingBlob
from tests.support.fake_upstream import FakeBody
from tests.support.streams import LIMITS, Reader
from tests.unit.pullthrough.support import CacheTestCase

DATA = bytes(range(256)) * 1200
ATTEMPTS = TransferLimits().attempts


def wrong_at(position: int) -> bytes:
    """Return the blob with one byte wrong."""
    return DATA[:position] + bytes([DATA[position] ^ 1]) + DATA[position + 1 :]


class StartingOver(CacheTestCase):
    """An upstream of several hosts, some of which send something else."""

    def setUp(self) -> None:
        super().setUp()
        self.digest = self.upstream.add_blob(DATA)
        self.upstream.manual = True
        self.upstream.hosts = ("a", "b", "c")

    def join(self, size: int | None = None) -> Deferred[GrowingBlob]:
        return self.start(self.transfers.join(self.target, self.digest, size))

    def follow(self, size: int | None = None) -> Reader:
        return Reader(self.successResultOf(self.join(size)).follow(), 50_000)

    def finish(self, number: int = -1) -> FakeBody:
        """Let a body be sent whole."""
        body = self.upstream.bodies[number]
        body.send(body.data)
        if not body.done.called:
            body.end()
        return body

    def hosts(self) -> list[set[str]]:
        """Return who was asked for the blob."""
        return [set(body.hosts) for body in self.upstream.bodies]

    def check(self, *readers: Reader) -> None:
        """They have all of it, and so has the store."""
        for reader in readers:
            reader.read()
            self.assertIsNone(reader.error)
            self.assertTrue(reader.ended)
            self.assertTrue(reader.got == DATA)
            reader.source.close()
        self.assertEqual({blob_key(self.digest)}, self.stored())
        self.over()

    def check_failed(self, *readers: Reader) -> str:
        """They have failed, and all with the same."""
        for reader in readers:
            reader.read()
            self.assertIsInstance(reader.error, TransferFailed)
            reader.source.close()
        return str(readers[0].error)

    def over(self) -> None:
        """Nothing is under way."""
        self.assertNotIn(self.digest, self.transfers)
        self.assertEqual(0, self.counted("oci_registry_transfers_in_flight"))
        self.assertEqual([], self.clock.getDelayedCalls())

    def errors(self, kind: str) -> float:
        return self.counted("oci_registry_errors_total", kind=kind)

    def test_next_host(self) -> None:
        """The next host is asked, readers get the right bytes, and the first is quarantined."""
        for data in (wrong_at(0), wrong_at(len(DATA) - 1), b"", DATA + b"more", DATA[:-1]):
            self.setUp()
            self.upstream.wrong = {"a": data}
            self.upstream.says_size = False
            early = self.follow()
            self.finish()
            late = self.follow()
            self.assertEqual([{"a"}, {"b"}], self.hosts())
            self.finish()
            self.check(early, late)
            self.assertEqual([(self.digest, frozenset({"a"}))], self.upstream.quarantined)
            self.assertEqual((1, 0), (self.errors("wrong"), self.errors("transfer")))

    def test_who_has_had_all_but_the_tail(self) -> None:
        """Where only the tail was wrong everybody is served to the end."""
        self.upstream.wrong = {"a": wrong_at(len(DATA) - LIMITS.tail)}
        readers = [self.follow(), self.follow()]
        self.upstream.bodies[0].send(self.upstream.bodies[0].data)
        self.clock.advance(1)
        readers[0].read()
        self.assertEqual(len(DATA) - LIMITS.tail, len(readers[0].got))
        self.upstream.bodies[0].end()
        readers[1].read()
        self.assertEqual(b"", readers[1].got)
        self.finish()
        self.check(*readers)

    def test_who_has_had_a_wrong_byte(self) -> None:
        """A client that has received the wrong byte is cut short; the others are served, the blob stored."""
        self.upstream.wrong = {"a": wrong_at(60_000)}
        unlucky, lucky = self.follow(), self.follow()
        self.upstream.bodies[0].send(self.upstream.bodies[0].data)
        self.clock.advance(1)
        unlucky.read(2)
        lucky.read(1)
        self.upstream.bodies[0].end()
        self.finish()
        self.assertIn("wrong", self.check_failed(unlucky))
        self.check(lucky)

    def test_every_host_is_wrong(self) -> None:
        """If all are wrong the transfer fails as with one: nothing is left, and it is counted once."""
        self.upstream.wrong = dict.fromkeys(self.upstream.hosts, wrong_at(5))
        readers = [self.follow(), self.follow()]
        for number in range(3):
            self.finish(number)
        self.assertIn("have the digest", self.check_failed(*readers))
        self.assertEqual([{"a"}, {"b"}, {"c"}], self.hosts())
        self.assertEqual(set(), self.stored())
        self.assertEqual((3, 1), (self.errors("wrong"), self.errors("transfer")))
        self.over()
        self.upstream.wrong = {}
        reader = self.follow()
        self.finish()
        self.check(reader)

    def test_bounded(self) -> None:
        """However many hosts there are, it ends some time."""
        self.upstream.hosts = tuple("abcdefgh")
        self.upstream.wrong = dict.fromkeys(self.upstream.hosts, wrong_at(5))
        reader = self.follow()
        for number in range(ATTEMPTS):
            self.finish(number)
        self.check_failed(reader)
        self.assertEqual(ATTEMPTS, len(self.upstream.bodies))

    def test_error_of_the_next(self) -> None:
        """Whatever the next host says, what is told is what was wrong with the bytes."""
        self.upstream.wrong = {"a": wrong_at(5)}
        reader = self.follow()
        self.upstream.error = BadGateway("b is down")
        self.finish()
        self.assertIn("have the digest", self.check_failed(reader))
        self.over()

    def test_defect(self) -> None:
        """A defect of ours on the way to the next host ends the transfer, too, and is logged as one."""
        self.upstream.wrong = {"a": wrong_at(5)}
        reader = self.follow()
        self.upstream.error = ZeroDivisionError("secret")
        self.finish()
        self.assertNotIn("secret", self.check_failed(reader))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.over()

    def test_next_breaks_off(self) -> None:
        """If the next one breaks off, that is the error, and nothing is left."""
        self.upstream.wrong = {"a": wrong_at(5)}
        reader = self.follow()
        self.finish()
        self.upstream.bodies[1].send(DATA[:100_000])
        self.upstream.bodies[1].end(BadGateway("b has broken off"))
        self.assertIn("b has broken off", self.check_failed(reader))
        self.assertEqual(set(), self.stored())
        self.over()

    def test_length_against_the_manifest(self) -> None:
        """A host whose blob has another length than the manifest says is passed over unread."""
        self.upstream.wrong = {"a": DATA[:-1], "b": b"<html>log in</html>"}
        reader = self.follow(len(DATA))
        self.assertEqual([{"a"}, {"b"}, {"c"}], self.hosts())
        self.assertEqual([True, True, False], [b.abandoned for b in self.upstream.bodies])
        self.finish()
        self.check(reader)
        self.assertEqual([(self.digest, {"a", "b"})], self.upstream.quarantined)

    def test_length_against_every_host(self) -> None:
        """If no host has a blob of that length it is the manifest that is wrong."""
        reader = self.follow(len(DATA) + 1)
        self.assertEqual([{"a"}, {"b"}, {"c"}], self.hosts())
        self.assertEqual([False, True, True], [b.abandoned for b in self.upstream.bodies])
        self.finish(0)
        self.check(reader)
        self.assertEqual([], self.upstream.quarantined)

    def test_two_lengths(self) -> None:
        """Where no manifest has told the length, who was told a wrong one fails, and the next does not."""
        self.upstream.wrong = {"a": b"<html>log in</html>"}
        told = self.follow()
        self.finish()
        self.assertIn("not the 19 that were announced", self.check_failed(told))
        late = self.follow()
        self.finish()
        self.check(late)

    def test_nobody_knows_whose_fault_it_was(self) -> None:
        """What came from two hosts is tried once more with both, and then with neither."""
        self.upstream.wrong = {"a": wrong_at(5)}
        reader = self.follow()
        self.upstream.bodies[0].hosts = frozenset({"a", "b"})
        self.finish()
        self.assertEqual({"a"}, set(self.upstream.bodies[1].hosts))
        self.upstream.bodies[1].hosts = frozenset({"a", "b"})
        self.finish()
        self.assertEqual({"c"}, set(self.upstream.bodies[2].hosts))
        self.finish()
        self.check(reader)

    def test_newcomers_between_two_downloads(self) -> None:
        """A client that comes while the next host is asked waits for its answer, and is told its length."""
        self.upstream.wrong = {"a": b"<html>log in</html>"}
        self.follow()
        self.upstream.holding = True
        self.finish()
        self.assertIsNone(self.transfers.running(self.target, self.digest))
        waiting = [self.join(), self.join()]
        self.assertNoResult(waiting[0])
        self.upstream.release()
        blobs = [self.successResultOf(one) for one in waiting]
        self.assertEqual([len(DATA)] * 2, [blob.size for blob in blobs])
        readers = [Reader(blob.follow()) for blob in blobs]
        self.finish()
        self.check(*readers)
        self.assertEqual(2, len(self.upstream.asked))

    def test_newcomers_when_there_is_no_other(self) -> None:
        """A client that comes while the next host is asked, in vain, is told so."""
        self.upstream.wrong = {"a": wrong_at(5)}
        self.follow()
        self.upstream.holding = True
        self.finish()
        waiting = self.join()
        self.upstream.error = BadGateway("b is down")
        self.upstream.release()
        self.assertIn("have the digest", str(self.failureResultOf(waiting, TransferFailed).value))

    def test_what_was_written_is_given_up(self) -> None:
        """What the first one has written is cancelled, and closed when it is compared."""
        writers: list[Any] = []
        create = self.blob_store.create

        async def created(digest: Digest, size: int | None) -> IObjectWriter:
            writer: Any = await create(digest, size)
            writer.calls = []
            for name in ("commit", "cancel", "close"):
                self.patch(writer, name, self.noted(writer, name))
            writers.append(writer)
            return writer  # type: ignore[no-any-return]

        self.patch(self.blob_store, "create", created)
        self.upstream.wrong = {"a": wrong_at(len(DATA) - 1)}
        reader = self.follow()
        self.upstream.bodies[0].send(self.upstream.bodies[0].data)
        self.clock.advance(1)
        reader.read(2)
        self.upstream.bodies[0].end()
        self.assertEqual(["cancel"], writers[0].calls)
        self.finish()
        self.check(reader)
        self.assertEqual(["cancel", "close"], writers[0].calls)
        self.assertEqual(["commit", "close"], [c for c in writers[1].calls if c != "cancel"])

    def noted(self, writer: Any, name: str) -> Any:
        really = getattr(writer, name)

        def call() -> Any:
            writer.calls.append(name)
            return really()

        return call

    def test_unstored(self) -> None:
        """While nothing can be stored, who has had something fails, and who has had nothing does not."""
        self.driver.broken = "disk on fire"
        self.upstream.wrong = {"a": wrong_at(len(DATA) - 1)}
        some, none = self.follow(), self.follow()
        self.upstream.bodies[0].send(self.upstream.bodies[0].data)
        self.clock.advance(1)
        some.read(1)
        self.upstream.bodies[0].end()
        self.check_failed(some)
        self.driver.broken = None
        self.finish()
        none.read()
        self.assertTrue(none.got == DATA)

    def test_second_that_nobody_wants(self) -> None:
        """If the next one cannot be stored, and all have failed, it is not downloaded for nothing."""
        self.upstream.wrong = {"a": wrong_at(5)}
        self.upstream.says_size = False
        told = self.follow()
        self.upstream.bodies[0].send(self.upstream.bodies[0].data)
        self.clock.advance(1)
        told.read(1)
        self.upstream.says_size = True
        told.source.close()
        self.driver.broken = "disk on fire"
        self.upstream.bodies[0].end()
        body = self.upstream.bodies[1]
        body.send(body.data)
        self.clock.advance(1)
        self.assertTrue(body.stopped)
        self.driver.broken = None
        self.over()

    def test_stopped(self) -> None:
        """A daemon that stops begins no other download, and breaks off the one that was begun."""
        self.upstream.wrong = {"a": wrong_at(5)}
        for begun in (False, True):
            self.setUp()
            self.upstream.wrong = {"a": wrong_at(5)}
            reader = self.follow()
            self.upstream.holding = not begun
            self.finish()
            self.assertEqual(2, len(self.upstream.asked))
            self.now(self.transfers.stop())
            self.check_failed(reader)
            self.over()
        self.assertTrue(self.upstream.bodies[1].stopped)

    def test_stopped_while_the_first_is_hashed(self) -> None:
        """A download that turns out to be wrong when the daemon stops is the last one."""
        self.upstream.wrong = {"a": wrong_at(5)}
        reader = self.follow()
        self.transfers._downloader.stopping = True
        self.finish()
        self.check_failed(reader)
        self.assertEqual(1, len(self.upstream.bodies))

    def test_empty_that_is_not_empty(self) -> None:
        """A client of a blob that one host says is empty gets the length that the next host says."""
        self.upstream.wrong = {"a": b"", "b": b""}
        opening = self.start(self.blobs.open(self.target, self.digest, 0))
        self.finish()
        self.finish()
        blob = self.successResultOf(opening)
        self.assertEqual(len(DATA), blob.size)
        reader = Reader(blob.source(0, None))
        self.finish()
        self.check(reader)

    def test_empty_everywhere(self) -> None:
        """If all hosts say so, that is an error, and ends."""
        self.upstream.wrong = dict.fromkeys(self.upstream.hosts, b"")
        opening = self.start(self.blobs.open(self.target, self.digest, 0))
        for _ in range(3):
            self.finish()
        self.failureResultOf(opening, TransferFailed)
        self.assertEqual(3, len(self.upstream.bodies))
        self.over()
