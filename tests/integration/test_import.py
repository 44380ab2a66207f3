"""Bundles into a store: right ones, incomplete ones, and hostile ones."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, TestCase

from oci_registry.commands.store import CommandStore
from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from tests.support import s3
from tests.support.bundles import (
    LAYOUT,
    Ran,
    add_image,
    bundle_of,
    command,
    described,
    image_parts,
    index_of,
    store_in,
    tree,
    write_tar,
)

BOTH = ("linux/amd64", "linux/arm64")
TAG = tag_key("docker.io", "library/x", "1")


class ImportTestCase(TestCase):
    """An image, and a store that does not exist yet."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.root = self.folder / "store"
        self.raw, self.blobs = image_parts("x", "linux/amd64")
        self.digest = Digest.of(self.raw)

    def load(self, *args: object) -> Ran:
        return command("import", *args, "--root", self.root)

    def pack(self, files: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
        return write_tar(self.folder / "bundle.tar", files, *others)

    def bundle(self, *tops: bytes, **notes: Any) -> dict[str, bytes]:
        return bundle_of(*(tops or (self.raw,)), blobs=self.blobs, **notes)

    def refused(self, path: Path, *args: object) -> str:
        before = tree(self.root)
        ran = self.load(path, *args)
        self.assertEqual((1, ""), (ran.status, ran.out), ran)
        self.assertEqual(before, tree(self.root))
        return ran.err

    def record(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.root / TAG).read_bytes())
        return found


