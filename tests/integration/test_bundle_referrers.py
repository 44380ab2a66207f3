"""Referrers of images in bundles."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SkipTest, TestCase

from oci_registry.commands.store import CommandStore
from oci_registry.config.settings import FilesystemSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.spec.referrers import descriptor_of
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key
from oci_registry.storage.referrers import LARGEST, KeptReferrers, entries_of, index_of
from tests.support.bundles import Ran, add_image, command, described, image_parts, store_in, tree
from tests.support.daemon import MirrorTestCase, running

BOTH = ("linux/amd64", "linux/arm64")
HUB = "docker.io"
REPOSITORY = "library/x"
EMPTY = b"{}"


def artifact(subject: Manifest, kind: str, content: bytes) -> Manifest:
    """Return an artifact that refers to a manifest."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": described(EMPTY, "application/vnd.oci.empty.v1+json"),
        "layers": [described(content, "application/octet-stream")],
        "subject": described(subject.raw, subject.media_type),
        "annotations": {"org.opencontainers.image.ref.name": "a name", "of": kind},
    }
    return Manifest.read(json.dumps(document).encode(), OCI_MANIFEST)


def refer(store: CommandStore, subject: Manifest, *artifacts: Manifest) -> None:
    """Store a list of referrers."""
    kept = KeptReferrers(index_of(map(descriptor_of, artifacts)), 1_000_000.0)
    store.add_referrers(HUB, REPOSITORY, subject.digest, kept)


