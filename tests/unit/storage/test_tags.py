"""What tags mean, in a store and in memory."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import tag_key
from oci_registry.storage.tags import REWRITTEN, TagRecord, TagStore, Waiting
from tests.unit.storage.support import HOST, StoreTestCase

RECORD = TagRecord(Digest.of(b"x"), "application/json", 1.5)
OTHER = TagRecord(Digest.of(b"y", "sha512"), "text/plain", 2.0)


class Tags(StoreTestCase):
    """A store of tags."""

    def setUp(self) -> None:
        super().setUp()
        self.store = TagStore(self.driver)

    def put(self, repository: str, tag: str, record: TagRecord = RECORD) -> None:
        """Put a record, in memory and on the medium."""
        self.store.remember(HOST, repository, tag, record)
        self.result(self.store.put(HOST, repository, tag, record))

    def get(self, repository: str, tag: str, store: TagStore | None = None) -> TagRecord | None:
        """Get a record."""
        return self.result((store or self.store).get(HOST, repository, tag))

    def test_there_and_back(self) -> None:
        """A record is kept, replaced and removed, on the medium and in memory alike."""
        self.assertIsNone(self.get("a", "v1"))
        for record in (RECORD, OTHER):
            self.put("a", "v1", record)
            self.assertEqual(self.store.recall(HOST, "a", "v1"), record)
            for store in (self.store, TagStore(self.driver)):
                self.assertEqual(self.get("a", "v1", store), record)
                self.assertEqual(self.result(store.peek(HOST, "a", "v1")), record)
        self.assertTrue(self.result(self.store.delete(HOST, "a", "v1")))
        self.assertIsNone(self.store.recall(HOST, "a", "v1"))
        self.assertIsNone(self.get("a", "v1"))
        self.assertFalse(self.result(self.store.delete(HOST, "a", "v1")))

    def test_removed_while_read(self) -> None:
        """A record that is removed while it is read is not kept in memory, whoever removes it."""
        self.result(TagStore(self.driver).put(HOST, "a", "v1", RECORD))
        for remove in (
            lambda: self.store.drop(HOST, "a", "v1"),
            lambda: Deferred.fromCoroutine(self.store.delete(HOST, "a", "v1")),
        ):
            late: Deferred[bytes | None] = Deferred()
            with patch.object(self.driver, "get", return_value=late):
                reading = Deferred.fromCoroutine(self.store.get(HOST, "a", "v1"))
            remove()
            late.callback(RECORD.to_json())
            self.successResultOf(reading)
            self.assertIsNone(self.store.recall(HOST, "a", "v1"))

    @given(
        st.sampled_from(["sha256", "sha512"]),
        st.text(max_size=30),
        st.floats(min_value=0, allow_infinity=False),
    )
    def test_stored_form(self, algorithm: str, media_type: str, checked: float) -> None:
        """Every record is read back as it was written."""
        record = TagRecord(Digest.of(b"", algorithm), media_type, checked)
        self.assertEqual(TagRecord.from_json(record.to_json()), record)

    @given(
        st.one_of(
            st.binary(max_size=30),
            st.recursive(
                st.one_of(st.none(), st.integers(), st.text(max_size=5)),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=3),
                    st.dictionaries(
                        st.sampled_from(["digest", "mediaType", "checked"]), inner, max_size=3
                    ),
                ),
            ).map(lambda value: json.dumps(value).encode()),
        )
    )
    def test_damaged(self, data: bytes) -> None:
        """Anything else is no record, which is a ValueError and nothing worse."""
        self.assertRaises(ValueError, TagRecord.from_json, data)

    def test_older_versions(self) -> None:
        """What a version before the minimum age has written is read, and it reads what we write."""
        old = {"digest": str(RECORD.digest), "mediaType": "t", "checked": 1.5}
        record = TagRecord.from_json(json.dumps(old).encode())
        self.assertEqual(TagRecord(RECORD.digest, "t", 1.5), record)
        self.assertEqual((1.5, RECORD.digest), (record.since, record.named))
        waiting = Waiting(OTHER.digest, 1.25)
        new = evolve(record, first=1.0, waiting=waiting, imported=True)
        written = json.loads(new.to_json())
        self.assertEqual(old, {key: written[key] for key in old})
        self.assertLess(len(new.to_json()), 4096)
        read = TagRecord.from_json(new.to_json())
        self.assertEqual((new, 1.0, OTHER.digest), (read, read.since, read.named))

    def test_renew(self) -> None:
        """A record in memory can be replaced by an equal one; nothing else happens."""
        self.store.renew(HOST, "a", "v1")
        self.assertIsNone(self.store.recall(HOST, "a", "v1"))
        self.put("a", "v1")
        before = self.store.recall(HOST, "a", "v1")
        self.store.renew(HOST, "a", "v1")
        after = self.store.recall(HOST, "a", "v1")
        self.assertEqual(before, after)
        self.assertIsNot(before, after)
        self.assertTrue(self.store.is_stored(HOST, "a", "v1", RECORD))

    def test_damaged_in_the_details(self) -> None:
        """A record with one wrong value is no record."""
        good: dict[str, Any] = json.loads(RECORD.to_json())
        for key, value in (
            ("digest", "sha256:x"),
            ("digest", 5),
            ("digest", None),
            ("checked", "soon"),
            ("checked", None),
            ("checked", float("inf")),
            ("checked", float("nan")),
            ("checked", []),
            ("first", "soon"),
            ("first", float("inf")),
            ("waiting", "x"),
            ("waiting", {"digest": str(OTHER.digest)}),
            ("waiting", {"digest": "x", "since": 1.0}),
            ("waiting", {"digest": str(OTHER.digest), "since": float("nan")}),
        ):
            data = json.dumps({**good, key: value}).encode()
            self.assertRaises(ValueError, TagRecord.from_json, data)

    def test_damaged_files(self) -> None:
        """A damaged or huge file counts as no record, and is replaced by the next."""
        key = tag_key(HOST, "a", "v1")
        for data in (b"", b"{", b"[" * 4096, b"x" * 5000, RECORD.to_json() + b" " * 5000):
            self.driver.place(key, data, sealed=True)
            store = TagStore(self.driver)
            self.assertIsNone(self.get("a", "v1", store))
            self.assertIsNone(self.result(store.peek(HOST, "a", "v1")))
        self.put("a", "v1")
        self.assertEqual(self.get("a", "v1", TagStore(self.driver)), RECORD)

    def test_names(self) -> None:
        """The tags of a repository are listed in order, and those of no other."""
        for tag in ("v2", "latest", "v10", "Z"):
            self.put("a", tag)
        for repository in ("a/b", "b", "ab"):
            self.put(repository, "other")
        self.driver.place(f"repositories/{HOST}/a/_tags/.tmp", b"", sealed=False)
        self.driver.place(f"repositories/{HOST}/a/_tags/x/_tags/y", b"", sealed=False)
        names = self.result(self.store.names(HOST, "a", 100))
        self.assertEqual(names, ["Z", "latest", "v10", "v2"])
        self.assertEqual(len(self.result(self.store.names(HOST, "a", 2))), 2)
        self.assertEqual(self.result(self.store.names("other.com", "a", 100)), [])

    def test_list(self) -> None:
        """All tags of all registries are listed."""
        self.put("a", "v1")
        self.put("a/b", "v1")
        self.driver.place(f"repositories/{HOST}/_manifests/x", b"", sealed=False)
        listed = {(host, name, tag) for host, name, tag, _ in self.listed(self.store.list())}
        self.assertEqual(listed, {(HOST, "a", "v1"), (HOST, "a/b", "v1")})

    def test_gone(self) -> None:
        """A tag that is gone stays so while the medium still has its record, until it is put again."""
        self.put("a", "v1")
        self.store.forget(HOST, "a", "v1")
        for _ in range(2):
            self.assertIsNone(self.store.recall(HOST, "a", "v1"))
            self.assertIsNone(self.get("a", "v1"))
            self.assertIsNone(self.result(self.store.peek(HOST, "a", "v1")))
            self.assertFalse(self.store.is_stored(HOST, "a", "v1", RECORD))
            self.result(self.store.delete(HOST, "a", "v1"))
        self.put("a", "v1", OTHER)
        self.assertEqual(self.get("a", "v1"), OTHER)

    def test_gone_while_it_is_written(self) -> None:
        """The same if its record was still being written when upstream said that it is gone."""
        gate: Deferred[None] = Deferred()
        with patch.object(self.driver, "put", return_value=gate):
            writing = Deferred.fromCoroutine(self.store.put(HOST, "a", "v1", RECORD))
        self.store.forget(HOST, "a", "v1")
        gate.callback(None)
        self.successResultOf(writing)
        self.assertFalse(self.store.is_stored(HOST, "a", "v1", RECORD))

    def test_is_stored(self) -> None:
        """The medium has a record if nothing but its time has changed since, and that by little."""

        def is_stored(record: TagRecord, store: TagStore = self.store) -> bool:
            return store.is_stored(HOST, "a", "v1", record)

        self.assertFalse(is_stored(RECORD))
        self.put("a", "v1")
        again = TagStore(self.driver)
        self.get("a", "v1", again)
        for store in (self.store, again):
            self.assertTrue(is_stored(evolve(RECORD, checked=REWRITTEN), store))
            self.assertFalse(is_stored(evolve(RECORD, checked=1.5 + REWRITTEN), store))
            self.assertFalse(is_stored(evolve(RECORD, checked=1.0), store))
            self.assertFalse(is_stored(evolve(RECORD, media_type="text/plain"), store))
            self.assertFalse(is_stored(evolve(RECORD, digest=OTHER.digest), store))
        self.result(self.store.delete(HOST, "a", "v1"))
        self.assertFalse(is_stored(RECORD))
        self.driver.broken = "I/O error"
        self.fails(self.store.put(HOST, "a", "v1", RECORD), StoreError)
        self.assertFalse(is_stored(RECORD))

    def test_read_once(self) -> None:
        """A caller that asks while a record is read waits for it; what upstream says meanwhile is newer."""
        for said in (None, OTHER):
            store, gate = TagStore(self.driver), Deferred[bytes]()
            with patch.object(self.driver, "get", return_value=gate) as read:
                asked = [Deferred.fromCoroutine(store.get(HOST, "a", "v1")) for _ in range(20)]
            self.assertEqual(1, read.call_count)
            if said is not None:
                store.remember(HOST, "a", "v1", said)
            gate.callback(RECORD.to_json())
            self.assertEqual([said or RECORD] * 20, [self.successResultOf(one) for one in asked])

    def test_medium_fails(self) -> None:
        """When the medium fails, what is in memory holds."""
        self.driver.broken = "I/O error"
        self.store.remember(HOST, "a", "v1", RECORD)
        work = self.store.put(HOST, "a", "v1", RECORD)
        self.assertEqual(self.fails(work, StoreError), "I/O error")
        self.assertEqual(self.get("a", "v1"), RECORD)
        self.fails(TagStore(self.driver).get(HOST, "a", "v1"), StoreError)

    def test_bounded(self) -> None:
        """No more than so many records are in memory; the oldest go first."""
        self.store = TagStore(self.driver, remembered=3)
        for number in range(5):
            self.put("a", f"v{number}")
        known = [n for n in range(5) if self.store.recall(HOST, "a", f"v{n}")]
        self.assertEqual(known, [2, 3, 4])
        self.assertEqual(self.get("a", "v0"), RECORD)
        self.assertIsNone(self.store.recall(HOST, "a", "v2"))