class Importing(ImportTestCase):
    """What is stored, and under which name."""

    def test_stored(self) -> None:
        """Blobs, manifest and tag are stored as a daemon stores them."""
        ran = self.load(self.pack(self.bundle()))
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertIn(f"docker.io/library/x:1 {self.digest}", ran.out)
        keys = [blob_key(digest) for digest in self.blobs]
        stored = {TAG, manifest_key("docker.io", self.digest), *keys}
        self.assertEqual(stored, set(tree(self.root)))
        for key in keys:
            self.assertEqual(0o444, (self.root / key).stat().st_mode & 0o777)
        record = self.record()
        self.assertEqual((str(self.digest), True), (record["digest"], record["imported"]))

    def test_order(self) -> None:
        """The order of files in a bundle has no meaning."""
        other, blobs = image_parts("y", "linux/arm64")
        self.blobs |= blobs
        top = index_of({"linux/amd64": self.raw, "linux/arm64": other})
        files = self.bundle(top)
        files |= {f"blobs/sha256/{Digest.of(raw).encoded}": raw for raw in (self.raw, other)}
        names = sorted(files)
        for order in (names, names[::-1]):
            self.root = self.folder / f"store-{order[0][:2]}"
            ran = self.load(self.pack({name: files[name] for name in order}))
            self.assertEqual(0, ran.status, ran.err)
            self.assertIn("(linux/amd64, linux/arm64)", ran.out)
            self.assertEqual(1 + 3 + 4, len(tree(self.root)))

    def test_compressed(self) -> None:
        """A compressed bundle is the same; without the library there is a clear error."""
        plain = self.pack(self.bundle())
        packed = self.folder / "bundle.tar.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes()))
        self.assertEqual(0, self.load(packed).status)
        store = tree(self.root)
        bundle = self.folder / "again.tar.zst"
        with mock.patch.dict("sys.modules", {"zstandard": None}):
            ran = command("export", "x:1", "-o", bundle, "--root", self.root)
        self.assertEqual(1, ran.status)
        self.assertIn("pip install 'oci-registry[cli]'", ran.err)
        self.assertFalse(bundle.exists())
        try:
            import zstandard  # noqa: F401, PLC0415 - an extra
        except ImportError:
            raise SkipTest("zstandard is not installed") from None
        self.assertEqual(0, command("export", "x:1", "-o", bundle, "--root", self.root).status)
        self.root = self.folder / "other"
        self.assertEqual(0, self.load(bundle).status)
        self.assertEqual(set(store), set(tree(self.root)))
        bundle.write_bytes(bundle.read_bytes()[:-20])
        self.root = self.folder / "third"
        self.refused(bundle)

    def test_names(self) -> None:
        """A bundle without a full name needs one, and --as gives one to any."""
        short = {"org.opencontainers.image.ref.name": "9"}
        full = {"org.opencontainers.image.ref.name": "quay.io/a/b:2"}
        for notes, args, expected in (
            (short, ["--as", "x"], "docker.io/library/x:9"),
            (short, ["--as", "quay.io/c/d:3"], "quay.io/c/d:3"),
            ({}, ["--as", "x"], "docker.io/library/x:latest"),
            (full, [], "quay.io/a/b:2"),
            (full, ["--as", "x"], "docker.io/library/x:2"),
        ):
            ran = self.load(self.pack(self.bundle(annotations=notes)), *args)
            self.assertIn(f"{expected} {self.digest}", ran.out, ran.err)
        for notes in (short, {}):
            bundle = self.pack(self.bundle(annotations=notes))
            self.assertIn("give its full name with --as", self.refused(bundle))
        bad = {"io.containerd.image.name": "docker.io/../x:1"}
        self.assertIn("is not a repository", self.refused(self.pack(self.bundle(annotations=bad))))

    def test_several_images(self) -> None:
        """One name is not for several images, and two images do not get the same one."""
        other, blobs = image_parts("y", "linux/amd64")
        self.blobs |= blobs
        bundle = self.pack(self.bundle(self.raw, other))
        self.assertIn("has 2 images", self.refused(bundle, "--as", "x:1"))
        self.assertIn("the same name", self.refused(bundle))

    def test_known_tag(self) -> None:
        """A tag that is known stays as it is, and counts as used; one that means another image is moved."""
        top = add_image(store_in(self.root), "x:1")
        before = self.record()
        bundle = self.folder / "same.tar"
        command("export", "x:1", "-o", bundle, "--root", self.root)
        manifest = self.root / manifest_key("docker.io", top.digest)
        os.utime(manifest, (1, 1))
        self.load(bundle)
        self.assertEqual(before, self.record())
        self.assertGreater(manifest.stat().st_mtime, 1)
        ran = self.load(self.pack(self.bundle()))
        self.assertIn(f"before {top.digest}", ran.out)
        self.assertEqual(str(self.digest), self.record()["digest"])

    def test_part_of_an_index(self) -> None:
        """An index is stored with the platforms that the bundle has; the others are named."""
        other, _ = image_parts("y", "linux/arm64")
        files = self.bundle(index_of({"linux/amd64": self.raw, "linux/arm64": other}))
        name = f"blobs/sha256/{self.digest.encoded}"
        ran = self.load(self.pack(files | {name: self.raw}))
        self.assertIn("(linux/amd64), without linux/arm64", ran.out)
        index = json.loads(index_of({"linux/amd64": self.raw, "linux/arm64": other}))
        del index["manifests"][1]["platform"]
        files = self.bundle(json.dumps(index).encode())
        ran = self.load(self.pack(files | {name: self.raw}))
        self.assertIn(f"(linux/amd64), without {Digest.of(other)}", ran.out)
        self.root = self.folder / "other"
        self.assertIn("any such platform", self.refused(self.pack(files)))

    def test_json(self) -> None:
        """With --json there is one document."""
        document = json.loads(self.load(self.pack(self.bundle()), "--json").out)
        ((image,),) = [bundle["images"] for bundle in document["bundles"]]
        self.assertEqual("docker.io/library/x:1", image["name"])


