"""What a scrub reports, and the stored form of its progress."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.scrub.nouns import Counts, Fault, Kind, Outcome, Progress, Subject
from oci_registry.scrub.report import sentence
from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key, tag_key

TIMES = st.floats(min_value=0, max_value=1e12)
NUMBERS = st.integers(min_value=0, max_value=2**60)
DIGEST = Digest.of(b"x")
NAMES = st.sampled_from(["began", "updated", "ended", "owner", "after", "counts", "objects"])
DOCUMENTS = st.recursive(
    st.none() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


class StoredForm(SynchronousTestCase):
    """`Progress` as JSON."""

    @given(
        st.builds(
            Progress,
            TIMES,
            TIMES,
            st.text(),
            st.just("")
            | st.text().map("blobs/{}".format)
            | st.text().map("repositories/{}".format),
            TIMES,
            st.builds(Counts, *[NUMBERS] * 8),
        )
    )
    def test_round_trip(self, progress: Progress) -> None:
        """What is stored is what was there."""
        self.assertEqual(progress, Progress.from_json(progress.to_json()))

    @given(st.binary() | DOCUMENTS.map(lambda value: json.dumps(value).encode()))
    def test_anything(self, data: bytes) -> None:
        """Anything else is a ValueError."""
        try:
            Progress.from_json(data)
        except ValueError:
            return

    def test_position(self) -> None:
        """A position that is no key would skip everything."""
        progress = Progress(1.0, 1.0, "", "zzz")
        self.assertRaises(ValueError, Progress.from_json, progress.to_json())

    def test_infinite(self) -> None:
        """Times are finite."""
        progress = Progress(float("inf"), 0.0, "")
        self.assertRaises(ValueError, Progress.from_json, progress.to_json())


class Subjects(SynchronousTestCase):
    """What belongs at which key."""

    def test_kinds(self) -> None:
        """Each kind is known by its key, and named in the log."""
        for key, kind, name in (
            (blob_key(DIGEST), Kind.BLOB, f"blob {DIGEST}"),
            (manifest_key("quay.io", DIGEST), Kind.MANIFEST, f"manifest {DIGEST} of quay.io"),
            (tag_key("quay.io", "a/b", "1"), Kind.TAG, "tag quay.io/a/b:1"),
            (
                referrers_key("quay.io", "a/b", DIGEST),
                Kind.REFERRERS,
                f"list of referrers of quay.io/a/b@{DIGEST}",
            ),
        ):
            subject = Subject.at(key)
            assert subject is not None
            self.assertEqual((key, kind, name), (subject.key, subject.kind, str(subject)))

    def test_others(self) -> None:
        """Nothing else is checked."""
        for key in ("blobs/x", "transfers/x", f"quarantine/{blob_key(DIGEST)}", "scrub/progress"):
            self.assertIsNone(Subject.at(key))

    def test_sentence(self) -> None:
        """The log says what is wrong, what was done, and which images need it."""
        subject = Subject(blob_key(DIGEST), Kind.BLOB, DIGEST)
        fault = Fault(
            subject, 5, "it is short", Outcome.REMOVED, ("quay.io/a/b:1", "2 more"), None, True
        )
        self.assertEqual(
            f"blob {DIGEST} (5 bytes) is corrupt: it is short; removed, stored again; "
            "needed by quay.io/a/b:1, 2 more",
            sentence(fault),
        )
        fault = Fault(subject, 5, "it is short", Outcome.LEFT, (), "read-only")
        self.assertTrue(sentence(fault).endswith("; left in place: read-only"))