class ReferrersTestCase(TestCase):
    """An image for two platforms with an SBOM, its signature, and a signature of one of the platforms."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.root, self.other = self.folder / "store", self.folder / "other"
        self.bundle = self.folder / "bundle.tar"
        self.store = store_in(self.root)
        self.top = add_image(self.store, "x:1", *BOTH)
        self.child = Manifest.read(image_parts("x:1", "linux/amd64")[0], OCI_MANIFEST)
        self.sbom = self.add(self.top, "text/spdx", b"sbom")
        self.signature = self.add(self.sbom, "application/signature", b"signature of the sbom")
        self.own = self.add(self.child, "application/signature", b"signature")
        for subject, referrer in (
            (self.top, self.sbom),
            (self.sbom, self.signature),
            (self.child, self.own),
        ):
            refer(self.store, subject, referrer)

    def add(self, subject: Manifest, kind: str, content: bytes) -> Manifest:
        """Store an artifact as a client pulls it, which does not request the empty config."""
        made = artifact(subject, kind, content)
        self.store.add_blob(Digest.of(content), len(content), iter([content]))
        self.store.add_manifest(HUB, made, REPOSITORY)
        return made

    def export(self, *args: object, root: Path | None = None) -> Ran:
        return command("export", "x:1", *args, "-o", self.bundle, "--root", root or self.root)

    def load(self, *bundles: Path) -> Ran:
        return command("import", *(bundles or [self.bundle]), "--root", self.other)

    def entries(self) -> list[dict[str, object]]:
        """Return what is in the index of the bundle."""
        with tarfile.open(self.bundle) as tar:
            file = tar.extractfile("index.json")
            assert file is not None
            found: list[dict[str, object]] = json.loads(file.read())["manifests"]
            return found

    def listed(self, subject: Manifest) -> list[object]:
        """Return the digests that the other store lists as referrers."""
        store = CommandStore.open(FilesystemSettings(str(self.other.absolute())))
        kept = store.referrers(HUB, REPOSITORY, subject.digest)
        return [] if kept is None else [entry["digest"] for entry in entries_of(kept.index)]


class Exporting(ReferrersTestCase):
    """What is in a bundle."""

    def test_wanted(self) -> None:
        """They are in it if they are wanted, without names, with the type of artifact."""
        self.export()
        self.assertEqual([str(self.top.digest)], [entry["digest"] for entry in self.entries()])
        ran = self.export("--referrers")
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertIn("(linux/amd64, linux/arm64), with 3 referrers", ran.out)
        image, *others = self.entries()
        self.assertEqual(str(self.top.digest), image["digest"])
        artifacts = sorted((self.sbom, self.signature, self.own), key=lambda one: str(one.digest))
        self.assertEqual([str(one.digest) for one in artifacts], [one["digest"] for one in others])
        self.assertFalse(any("annotations" in one for one in others))
        self.assertIn("text/spdx", [one["artifactType"] for one in others])

    def test_platform(self) -> None:
        """Those of other platforms are not in it."""
        self.export("--referrers", "--platform", "linux/arm64")
        digests = {entry["digest"] for entry in self.entries()}
        self.assertNotIn(str(self.own.digest), digests)
        self.assertIn(str(self.signature.digest), digests)

    def test_absent(self) -> None:
        """What is listed and not stored completely is left out, which is said."""
        (self.root / blob_key(Digest.of(b"sbom"))).unlink()
        (self.root / manifest_key(HUB, self.own.digest)).unlink()
        ran = self.export("--referrers", "--json")
        self.assertEqual(0, ran.status)
        self.assertIn("2 referrers left out, which are not stored completely", ran.err)
        self.assertEqual(0, json.loads(ran.out)["images"][0]["referrers"])
        self.assertEqual(1, len(self.entries()))

    def test_another_subject(self) -> None:
        """What a list names and what does not refer to the image is left out."""
        refer(self.store, self.top, self.sbom, self.own, self.child)
        self.export("--referrers")
        self.assertEqual(4, len(self.entries()))

    def test_corrupt(self) -> None:
        """If one is corrupt, nothing is exported."""
        path = self.root / manifest_key(HUB, self.sbom.digest)
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b" ")
        ran = self.export("--referrers")
        self.assertEqual(1, ran.status)
        self.assertIn("is corrupt", ran.err)
        self.assertFalse(self.bundle.exists())

    def test_corrupt_list(self) -> None:
        """If a list is corrupt, nothing is exported: nobody knows what is missing."""
        path = self.root / referrers_key(HUB, REPOSITORY, self.top.digest)
        path.chmod(0o644)
        path.write_bytes(b"x")
        ran = self.export("--referrers")
        self.assertEqual(1, ran.status)
        self.assertIn(f"the stored list of the referrers of {self.top.digest} is corrupt", ran.err)
        self.assertFalse(self.bundle.exists())


class Importing(ReferrersTestCase):
    """Bundles with referrers."""

    def test_there_and_back(self) -> None:
        """Everything is the same on the other side, and the bundle that is made there."""
        self.export("--referrers")
        ran = self.load()
        self.assertEqual(0, ran.status, ran.err)
        self.assertIn("with 3 referrers", ran.out)
        stored, expected = tree(self.other), tree(self.root)
        expected[blob_key(Digest.of(EMPTY))] = EMPTY
        self.assertEqual(set(expected), set(stored))
        for name, data in expected.items():
            same = "_tags" not in name
            # A list begins with the time at which it was stored.
            of = (lambda one: one.partition(b"\n")[2]) if "_referrers" in name else bytes
            if same:
                self.assertEqual(of(data), of(stored[name]), name)
        first = self.bundle.read_bytes()
        self.export("--referrers", root=self.other)
        self.assertEqual(first, self.bundle.read_bytes())

    def test_known_list(self) -> None:
        """A list that is there gets what is new, and is as it was if nothing is."""
        other = artifact(self.top, "text/other", b"other")
        store = store_in(self.other)
        refer(store, self.top, other)
        self.export("--referrers")
        self.load()
        both = [str(other.digest), str(self.sbom.digest)]
        self.assertEqual(both, self.listed(self.top))
        before = tree(self.other)
        self.assertEqual(0, self.load().status)
        lists = {name for name in before if "_referrers" in name}
        after = tree(self.other)
        self.assertEqual({n: before[n] for n in lists}, {n: after[n] for n in lists})

    def test_odd_list(self) -> None:
        """What a registry has put into a list that is no descriptor stays there."""
        store, odd = store_in(self.other), [{"digest": ["x"]}, {"digest": {}}, {}]
        kept = KeptReferrers(index_of(odd), 1_000_000.0)
        store.add_referrers(HUB, REPOSITORY, self.top.digest, kept)
        self.export("--referrers")
        self.assertEqual(0, self.load().status)
        kept_now = store.referrers(HUB, REPOSITORY, self.top.digest)
        assert kept_now is not None
        self.assertEqual([*odd, descriptor_of(self.sbom)], entries_of(kept_now.index))

    def test_too_long(self) -> None:
        """A list that would be too large stays as it was; that is said, and the status is 1."""
        store = store_in(self.other)
        large = [{"annotations": {"x": "y" * (LARGEST - 200)}}]
        store.add_referrers(HUB, REPOSITORY, self.top.digest, KeptReferrers(index_of(large), 1.0))
        self.export("--referrers")
        ran = command("import", self.bundle, "--root", self.other, "--json")
        said = f"docker.io/library/x:1: the referrers of {self.top.digest} are not listed: the list would have"
        self.assertEqual(1, ran.status)
        self.assertIn(said, ran.err)
        (problem,) = json.loads(ran.out)["problems"]
        self.assertIn("more than 5 MiB", problem)
        kept = store.referrers(HUB, REPOSITORY, self.top.digest)
        assert kept is not None
        self.assertEqual(large, entries_of(kept.index))
        # All the rest is there.
        self.assertEqual([str(self.own.digest)], self.listed(self.child))
        self.assertIsNotNone(store.manifest(HUB, self.sbom.digest))
        self.assertIsNotNone(store.tag(parse_image("docker.io/library/x:1")))

    def test_failing_store(self) -> None:
        """If the store fails on the way, lists are as they were, and nothing new is there."""
        store = store_in(self.other)
        refer(store, self.top, artifact(self.top, "text/other", b"other"))
        before = tree(self.other)
        self.export("--referrers")
        with mock.patch.object(CommandStore, "add_tag", side_effect=StoreError("disk full")):
            self.assertIn("disk full", self.load().err)
        self.assertEqual(before, tree(self.other))

    def test_since(self) -> None:
        """A blob of a referrer that is neither in the bundle nor in the store is named."""
        self.export("--referrers")
        first = self.bundle.rename(self.folder / "first.tar")
        self.export("--referrers", "--since", first)
        ran = self.load()
        self.assertEqual(1, ran.status)
        self.assertIn(str(Digest.of(b"sbom")), ran.err)
        self.assertEqual(0, self.load(first, self.bundle).status)

    def test_other_tools(self) -> None:
        """oras finds the referrers of a bundle, and what it copies with them can be imported."""
        if shutil.which("oras") is None:
            raise SkipTest("oras is not installed")

        def oras(*args: object) -> str:
            return subprocess.run(
                ["oras", *map(str, args)], check=True, capture_output=True, text=True
            ).stdout

        self.export("--referrers")
        found = oras("discover", "--oci-layout", f"{self.bundle}:1", "--format", "json")
        self.assertIn(str(self.sbom.digest), found)
        self.assertIn(str(self.signature.digest), found)
        folder = self.folder / "layout"
        name = "docker.io/library/x:1"
        oras("cp", "-r", "--from-oci-layout", f"{self.bundle}:1", "--to-oci-layout", f"{folder}:1")
        copied = self.folder / "copied.tar"
        with tarfile.open(copied, "w") as tar:
            tar.add(folder, ".")
        ran = command("import", copied, "--as", name, "--root", self.other)
        self.assertEqual(0, ran.status, ran.err)
        self.assertEqual([str(self.sbom.digest)], self.listed(self.top))
        self.assertEqual([str(self.own.digest)], self.listed(self.child))
        first = self.bundle.read_bytes()
        self.export("--referrers", root=self.other)
        self.assertEqual(first, self.bundle.read_bytes())


class Served(MirrorTestCase):
    """A daemon that is never connected."""

    @running
    async def test_offline(self) -> None:
        """It lists imported referrers, and serves them."""
        folder = Path(self.mktemp())
        folder.mkdir()
        store = store_in(folder / "store")
        top = add_image(store, "x:1")
        sbom = artifact(top, "text/spdx", b"sbom")
        store.add_blob(Digest.of(b"sbom"), 4, iter([b"sbom"]))
        store.add_manifest(HUB, sbom, REPOSITORY)
        refer(store, top, sbom)
        bundle = folder / "bundle.tar"
        command("export", "x:1", "--referrers", "-o", bundle, "--root", folder / "store")
        ran = command("import", bundle, "--root", self.root)
        self.assertEqual(0, ran.status, ran.err)
        await self.start(self.upstream("docker.io"), offline=True)
        got = await self.client.get(f"/v2/{REPOSITORY}/referrers/{top.digest}")
        self.assertEqual(200, got.status)
        self.assertEqual([descriptor_of(sbom)], json.loads(got.body)["manifests"])
        for path in (f"manifests/{sbom.digest}", f"blobs/{Digest.of(b'sbom')}"):
            self.assertEqual(200, (await self.client.get(f"/v2/{REPOSITORY}/{path}")).status)