class Incomplete(ImportTestCase):
    """What a bundle lacks."""

    def test_since(self) -> None:
        """What is left out must be in the store, or nothing is imported."""
        outside = self.folder / "outside"
        add_image(store_in(outside), "x:1", *BOTH)
        first, second = self.folder / "1.tar", self.folder / "2.tar"
        command("export", "x:1", "-o", first, "--root", outside)
        add_image(store_in(outside), "y:1")
        command("export", "x:1", "y:1", "-o", second, "--since", first, "--root", outside)
        error = self.refused(second)
        _, blobs = image_parts("x:1", "linux/amd64")
        for digest in blobs:
            self.assertIn(str(digest), error)
        self.assertIn("import the earlier bundle first", error)
        ran = self.load(first, second)
        self.assertEqual(0, ran.status, ran.err)
        stored, expected = tree(self.root), tree(outside)
        self.assertEqual(set(expected), set(stored))
        same = {name for name in expected if "_tags" not in name}
        self.assertEqual({n: expected[n] for n in same}, {n: stored[n] for n in same})

    def test_failing_store(self) -> None:
        """If the store fails on the way, nothing of the bundle stays."""
        bundle = self.pack(self.bundle())
        for method in ("add_tag", "add_manifest"):
            with mock.patch.object(CommandStore, method, side_effect=StoreError("disk full")):
                self.assertIn("disk full", self.refused(bundle))
        with mock.patch.object(CommandStore, "free", return_value=100):
            self.assertIn("needs more than the 100 B that are free", self.refused(bundle))
        with mock.patch.object(CommandStore, "add_tag", side_effect=KeyboardInterrupt):
            self.assertEqual(130, self.load(bundle).status)
        self.assertEqual({}, tree(self.root))

    def test_other_owner(self) -> None:
        """The superuser does not put files into the store of another user."""
        bundle = self.pack(self.bundle())
        owned = mock.patch("oci_registry.commands.store.owner_of", return_value=1234)
        with owned, mock.patch("os.geteuid", return_value=0):
            self.assertIn("belongs to user 1234", self.refused(bundle))

    def test_no_bundle(self) -> None:
        """If a bundle is missing, no store is made."""
        self.assertIn("No such file", self.load(self.folder / "missing.tar").err)
        self.assertFalse(self.root.exists())

    def test_wrong_blob_in_the_store(self) -> None:
        """A blob that the store is not sure of is written again."""
        digest, data = next(iter(self.blobs.items()))
        place = self.root / blob_key(digest)
        place.parent.mkdir(parents=True)
        place.write_bytes(b"x" * len(data))
        self.assertEqual(0, self.load(self.pack(self.bundle())).status)
        self.assertEqual(data, place.read_bytes())


