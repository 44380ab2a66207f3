"""Stored images as bundles."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.keys import blob_key, manifest_key
from oci_registry.storage.tags import TagRecord
from tests.support.bundles import (
    Ran,
    add_image,
    command,
    described,
    image_parts,
    store_in,
    tree,
    write_tar,
)

BOTH = ("linux/amd64", "linux/arm64")


class ExportTestCase(TestCase):
    """A store with an image for two platforms, one for one, and one that is incomplete."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.root = self.folder / "store"
        store = store_in(self.root)
        self.top = add_image(store, "x:1", *BOTH)
        self.plain = add_image(store, "quay.io/a/b:1")
        self.partial = add_image(store, "y:1", *BOTH, without=("linux/arm64",))
        self.bundle = self.folder / "bundle.tar"

    def export(self, *args: object) -> Ran:
        return command("export", *args, "-o", self.bundle, "--root", self.root)

    def members(self, path: Path | None = None) -> dict[str, bytes]:
        with tarfile.open(path or self.bundle) as tar:
            return {
                info.name: tar.extractfile(info).read()
                for info in tar.getmembers()
                if info.isfile()
            }

    def digests(self) -> set[str]:
        return {name.rpartition("/")[2] for name in self.members() if name.startswith("blobs/")}

    def refused(self, *args: object) -> str:
        ran = self.export(*args)
        self.assertEqual(1, ran.status)
        self.assertEqual(["store"], os.listdir(self.folder))
        return ran.err


class Exporting(ExportTestCase):
    """What is in a bundle, and what is refused."""

    def test_bundle(self) -> None:
        """Images are in it byte for byte, with their names, and the same store gives the same bundle."""
        ran = self.export("x:1", "quay.io/a/b:1")
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertIn(
            f"docker.io/library/x:1 {self.top.digest} (linux/amd64, linux/arm64)", ran.out
        )
        members = self.members()
        self.assertEqual({"imageLayoutVersion": "1.0.0"}, json.loads(members["oci-layout"]))
        entries = json.loads(members["index.json"])["manifests"]
        names = [entry["annotations"]["io.containerd.image.name"] for entry in entries]
        self.assertEqual(["docker.io/library/x:1", "quay.io/a/b:1"], names)
        for name, data in members.items():
            if name.startswith("blobs/"):
                self.assertEqual(name, f"blobs/sha256/{Digest.of(data).encoded}")
        self.assertEqual(3 + 2 * 3 + 1, len(self.digests()))
        first = self.bundle.read_bytes()
        self.export("quay.io/a/b:1", "docker.io/library/x:1", "x:1")
        self.assertEqual(first, self.bundle.read_bytes())

    def test_ref_names(self) -> None:
        """An image is selected by its tag, or by its full name if several have the tag."""
        key = "org.opencontainers.image.ref.name"
        for args, expected in (
            (["x:1"], ["1"]),
            (["x:1", "quay.io/a/b:1"], ["docker.io/library/x:1", "quay.io/a/b:1"]),
            ([f"x@{self.top.digest}"], [None]),
        ):
            self.export(*args)
            entries = json.loads(self.members()["index.json"])["manifests"]
            self.assertEqual(expected, [entry["annotations"].get(key) for entry in entries])

    def test_platforms(self) -> None:
        """A part of an index keeps the index as it is."""
        self.assertEqual(0, self.export("x:1", "--platform", "linux/arm64").status)
        raw, blobs = image_parts("x:1", "linux/arm64")
        wanted = {self.top.digest, Digest.of(raw), *blobs}
        self.assertEqual({digest.encoded for digest in wanted}, self.digests())
        self.assertIn(self.top.raw, self.members().values())

    def test_stored_platforms(self) -> None:
        """Platforms that are not stored can be left out."""
        self.assertIn("--platform stored", self.refused("y:1"))
        ran = self.export("y:1", "--platform", "stored")
        self.assertEqual(0, ran.status)
        self.assertIn("(linux/amd64), without linux/arm64", ran.out)

    def test_not_distributed(self) -> None:
        """A layer that registries do not distribute may be missing, which is said."""
        absent = Digest.of(b"windows")
        layers = [
            {**described(b"windows", "application/vnd.oci.image.layer.nondistributable.v1.tar")}
        ]
        config = image_parts("w", "linux/amd64")[1]
        (first, *_), store = config, store_in(self.root)
        store.add_blob(first, len(config[first]), iter([config[first]]))
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described(config[first], "application/vnd.oci.image.config.v1+json"),
            "layers": layers,
        }
        made = Manifest.read(json.dumps(document).encode(), OCI_MANIFEST)
        store.add_manifest("docker.io", made, "library/w")
        record = TagRecord(made.digest, made.media_type, 1.0)
        store.add_tag(parse_image("docker.io/library/w:1"), record)
        said = f"docker.io/library/w:1: without {absent}, which registries do not distribute"
        ran = self.export("w:1")
        self.assertEqual(0, ran.status)
        self.assertIn(said, ran.err)
        ran = command("import", self.bundle, "--root", self.folder / "other")
        self.assertEqual(0, ran.status)
        self.assertIn(said, ran.err)

    def test_incomplete(self) -> None:
        """An incomplete image is named with what is missing, and can be left out."""
        raw, _ = image_parts("y:1", "linux/arm64")
        self.assertIn(f"{Digest.of(raw)} (linux/arm64) is missing", self.refused("x:1", "y:1"))
        self.assertIn("docker.io/library/z:1 is not stored", self.refused("x:1", "z:1"))
        ran = self.export("x:1", "y:1", "z:1", "--skip-incomplete")
        self.assertEqual(1, ran.status)
        (entry,) = json.loads(self.members()["index.json"])["manifests"]
        self.assertEqual(str(self.top.digest), entry["digest"])

    def test_wrong_blob(self) -> None:
        """A blob that does not match its digest is named, and no bundle is left."""
        _, blobs = image_parts("x:1", "linux/amd64")
        digest, data = max(blobs.items(), key=lambda item: len(item[1]))
        path = self.root / blob_key(digest)
        path.chmod(0o644)
        path.write_bytes(data[:-1] + b"!")
        self.assertIn(f"the stored blob {digest} is corrupt", self.refused("x:1"))
        path.write_bytes(data[:-1])
        self.assertIn(f"blob {digest} is missing", self.refused("x:1"))
        self.assertTrue(path.exists())

    def test_wrong_manifest(self) -> None:
        """A manifest that does not match its digest is named, and stays in the store for the daemon to see."""
        path = self.root / manifest_key("docker.io", self.top.digest)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b" ")
        self.assertIn("is corrupt", self.refused("x:1"))
        self.assertTrue(path.exists())

    def test_store_is_unchanged(self) -> None:
        """The store is only read."""
        before, times = tree(self.root), {p: p.stat().st_mtime_ns for p in self.root.rglob("*")}
        self.export("x:1", "quay.io/a/b:1")
        self.assertEqual(before, tree(self.root))
        self.assertEqual(times, {p: p.stat().st_mtime_ns for p in self.root.rglob("*")})

    def test_since(self) -> None:
        """Blobs of an earlier bundle are left out, manifests are not."""
        self.export("x:1")
        earlier = self.folder / "earlier.tar"
        self.bundle.rename(earlier)
        ran = self.export("x:1", "quay.io/a/b:1", "--since", earlier)
        self.assertIn("2 images, 2 blobs", ran.out)
        self.assertIn("4 blobs left out", ran.out)
        self.assertEqual(3 + 1 + 2, len(self.digests()))
        ran = self.export("x:1", "--since", write_tar(self.folder / "no.tar", {"../x": b""}))
        self.assertEqual(1, ran.status)

    def test_json(self) -> None:
        """With --json there is one document, also for an error."""
        document = json.loads(self.export("x:1", "--json").out)
        self.assertEqual((4, []), (document["blobs"], document["problems"]))
        (image,) = document["images"]
        self.assertEqual(list(BOTH), image["platforms"])
        (problem,) = json.loads(self.export("z:1", "--json").out)["problems"]
        self.assertIn("z:1 is not stored", problem)

    def test_no_store(self) -> None:
        """Without a store, or without a place for the bundle, there is an error."""
        ran = command("export", "x:1", "-o", self.bundle, "--root", self.folder / "other")
        self.assertEqual(1, ran.status)
        self.assertIn("there is no store in", ran.err)
        self.assertEqual(["store"], os.listdir(self.folder))
        self.bundle = self.folder / "nowhere" / "bundle.tar"
        self.assertIn("No such file", self.refused("x:1"))


