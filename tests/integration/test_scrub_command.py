"""``oci-registry scrub`` on the store of a stopped daemon."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, TestCase

from oci_registry.commands.running import now
from oci_registry.scrub.record import KEY
from oci_registry.spec.digest import Digest
from oci_registry.storage import keys
from oci_registry.storage.drivers import inspected, walking_in_order
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import QUARANTINE
from oci_registry.storage.lock import StoreLock
from tests.support import s3
from tests.support.bundles import Ran, add_image, command, image_parts, store_in, tree
from tests.support.scrubbing import flip

IMAGE = "docker.io/library/x:1"


class ScrubCommand(TestCase):
    """A directory with an image."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        store = store_in(self.root)
        self.manifest = add_image(store, IMAGE)
        add_image(store, "quay.io/a/b:2", "linux/amd64", "linux/arm64")
        store.stop()
        _, blobs = image_parts(IMAGE, "linux/amd64")
        self.digest = next(iter(blobs))
        self.blob = self.root / keys.blob_key(self.digest)

    def scrub(self, *args: object, **environ: str) -> Ran:
        return command("scrub", "--rate", "0", *args, "--root", self.root, **environ)

    def test_nothing(self) -> None:
        """A store without faults stays as it is, and the status is 0."""
        before = tree(self.root)
        ran = self.scrub()
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertRegex(ran.out, r"^12 objects \(.*\) checked, 0 corrupt: ")
        after = tree(self.root)
        after.pop(KEY)
        self.assertEqual(before, after)

    def test_quarantine(self) -> None:
        """A corrupt blob is moved to the quarantine, and the status is 3; the next time it is 0."""
        flip(self.blob)
        wrong = self.blob.read_bytes()
        ran = self.scrub()
        self.assertEqual(3, ran.status)
        self.assertIn(f"blob {self.digest} ({len(wrong)} bytes) is corrupt: it has", ran.err)
        self.assertIn("moved to the quarantine", ran.err)
        self.assertIn("1 corrupt: 1 in quarantine, 0 removed", ran.out)
        self.assertFalse(self.blob.exists())
        kept = self.root / QUARANTINE / keys.blob_key(self.digest)
        self.assertEqual(wrong, kept.read_bytes())
        self.assertEqual(0o600, kept.stat().st_mode & 0o777)
        self.assertEqual(0, self.scrub().status)

    def test_remove(self) -> None:
        """With --remove no copy is kept."""
        flip(self.blob)
        ran = self.scrub("--remove")
        self.assertEqual(3, ran.status)
        self.assertIn("0 in quarantine, 1 removed", ran.out)
        self.assertFalse((self.root / QUARANTINE).exists())
        self.assertFalse(self.blob.exists())

    def test_json(self) -> None:
        """The result as JSON has every fault."""
        flip(self.blob)
        manifest = self.root / keys.manifest_key("docker.io", self.manifest.digest)
        flip(manifest)
        ran = self.scrub("--json")
        result: dict[str, Any] = json.loads(ran.out)
        self.assertEqual(
            (12, 2, 2, 0, 1, 2),
            (
                result["objects"],
                result["corrupt"],
                result["quarantined"],
                result["removed"],
                result["dangling_tags"],
                len(result["problems"]),
            ),
        )
        blob, other = result["found"]
        self.assertEqual(
            ("blob", str(self.digest), "quarantined"),
            (blob["kind"], blob["digest"], blob["outcome"]),
        )
        self.assertEqual(("manifest", str(self.manifest.digest)), (other["kind"], other["digest"]))

    def test_interrupted(self) -> None:
        """After Ctrl-C the next run continues; what was found before still counts."""
        flip(sorted(path for path in (self.root / "blobs").rglob("*") if path.is_file())[0])
        calls = []

        def interrupt(seconds: float) -> None:
            calls.append(seconds)
            # Two pauses for each blob: after its bytes, and for what it counts at least.
            if len(calls) == 5:
                raise KeyboardInterrupt

        self.patch(time, "sleep", interrupt)
        ran = command("scrub", "--rate", "1kB", "--root", self.root)
        self.assertEqual(130, ran.status)
        self.patch(time, "sleep", lambda _: None)
        progress = json.loads((self.root / KEY).read_text())
        self.assertEqual(2, progress["counts"]["objects"])
        again = self.scrub()
        self.assertIn("going on after 2 objects", again.err)
        self.assertEqual(3, again.status)
        self.assertIn("12 objects", again.out)
        anew = self.scrub("--restart")
        self.assertEqual((0, ""), (anew.status, anew.err))

    def test_restart(self) -> None:
        """With --restart an interrupted check begins again."""

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        self.patch(time, "sleep", interrupt)
        command("scrub", "--rate", "1kB", "--root", self.root)
        ran = self.scrub("--restart")
        self.assertEqual((0, ""), (ran.status, ran.err))

    def test_rate(self) -> None:
        """The rate is kept, and each object counts 256 KiB at least."""
        slept: list[float] = []
        start = time.time()
        self.patch(time, "time", lambda: start + sum(slept))
        self.patch(time, "sleep", slept.append)
        command("scrub", "--root", self.root, SCRUB_RATE="256KiB/s")
        self.assertAlmostEqual(12, sum(slept), delta=0.5)

    def test_wrong_usage(self) -> None:
        """Rates without a unit, and options that exclude each other, are refused."""
        for args in (["--rate", "20"], ["--rate", "5%"], ["--remove", "--quarantine"]):
            ran = command("scrub", *args, "--root", self.root)
            self.assertEqual((2, ""), (ran.status, ran.out), args)

    def test_no_store(self) -> None:
        """Where there is no store, none is made."""
        ran = command("scrub", "--root", self.root / "none")
        self.assertEqual(1, ran.status)
        self.assertIn("there is no store in", ran.err)
        self.assertFalse((self.root / "none").exists())

    def test_locked(self) -> None:
        """While a daemon runs, nothing is checked."""
        lock = StoreLock(str(self.root.absolute()))
        lock.share()
        self.addCleanup(lock.release)
        ran = self.scrub()
        self.assertEqual(1, ran.status)
        self.assertIn("is using the store", ran.err)
        self.assertFalse((self.root / KEY).exists())

    def unreadable(self, *paths: Path) -> None:
        """Make files fail as on a bad disk."""
        numbers = {path.stat().st_ino for path in paths}
        pread = os.pread

        def read(descriptor: int, length: int, offset: int) -> bytes:
            if os.fstat(descriptor).st_ino in numbers:
                raise OSError(5, "Input/output error")
            return pread(descriptor, length, offset)

        self.patch(inspected.os, "pread", read)

    def blobs(self) -> list[Path]:
        return sorted(path for path in (self.root / "blobs").rglob("*") if path.is_file())

    def test_unreadable(self) -> None:
        """Single files that cannot be read are moved away, also the last one."""
        manifests = sorted(path for path in self.root.rglob("_tags/*"))
        self.unreadable(self.blobs()[1], manifests[-1])
        ran = self.scrub()
        self.assertEqual(3, ran.status)
        self.assertEqual(2, ran.err.count("it cannot be read: Input/output error"))
        self.assertIn("2 corrupt: 2 in quarantine", ran.out)

    def test_unreadable_and_remove(self) -> None:
        """With --remove, what cannot be read is left where it is."""
        before = tree(self.root)
        self.unreadable(self.blobs()[1])
        ran = self.scrub("--remove")
        self.assertEqual(1, ran.status)
        self.assertIn("left in place: what cannot be read is not removed", ran.err)
        self.assertIn("1 corrupt: 0 in quarantine, 0 removed", ran.out)
        after = tree(self.root)
        after.pop(KEY)
        self.assertEqual(before, after)

    def test_files_in_a_row(self) -> None:
        """Several files in a row that cannot be read are left where they are, and the rest is checked."""
        before = tree(self.root)
        self.unreadable(*self.blobs()[1:4])
        ran = self.scrub()
        self.assertEqual(1, ran.status)
        self.assertEqual(3, ran.err.count("left in place: others beside it"))
        self.assertIn("9 objects", ran.out)
        after = tree(self.root)
        self.assertTrue(json.loads((self.root / KEY).read_text())["ended"])
        after.pop(KEY)
        self.assertEqual(before, after)

    def test_folder(self) -> None:
        """A folder that cannot be listed is reported, and the rest is checked."""
        folder, scandir = self.blob.parent.absolute(), os.scandir
        others = len(list(folder.iterdir()))

        def refuse(path: Path) -> Any:
            if Path(path).absolute() == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        self.patch(walking_in_order.os, "scandir", refuse)
        ran = self.scrub()
        self.assertEqual(1, ran.status)
        self.assertIn("not everything was checked: cannot be listed: Permission denied: ", ran.err)
        self.assertIn(f"{12 - others} objects", ran.out)
        self.assertTrue(json.loads((self.root / KEY).read_text())["ended"])

    def test_no_descriptors(self) -> None:
        """If the process has no descriptors left, the check stops; it continues when there are some."""
        before = tree(self.root)
        opening = inspected.open_file

        def refuse(path: Path) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

        self.patch(inspected, "open_file", refuse)
        ran = self.scrub()
        self.assertEqual((1, ""), (ran.status, ran.out))
        self.assertIn("Too many open files", ran.err)
        self.patch(inspected, "open_file", opening)
        self.assertEqual(0, self.scrub().status)
        after = tree(self.root)
        after.pop(KEY)
        self.assertEqual(before, after)

    def test_broken_disk(self) -> None:
        """If nothing can be read, the disk is broken: nothing is touched."""
        before = tree(self.root)
        self.unreadable(*(path for path in self.root.rglob("*") if path.is_file()))
        ran = self.scrub()
        self.assertEqual((1, ""), (ran.status, ran.out))
        self.assertIn("3 objects in a row cannot be read", ran.err)
        after = tree(self.root)
        after.pop(KEY)
        self.assertEqual(before, after)
        self.patch(inspected.os, "pread", os.pread)

    def test_changed_in_place(self) -> None:
        """A file that is written to after it was inspected stays; making it private is no such change."""
        driver, key = store_in(self.root).driver, keys.blob_key(self.digest)
        found = now(driver.inspect(key))
        assert found is not None
        flip(self.blob)
        self.assertFalse(now(found.withdraw(None)))
        self.assertTrue(self.blob.exists())
        found.close()
        found = now(driver.inspect(key))
        assert found is not None
        moving = inspected.place

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(inspected, "place", refuse)
        self.assertRaises(StoreError, now, found.withdraw("quarantine/x"))
        self.patch(inspected, "place", moving)
        self.assertTrue(now(found.withdraw("quarantine/x")))
        found.close()

    def test_cannot_be_moved(self) -> None:
        """If something corrupt can be neither moved nor removed, the status is 1."""
        flip(self.blob)

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(inspected, "place", refuse)
        ran = self.scrub()
        self.assertEqual(1, ran.status)
        self.assertIn("left in place: Permission denied", ran.err)


