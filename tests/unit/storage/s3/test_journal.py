"""Uses of objects, written down together and shared."""

from __future__ import annotations

import gzip
import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.storage.drivers.s3.bucket import Bucket, Listed
from oci_registry.storage.drivers.s3.failures import Absent
from oci_registry.storage.drivers.s3.journal import INTERVAL, LOG, Journal, decode, encode
from oci_registry.storage.drivers.s3.limits import DEFAULTS, JournalLimits
from oci_registry.storage.interfaces import StoreError
from tests.support.streams import run_at_once
from tests.unit.storage.support import NOW, StoreTestCase


class FakeBucket:
    """A bucket in memory, of which each page holds two objects."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = 0
        self.broken = False

    def put(self, key: str, body: bytes, size: int, *, replace: bool) -> None:
        """Write."""
        if self.broken:
            raise StoreError("the server is down")
        self.puts += 1
        self.objects[key] = body

    def get(self, key: str, limit: int) -> bytes:
        """Read."""
        if key not in self.objects:
            raise Absent(key)
        return self.objects[key]

    def page(self, prefix: str, token: str | None) -> tuple[list[Listed], str | None]:
        """List."""
        keys = sorted(k for k in self.objects if k.startswith(prefix) and k > (token or ""))
        page = [Listed(key, len(self.objects[key]), NOW) for key in keys[:2]]
        return page, keys[1] if len(keys) > 2 else None

    def delete_many(self, keys: list[str]) -> list[str]:
        """Remove."""
        return [key for key in keys if self.objects.pop(key, None) is not None]


class JournalTests(StoreTestCase):
    """Two replicas on one bucket."""

    def setUp(self) -> None:
        super().setUp()
        self.bucket = FakeBucket()
        self.one, self.two = self.journal(), self.journal()

    def journal(self, limits: JournalLimits = DEFAULTS.journal) -> Journal:
        """Return the journal of a replica."""
        return Journal(cast(Bucket, self.bucket), cast(Any, run_at_once), self.clock, limits)

    def logs(self) -> list[dict[str, float]]:
        """Return what is written down."""
        return [decode(data) for _, data in sorted(self.bucket.objects.items())]

    def test_written_together(self) -> None:
        """Many uses are one write, some minutes after the first; without uses there is none."""
        for n in range(100):
            self.one.note(f"blobs/{n}", NOW + n)
        self.clock.advance(INTERVAL - 1)
        self.assertEqual(self.bucket.puts, 0)
        self.clock.advance(1)
        self.assertEqual(self.logs(), [{f"blobs/{n}": NOW + n for n in range(100)}])
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(self.bucket.puts, 1)
        self.assertTrue(all(key.startswith(f"{LOG}/") for key in self.bucket.objects))

    def test_shared(self) -> None:
        """What one replica has written down the other knows, once it gathers."""
        self.one.note("blobs/a", NOW + 5)
        self.result(self.one.gather(0))
        self.assertEqual(self.two.last("blobs/a", 1.0), 1.0)
        self.result(self.two.gather(0))
        self.assertEqual(self.two.last("blobs/a", 1.0), NOW + 5)
        self.assertEqual(self.two.last("blobs/b", 1.0), 1.0)

    def test_last(self) -> None:
        """The last use counts, whoever noted it; our own note stands for the time of writing."""
        self.one.note("blobs/a", 50.0)
        self.two.note("blobs/a", 70.0)
        self.assertEqual(self.one.last("blobs/a", 60.0), 50.0)
        self.successResultOf(self.two.flush())
        self.result(self.one.gather(0))
        self.assertEqual(self.one.last("blobs/a", 60.0), 70.0)

    def test_put_together(self) -> None:
        """Gathering leaves one log in place of many, on all pages, without what is too old."""
        for n in range(7):
            self.one.note(f"blobs/{n}", 100.0 + n)
            self.one.note("blobs/x", 200.0 + n)
            self.successResultOf(self.one.flush())
        self.assertEqual(len(self.bucket.objects), 7)
        self.result(self.two.gather(103.0))
        expected = {f"blobs/{n}": 100.0 + n for n in range(3, 7)} | {"blobs/x": 206.0}
        self.assertEqual(self.logs(), [expected])
        self.result(self.two.gather(103.0))
        self.assertEqual(self.logs(), [expected])

    def test_nothing_is_lost(self) -> None:
        """The new log is there before the old ones are gone."""
        for n in range(3):
            self.one.note(f"blobs/{n}", 100.0 + n)
            self.successResultOf(self.one.flush())
        self.bucket.broken = True
        self.assertEqual(self.fails(self.two.gather(0), StoreError), "the server is down")
        self.assertEqual(len(self.bucket.objects), 3)

    def test_server_down(self) -> None:
        """What cannot be written down is kept, and written later; newer uses of it win."""
        self.one.note("blobs/a", 100.0)
        self.one.note("blobs/b", 100.0)
        self.bucket.broken = True
        self.clock.advance(INTERVAL)
        self.one.note("blobs/a", 200.0)
        self.bucket.broken = False
        self.clock.advance(INTERVAL)
        self.assertEqual(self.logs(), [{"blobs/a": 200.0, "blobs/b": 100.0}])

    def test_bounded(self) -> None:
        """Too many uses are written down sooner, and no more are remembered."""
        self.one = self.journal(JournalLimits(uses=10))
        for n in range(25):
            self.one.note(f"blobs/{n}", 100.0 + n)
            self.clock.advance(0)
        self.assertEqual(self.bucket.puts, 2)
        self.assertEqual([len(log) for log in self.logs()], [11, 11])
        self.assertEqual(self.one.last("blobs/0", 1.0), 1.0)
        self.assertEqual(self.one.last("blobs/24", 1.0), 124.0)

    def test_bounded_while_the_server_is_down(self) -> None:
        """With nowhere to write, memory does not grow."""
        self.one = self.journal(JournalLimits(uses=10))
        self.bucket.broken = True
        for n in range(100):
            self.one.note(f"blobs/{n}", 100.0 + n)
            self.clock.advance(0)
        self.assertEqual(self.one.last("blobs/99", 1.0), 199.0)
        self.bucket.broken = False
        self.clock.advance(INTERVAL)
        self.assertEqual(self.logs(), [{f"blobs/{n}": 100.0 + n for n in range(90, 100)}])

    def test_forgotten(self) -> None:
        """An object that is gone leaves no use behind."""
        self.one.note("blobs/a", 100.0)
        self.one.forget("blobs/a")
        self.assertEqual(self.one.last("blobs/a", 1.0), 1.0)
        self.successResultOf(self.one.flush())
        self.assertEqual(self.bucket.objects, {})

    def test_nonsense(self) -> None:
        """A log that cannot be read is removed with the others, and delays nothing."""
        self.bucket.objects[f"{LOG}/1"] = b"nonsense"
        self.bucket.objects[f"{LOG}/2"] = gzip.compress(b"[1]")
        self.bucket.objects[f"{LOG}/3"] = encode({"blobs/a": 5.0})
        self.result(self.one.gather(0))
        self.assertEqual(self.logs(), [{"blobs/a": 5.0}])


class StoredForm(SynchronousTestCase):
    """What is written."""

    @given(st.dictionaries(st.text(), st.floats(allow_nan=False)))
    def test_there_and_back(self, uses: dict[str, float]) -> None:
        """What is written is what is read."""
        self.assertEqual(decode(encode(uses)), uses)

    @given(
        st.binary()
        | st.recursive(st.none() | st.text(), st.lists).map(
            lambda value: gzip.compress(json.dumps(value).encode())
        )
    )
    def test_anything(self, data: bytes) -> None:
        """Whatever else is there is a ValueError."""
        self.assertRaises(ValueError, decode, data)

    def test_a_bomb(self) -> None:
        """What unpacks to more than a bucket's uses can be is not unpacked."""
        self.assertRaises(ValueError, decode, encode({"a" * 10_000: 1.0}), 1000)


class Time(SynchronousTestCase):
    """The clock."""

    def test_no_timer_is_left(self) -> None:
        """Once written down, nothing is waited for."""
        clock = Clock()
        made = Journal(cast(Bucket, FakeBucket()), cast(Any, run_at_once), clock)
        made.note("a", 1.0)
        self.successResultOf(made.flush())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """At the end nothing is waited for, even if the last uses cannot be written down."""
        clock, bucket = Clock(), FakeBucket()
        made = Journal(cast(Bucket, bucket), cast(Any, run_at_once), clock)
        made.note("a", 1.0)
        bucket.broken = True
        self.failureResultOf(made.stop(), StoreError)
        made.note("b", 2.0)
        self.assertEqual(clock.getDelayedCalls(), [])