class OtherTools(ExportTestCase):
    """Bundles as skopeo reads and writes them."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("skopeo") is None:
            raise SkipTest("skopeo is not installed")

    def copy(self, *args: str) -> None:
        subprocess.run(["skopeo", "--insecure-policy", *args], check=True, capture_output=True)

    def test_there_and_back(self) -> None:
        """An image is the same after skopeo has copied it from a bundle to one of its own."""
        self.export("x:1")
        other, root = self.folder / "other.tar", self.folder / "imported"
        name = "docker.io/library/x:1"
        self.copy("copy", "--all", f"oci-archive:{self.bundle}:1", f"oci-archive:{other}:{name}")
        ran = command("import", other, "--root", root)
        self.assertEqual(0, ran.status, ran.err)
        self.assertEqual(
            {name: data for name, data in tree(self.root / "blobs").items() if name in tree(root)},
            {name: data for name, data in tree(root / "blobs").items() if name in tree(root)},
        )
        again = self.folder / "again.tar"
        command("export", "x:1", "-o", again, "--root", root)
        self.assertEqual(self.bundle.read_bytes(), again.read_bytes())

    def test_part(self) -> None:
        """A platform of a bundle that has only a part of the index can be copied."""
        self.export("x:1", "--platform", "linux/arm64")
        self.copy(
            "--override-arch=arm64", "copy", f"oci-archive:{self.bundle}", f"dir:{self.folder}/d"
        )
        manifest = (self.folder / "d" / "manifest.json").read_bytes()
        self.assertEqual(image_parts("x:1", "linux/arm64")[0], manifest)