class ScrubOfBucket(TestCase):
    """``oci-registry scrub s3``."""

    def test_bucket(self) -> None:
        """A corrupt object is moved, and the progress is stored beside it."""
        settings = s3.new_bucket(self.mktemp())
        if settings.endpoint is None:
            raise SkipTest("no server")
        client = s3.client(settings)

        def keys_of(prefix: str) -> set[str]:
            listed = client.list_objects_v2(Bucket=settings.bucket, Prefix=prefix)
            return {item["Key"] for item in listed.get("Contents", ())}

        right, wrong = Digest.of(b"right"), Digest.of(b"wrong")
        for digest in (right, wrong):
            marks = {"oci-registry-size": "5"}
            client.put_object(
                Bucket=settings.bucket, Key=keys.blob_key(digest), Body=b"right", Metadata=marks
            )
        args = ["s3", "--bucket", settings.bucket, "--host", settings.endpoint]
        args += ["--spool", str(Path(self.mktemp()).absolute())]
        secret = {
            "S3_ACCESS_KEY": str(settings.access_key),
            "S3_SECRET_KEY": str(settings.secret_key),
        }
        ran = command("scrub", "--rate", "0", *args, **secret)
        self.assertEqual(3, ran.status, ran)
        self.assertEqual({keys.blob_key(right)}, keys_of("blobs"))
        self.assertEqual({f"{QUARANTINE}/{keys.blob_key(wrong)}"}, keys_of(QUARANTINE))
        self.assertEqual({KEY}, keys_of("scrub"))
        self.assertEqual(0, command("scrub", "--rate", "0", *args, **secret).status)