class Hostile(ImportTestCase):
    """Bundles that somebody has made to do harm: nothing of them is stored."""

    def test_archives(self) -> None:
        """Names, links and devices that have no place in a bundle."""
        link = tarfile.TarInfo(f"blobs/sha256/{'a' * 64}")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        device = tarfile.TarInfo("blobs/sha256/null")
        device.type = tarfile.CHRTYPE
        for other in (link, device):
            self.assertIn("only files and folders", self.refused(self.pack(self.bundle(), other)))
        outside = {**self.bundle(), "../../outside": b"x"}
        self.assertIn("not a name below", self.refused(self.pack(outside)))
        self.assertFalse((self.folder.parent / "outside").exists())

    def test_wrong_digests(self) -> None:
        """Content that does not have its digest, whichever it is."""
        for name in [name for name in self.bundle() if name.startswith("blobs/")]:
            files = self.bundle()
            files[name] += b" "
            self.assertIn("is corrupt", self.refused(self.pack(files)))

    def test_twice(self) -> None:
        """A file that is there twice."""
        path = self.pack(self.bundle())
        with tarfile.open(path, "a") as tar:
            tar.addfile(tarfile.TarInfo("index.json"))
        self.assertIn("is there twice", self.refused(path))

    def test_wrong_sizes(self) -> None:
        """Sizes in a manifest or in the index that are not those of the content."""
        document = json.loads(self.raw)
        document["layers"][0]["size"] += 1
        self.assertIn(
            "needs blob", self.refused(self.pack(self.bundle(json.dumps(document).encode())))
        )
        files = self.bundle()
        index = json.loads(files["index.json"])
        index["manifests"][0]["size"] += 1
        files["index.json"] = json.dumps(index).encode()
        self.assertIn("as stated", self.refused(self.pack(files)))

    def test_malformed_documents(self) -> None:
        """Documents that are not what they should be, or are missing."""
        whole = self.bundle()
        huge = b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for name, data in (
            ("oci-layout", b"{}"),
            ("oci-layout", b"["),
            ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}'),
            ("oci-layout", b" " * 5000),
            ("index.json", b"[]"),
            ("index.json", b'{"manifests": [{}]}'),
            ("index.json", b'{"manifests": [{"digest": "sha256:../../x"}]}'),
            ("index.json", b'{"manifests": []}'),
            ("index.json", huge),
            ("index.json", b" " * 5_000_000),
        ):
            self.refused(self.pack({**whole, name: data}))
        for name in ("oci-layout", "index.json", f"blobs/sha256/{self.digest.encoded}"):
            self.refused(self.pack({key: data for key, data in whole.items() if key != name}))
        self.assertIn("no oci-layout", self.refused(self.pack({"manifest.json": b"[]"})))

    def test_no_manifests(self) -> None:
        """Images that are no manifests, too large, or indexes without an end."""
        self.refused(self.pack(self.bundle(b"no manifest")))
        self.refused(self.pack(self.bundle(b'{"a":"' + b"x" * 5_000_000 + b'"}')))
        raw, files = self.raw, {}
        for _ in range(10):
            value = {"schemaVersion": 2, "manifests": [described(raw, OCI_INDEX)]}
            files[f"blobs/sha256/{Digest.of(raw).encoded}"] = raw
            raw = json.dumps(value).encode()
        self.refused(self.pack({**self.bundle(raw), **files}))

    def test_bombs(self) -> None:
        """A compressed file that becomes huge is refused by what its header says, before it is read."""
        header = tarfile.TarInfo(f"blobs/sha256/{'0' * 64}")
        header.size = 2**41
        bomb = self.folder / "bomb.tar.gz"
        start = header.tobuf(tarfile.PAX_FORMAT) + bytes(50_000_000)
        bomb.write_bytes(gzip.compress(start, 1))
        self.assertIn("that are free in the store", self.refused(bomb))

    @given(st.integers(0, 9000), st.binary(min_size=1, max_size=20), st.booleans())
    def test_any_change(self, at: int, patch: bytes, in_json: bool) -> None:
        """Whatever is changed in a bundle, it is imported as a whole or refused in a sentence."""
        files = self.bundle()
        if in_json:
            index = files["index.json"]
            place = at % len(index)
            files["index.json"] = index[:place] + patch + index[place + len(patch) :]
        path = self.pack(files)
        if not in_json:
            data = bytearray(path.read_bytes())
            data[at : at + len(patch)] = patch
            path.write_bytes(data)
        self.root = Path(mkdtemp(dir=self.folder))
        ran = self.load(path)
        if ran.status:
            self.assertEqual((1, {}), (ran.status, tree(self.root)))
            self.assertTrue(ran.err.startswith("oci-registry import: "), ran.err)
        else:
            self.assertEqual(4, len(tree(self.root)), ran)

    def test_no_bundles(self) -> None:
        """Files that are no bundles at all."""
        for data in (b"", b"x", b"x" * 10_000, b"\x28\xb5\x2f\xfdxxxx", b"\x1f\x8bxxxx", LAYOUT):
            path = self.folder / "none"
            path.write_bytes(data)
            self.refused(path)
        self.refused(self.folder / "missing.tar")
        self.refused(self.folder)


class Buckets(ImportTestCase):
    """A bucket in place of the directory."""

    def test_there_and_back(self) -> None:
        """An image is the same after it was in a bucket."""
        bucket = s3.new_bucket(str(self.folder / "spool"))
        environ = {
            "S3_BUCKET": bucket.bucket,
            "S3_HOST": str(bucket.endpoint),
            "S3_ACCESS_KEY": "testkey",
            "S3_SECRET_KEY": "testsecret",
            "S3_SPOOL": bucket.spool,
        }
        add_image(store_in(self.root), "x:1", *BOTH)
        first, second = self.folder / "1.tar", self.folder / "2.tar"
        command("export", "x:1", "-o", first, "--root", self.root)
        ran = command("import", first, **environ)
        self.assertEqual(0, ran.status, ran.err)
        ran = command("export", "x:1", "-o", second, "s3", "--bucket", bucket.bucket, **environ)
        self.assertEqual(0, ran.status, ran.err)
        self.assertEqual(first.read_bytes(), second.read_bytes())
        self.assertEqual([], os.listdir(bucket.spool))
