"""The account against a model, over any order of pulls, removals, crashes and rebuilds."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.account.nouns import on_disk, unpack
from oci_registry.spec.digest import Digest, digests_in
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.storage.keys import (
    blob_key,
    manifest_key,
    parse_blob_key,
    parse_manifest_key,
    parse_tag_key,
)
from oci_registry.storage.tags import TagRecord
from tests import examples
from tests.unit.account.support import HUB, OWN, AccountTestCase

SETTINGS = settings(max_examples=examples(0.4), stateful_step_count=30)
HOSTS = st.sampled_from([HUB, OWN])
NUMBERS = st.integers(0, 5)


class Machine(RuleBasedStateMachine):
    """A store with an account; the medium itself is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.case = AccountTestCase("run")
        self.case.setUp()
        self.images: list[Digest] = []
        self.unseen = False
        """Whether somebody else has changed the store since the last comparison."""

    def teardown(self) -> None:
        self.case.doCleanups()

    @property
    def objects(self) -> dict[str, tuple[bytes, ObjectInfo]]:
        return self.case.driver._objects

    # -- what clients do

    @rule(number=NUMBERS, size=st.integers(0, 2))
    def blob(self, number: int, size: int) -> None:
        """A blob is downloaded; its size may differ from that of an earlier one."""
        digest = Digest.of(b"%d" % number)
        writer = self.case.successResultOf(self.case.observed.create(blob_key(digest)))
        writer.append(b"x" * size * 4000)
        self.case.successResultOf(writer.commit())
        self.case.observed.touch(blob_key(digest), self.case.clock.seconds())

    @rule(layers=st.lists(NUMBERS, max_size=3), host=HOSTS)
    def image(self, layers: list[int], host: str) -> None:
        """A manifest is stored."""
        self.images.append(self.case.image(*(Digest.of(b"%d" % n) for n in layers), host=host))

    @rule(data=st.data(), host=HOSTS)
    def index(self, data: st.DataObject, host: str) -> None:
        """An index is stored."""
        if self.images:
            children = data.draw(st.lists(st.sampled_from(self.images), max_size=2))
            self.images.append(self.case.image(*children, host=host, index=True))

    @rule(data=st.data(), host=HOSTS, name=st.sampled_from("ab"))
    def tag(self, data: st.DataObject, host: str, name: str) -> None:
        """A tag is confirmed."""
        if self.images:
            self.case.tag(name, data.draw(st.sampled_from(self.images)), host)

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        """Something is used."""
        if self.objects:
            key = data.draw(st.sampled_from(sorted(self.objects)))
            if parse_tag_key(key) is None:
                self.case.observed.touch(key, self.case.clock.seconds())

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Something is evicted."""
        if self.objects:
            key = data.draw(st.sampled_from(sorted(self.objects)))
            self.case.successResultOf(self.case.observed.delete(key))

    # -- what happens

    @rule(seconds=st.sampled_from([1.0, 70.0, 90000.0]))
    def wait(self, seconds: float) -> None:
        """Time passes, and batches are written."""
        self.case.clock.advance(seconds)
        self.case.wait(2)
        self.unseen = self.unseen and seconds < 86400

    @rule(number=NUMBERS)
    def somebody_else(self, number: int) -> None:
        """Another process stores or removes a blob."""
        key = blob_key(Digest.of(b"%d" % number))
        if self.objects.pop(key, None) is None:
            self.case.driver.place(key, b"other", sealed=False)
        self.unseen = True

    @rule()
    def crash(self) -> None:
        """Changes that are not written are lost."""
        self.case.crash()
        self.unseen = False

    @rule()
    def restart(self) -> None:
        """The daemon stops and starts."""
        self.case.successResultOf(Deferred.fromCoroutine(self.case.account.stop()))
        self.case.begin()

    @rule(end=st.sampled_from(["", "-wal"]))
    def lose(self, end: str) -> None:
        """The file is removed."""
        path = self.case.path + end
        if os.path.exists(path):
            os.unlink(path)
            self.case.wait(3)
            self.unseen = False

    @rule()
    def damage(self) -> None:
        """The file is overwritten while the daemon is down."""
        self.case.account._stopped = True
        self.case.account._database._close()
        Path(self.case.path).write_bytes(b"\x00\xff" * 20000)
        self.case.begin()
        self.unseen = False

    # -- what must be true

    @invariant()
    def same(self) -> None:
        """What the account knows is what is stored, as soon as it is complete."""
        if self.unseen:
            return
        found = self.case.rows("blobs JOIN content ON id=content", "digest, size")
        assert self.case.account.is_complete
        blobs = {
            parse_blob_key(key): info.size
            for key, (_, info) in self.objects.items()
            if parse_blob_key(key) is not None
        }
        assert {unpack(digest): size for digest, size in found} == blobs  # type: ignore[arg-type]
        manifests = {parse_manifest_key(key): key for key in self.objects if "/_manifests/" in key}
        rows = self.case.rows(
            "manifests m JOIN hosts h ON h.id=m.host JOIN content c ON c.id=m.content",
            "h.name, c.digest",
        )
        assert {(host, unpack(digest)) for host, digest in rows} == set(manifests)  # type: ignore[arg-type]
        tags = {
            (*parse_tag_key(key), TagRecord.from_json(data).digest)  # type: ignore[misc]
            for key, (data, _) in self.objects.items()
            if "/_tags/" in key
        }
        rows = self.case.rows(
            "tags t JOIN repositories r ON r.id=t.repository JOIN hosts h ON h.id=r.host"
            " JOIN content c ON c.id=t.content WHERE t.current",
            "h.name, r.name, t.tag, c.digest",
        )
        assert {(h, r, t, unpack(d)) for h, r, t, d in rows} == tags  # type: ignore[arg-type]
        edges = {
            (parsed[1], child)
            for parsed, key in manifests.items()
            if parsed is not None
            for child in digests_in(self.objects[key][0])
        }
        rows = self.case.rows(
            "edges e JOIN content p ON p.id=e.parent JOIN content c ON c.id=e.child",
            "p.digest, c.digest",
        )
        assert {(unpack(p), unpack(c)) for p, c in rows} == edges  # type: ignore[arg-type]

    @invariant()
    def sums(self) -> None:
        """The sums are those of the entries."""
        self.case.rows("meta")
        state = self.case.account.state
        assert state is not None
        sizes = [
            size for table in ("blobs", "manifests") for (size,) in self.case.rows(table, "size")
        ]
        assert (state.sums.objects, state.sums.size) == (len(sizes), sum(sizes))  # type: ignore[arg-type]
        tags = len(self.case.rows("tags WHERE current"))
        assert state.sums.disk == sum(map(on_disk, sizes)) + 4096 * tags  # type: ignore[arg-type]

    @invariant()
    def uses(self) -> None:
        """What an image needs was used when the image was, or later; nothing before its file was."""
        late = self.case.rows(
            "manifests m JOIN edges e ON e.parent=m.content JOIN blobs b ON b.content=e.child"
            " WHERE b.used<m.used"
        )
        late += self.case.rows(
            "manifests m JOIN edges e ON e.parent=m.content"
            " JOIN manifests n ON n.content=e.child AND n.host=m.host WHERE n.used<m.used"
        )
        assert late == []
        if self.unseen:
            return
        for host, digest, used in self.case.rows(
            "manifests m JOIN hosts h ON h.id=m.host JOIN content c ON c.id=m.content",
            "h.name, c.digest, m.used",
        ):
            key = manifest_key(str(host), unpack(digest))  # type: ignore[arg-type]
            assert used >= self.objects[key][1].used  # type: ignore[operator]


class Model(SynchronousTestCase):
    """The account, and the model."""

    def test_anything(self) -> None:
        """Whatever happens, the account has what the store has."""
        run_state_machine_as_test(Machine, settings=SETTINGS)
