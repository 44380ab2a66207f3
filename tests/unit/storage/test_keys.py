"""Where things are in the store."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import (
    blob_key,
    check_key,
    history_key,
    hold_key,
    manifest_key,
    parse_blob_key,
    parse_history_key,
    parse_hold_key,
    parse_manifest_key,
    parse_pin_key,
    parse_referrers_key,
    parse_repository_path,
    parse_tag_key,
    pin_key,
    referrers_key,
    repository_path,
    tag_key,
    tags_prefix,
)

DIGESTS = st.one_of(
    st.binary(max_size=8).map(Digest.of),
    st.binary(max_size=8).map(lambda data: Digest.of(data, "sha512")),
)
HOSTS = st.sampled_from(
    ["docker.io", "localhost:5000", "[::1]:5000", "127.0.0.1:80", "a-b.example.com", "my__mirror"]
)
COMPONENT = st.from_regex(r"[a-zA-Z0-9]{1,5}((\.|_|__|-{1,2})[aA0]{1,5}){0,2}", fullmatch=True)
REPOSITORIES = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
PARTS = (
    *("pins", "_digests"),
    *("blobs", "repositories", "_manifests", "_tags", "sha256", "sha512", "docker.io", "Docker.io"),
    *("[::1]", "ab", "..", ".", "library", "x"),
)
ODD_PARTS = ("", "0" * 62, "0" * 126, "\0", "x" * 130)
JUNK = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=2).map(lambda data: blob_key(Digest.of(data))),
    st.from_regex(r"\Ablobs/sha256/[ab]{2}/[ab]{62,64}\Z"),
    st.lists(st.sampled_from([*PARTS, *ODD_PARTS]), max_size=8).map("/".join),
)
DIGEST = Digest.of(b"")


class Keys(SynchronousTestCase):
    """The layout, there and back."""

    def test_layout(self) -> None:
        """The layout is what directories filled by older programs and versions have."""
        encoded = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        path = f"sha256/e3/{encoded[2:]}"
        self.assertEqual(blob_key(DIGEST), f"blobs/{path}")
        self.assertEqual(manifest_key("quay.io", DIGEST), f"repositories/quay.io/_manifests/{path}")
        self.assertEqual(tag_key("quay.io", "a/b", "v1.0"), "repositories/quay.io/a/b/_tags/v1.0")
        self.assertEqual(tags_prefix("quay.io", "a/b"), "repositories/quay.io/a/b/_tags")
        self.assertEqual(
            referrers_key("quay.io", "a/b", DIGEST), f"repositories/quay.io/a/b/_referrers/{path}"
        )
        self.assertEqual(tag_key("hf.co", "Ab/cD", "V1"), "repositories/hf.co/!ab/c!d/_tags/V1")

    def test_single_names(self) -> None:
        """A namespace that is no host is found again as well."""
        for namespace in ("mirror", "my_mirror", "a__b", "my_registry:5000"):
            self.assertEqual((namespace, "a", "v1"), parse_tag_key(tag_key(namespace, "a", "v1")))
            manifest = manifest_key(namespace, DIGEST)
            self.assertEqual((namespace, DIGEST), parse_manifest_key(manifest))

    @given(DIGESTS, HOSTS, REPOSITORIES, TAGS)
    def test_round_trip(self, digest: Digest, host: str, repository: str, tag: str) -> None:
        """Each key is read as what it was made of, and as nothing else."""
        blob, manifest = blob_key(digest), manifest_key(host, digest)
        named = tag_key(host, repository, tag)
        self.assertEqual(parse_blob_key(blob), digest)
        self.assertEqual(parse_manifest_key(manifest), (host, digest))
        self.assertEqual(parse_tag_key(named), (host, repository, tag))
        referrers = referrers_key(host, repository, digest)
        self.assertEqual(parse_referrers_key(referrers), (host, repository, digest))
        history, hold = history_key(host, repository, tag), hold_key(host, repository, tag, digest)
        self.assertEqual(parse_history_key(history), (host, repository, tag))
        self.assertEqual(parse_hold_key(hold), (host, repository, tag, digest))
        path = repository_path(host, repository)
        self.assertEqual(parse_repository_path(path), (host, repository))
        self.assertTrue(named.startswith(f"repositories/{path}/_tags/"))
        for key in (history, hold, path):
            self.assertEqual(check_key(key), key)
            for parse in (parse_tag_key, parse_manifest_key, parse_blob_key, parse_referrers_key):
                self.assertIsNone(parse(key))
        self.assertIsNone(parse_hold_key(history))
        self.assertIsNone(parse_history_key(hold))
        pinned = pin_key(host, repository, Tag(tag)), pin_key(host, repository, digest)
        self.assertEqual(parse_pin_key(pinned[0]), (host, repository, Tag(tag)))
        self.assertEqual(parse_pin_key(pinned[1]), (host, repository, digest))
        for key in (blob, manifest, named, referrers, *pinned):
            self.assertEqual(check_key(key), key)
        for key in pinned:
            self.assertIsNone(parse_tag_key(key) or parse_blob_key(key) or parse_manifest_key(key))
        for key in (manifest, named, referrers):
            self.assertIsNone(parse_blob_key(key))
        for key in (blob, named, referrers):
            self.assertIsNone(parse_manifest_key(key))
        for key in (blob, manifest, referrers):
            self.assertIsNone(parse_tag_key(key))
        for key in (blob, manifest, named):
            self.assertIsNone(parse_referrers_key(key))
            self.assertIsNone(parse_pin_key(key))

    @given(st.tuples(HOSTS, REPOSITORIES, TAGS), st.tuples(HOSTS, REPOSITORIES, TAGS))
    def test_one_place_each(
        self, first: tuple[str, str, str], second: tuple[str, str, str]
    ) -> None:
        """Different tags never share a place, nor does one lie in the way of another."""
        one, other = tag_key(*first), tag_key(*second)
        self.assertEqual(one == other, first == second)
        # Nor do repositories share one where the file system knows no case.
        folders = [tags_prefix(*which[:2]).lower() for which in (first, second)]
        self.assertEqual(folders[0] == folders[1], first[:2] == second[:2])
        self.assertFalse(one.startswith(other + "/"))

    @given(JUNK)
    def test_junk(self, key: str) -> None:
        """What is read as the key of something is exactly the key that something has."""
        blob, manifest, tag = parse_blob_key(key), parse_manifest_key(key), parse_tag_key(key)
        if blob is not None:
            self.assertEqual(blob_key(blob), key)
        if manifest is not None:
            self.assertEqual(manifest_key(*manifest), key)
        if tag is not None:
            self.assertEqual(tag_key(*tag), key)
        pinned = parse_pin_key(key)
        if pinned is not None:
            self.assertEqual(pin_key(*pinned), key)

    def test_foreign_files(self) -> None:
        """Files with the wrong case, length, depth or characters are foreign."""
        encoded = DIGEST.encoded
        for path in (
            f"sha256/{encoded[:2]}/{encoded[2:-1]}",
            f"sha256/{encoded[:3]}/{encoded[3:]}",
            f"sha256/{encoded[:2].upper()}/{encoded[2:]}",
            f"sha256/{encoded}",
            f"sha256/{encoded[:2]}/{encoded[2:]}/x",
            f"sha256/{encoded[:2]}/{encoded[2:]}.tmp",
            f"md5/{encoded[:2]}/{encoded[2:]}",
            f"sha512/{encoded[:2]}/{encoded[2:]}",
        ):
            self.assertIsNone(parse_blob_key(f"blobs/{path}"))
            self.assertIsNone(parse_manifest_key(f"repositories/docker.io/_manifests/{path}"))
        for key in (
            "repositories/docker.io/_tags/latest",
            "repositories/Docker.io/library/x/_tags/latest",
            "repositories/docker.io/UPPER/_tags/latest",
            "repositories/docker.io/!/_tags/latest",
            "repositories/docker.io/!A/_tags/latest",
            "repositories/docker.io/a!/_tags/latest",
            "repositories/docker.io/!0/_tags/latest",
            "repositories/a/b/_manifests/_tags/latest",
            "repositories/docker.io/a/_tags/.hidden",
            "repositories/docker.io/a/_tags/b/c",
            "blobs/docker.io/a/_tags/latest",
        ):
            self.assertIsNone(parse_tag_key(key), key)

    @given(st.text(alphabet="./a\0\\", max_size=8))
    def test_no_way_out(self, key: str) -> None:
        """A key that passes stays below any root, whatever is in it."""
        parts = key.split("/")
        good = "\0" not in key and all(part not in ("", ".", "..") for part in parts)
        if good:
            self.assertEqual(check_key(key), key)
        else:
            self.assertRaises(ValueError, check_key, key)
