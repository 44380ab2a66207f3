"""The commands that look after a store, on directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from oci_registry.account.schema import FILE
from oci_registry.commands.store import CommandStore
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.storage.keys import blob_key, manifest_key, tag_key
from oci_registry.storage.lock import LOCK
from tests.support import s3
from tests.support.bundles import Ran, add_image, command, store_in, tree
from tests.support.daemon import MirrorTestCase, running, until

BOTH = ("linux/amd64", "linux/arm64")


class LookingTestCase(TestCase):
    """A store with an image for two platforms, one for one, and one that is incomplete."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.store = store_in(self.root)
        self.top = add_image(self.store, "x:1", *BOTH)
        self.plain = add_image(self.store, "quay.io/a/b:1")
        self.partial = add_image(self.store, "y:1", *BOTH, without=("linux/arm64",))

    def run_command(self, *args: object, **environ: str) -> Ran:
        return command(*args, "--root", self.root, **environ)  # type: ignore[arg-type]

    def done(self, *args: object) -> str:
        ran = self.run_command(*args)
        self.assertEqual((0, ""), (ran.status, ran.err))
        return ran.out

    def json(self, *args: object) -> Any:
        return json.loads(self.done(*args, "--json"))

    def refused(self, status: int, *args: object) -> str:
        ran = self.run_command(*args)
        self.assertEqual((status, ""), (ran.status, ran.out))
        return ran.err


class Reading(LookingTestCase):
    """Commands that change nothing."""

    def test_ls(self) -> None:
        """A line for each image, with tabs between its columns."""
        lines = [line.split("\t") for line in self.done("ls").splitlines()]
        self.assertEqual(
            ["docker.io/library/x:1", "docker.io/library/y:1", "quay.io/a/b:1"],
            [line[0] for line in lines],
        )
        self.assertEqual(self.top.digest.encoded[:12], lines[0][1])
        self.assertEqual("linux/amd64,linux/arm64", lines[0][2])
        self.assertEqual({10}, {len(line) for line in lines})

    def test_ls_of_some(self) -> None:
        """Names are those of clients, with or without a tag; patterns are as they are."""
        for args, names in (
            (("x",), ["docker.io/library/x:1"]),
            (("x:1", "quay.io/a/b"), ["docker.io/library/x:1", "quay.io/a/b:1"]),
            (("*/a/*",), ["quay.io/a/b:1"]),
            (("--registry", "quay.io"), ["quay.io/a/b:1"]),
            (("--sort", "size", "--limit", "1"), ["docker.io/library/x:1"]),
            (("nothing",), []),
        ):
            self.assertEqual(names, self.done("ls", "--quiet", *args).splitlines())

    def test_ls_as_json(self) -> None:
        """One document with all fields."""
        document = self.json("ls", "y")
        (image,) = document["images"]
        self.assertEqual(str(self.partial.digest), image["digest"])
        self.assertEqual((["linux/amd64"], True), (image["platforms"], image["complete"]))
        self.assertEqual([], document["problems"])
        self.assertEqual([], self.json("ls", "nothing")["images"])

    def test_ls_refused(self) -> None:
        """Wrong options are refused."""
        for args in (
            ("--limit", "0"),
            ("--limit", "2000", "--sort", "size"),
            ("--reverse",),
            ("--sort", "colour"),
            ("--registry", "a/b"),
            ("http://x",),
        ):
            self.refused(2, "ls", *args)

    def test_show(self) -> None:
        """The manifests of an image and their blobs."""
        lines = self.done("show", "x:1").splitlines()
        self.assertEqual("docker.io/library/x:1", lines[0])
        self.assertIn("  tags: docker.io/library/x:1", lines)
        self.assertEqual(4, sum("  blob sha256:" in line for line in lines))
        document = self.json("show", f"x@{self.top.digest}")
        self.assertEqual(2, len(document["manifest"]["manifests"]))
        self.assertIn("z:latest is not stored", self.refused(3, "show", "z"))

    def test_du(self) -> None:
        """A line for each repository or registry, and a sum."""
        *rows, last = self.done("du").splitlines()
        self.assertEqual(3, len(rows))
        self.assertIn("in 8 blobs and 6 manifests", last)
        document = self.json("du")
        files = [
            path.stat().st_size
            for path in self.root.rglob("*")
            if path.is_file() and ("blobs" in path.parts or "_manifests" in path.parts)
        ]
        self.assertEqual(sum(files), document["size"])
        *rows, _ = self.done("du", "--registries").splitlines()
        self.assertEqual(["docker.io", "quay.io"], [row.split("\t")[0] for row in rows])

    def test_why(self) -> None:
        """How fresh and how old, by the upstream file if one is given."""
        file = self.root.parent / "upstreams.yaml"
        file.write_text(
            "- namespace: docker.io\n  host: docker.example\n  blob_invalidation_time: 1h\n"
        )
        out = self.done("why", "x:1", "--upstream-config-file", str(file))
        self.assertRegex(out, "if it is not used, it is removed in (1 hour|5\\d minutes)")
        document = self.json("why", "x:1")
        self.assertEqual(14 * 86400, document["lifetime"])
        self.assertEqual(1_000_000.0, document["checked"])
        self.assertIn("is not stored", self.refused(3, "why", "z:1"))
        file.write_text("- {namespace: docker.io, host: docker.example, offline: true}")
        out = self.done("why", "x:1", "--upstream-config-file", str(file))
        self.assertIn("is served without asking: its registry is offline", out)
        file.write_text("nonsense: [")
        self.refused(2, "why", "x:1", "--upstream-config-file", str(file))

    def test_nothing_changes(self) -> None:
        """Whatever is asked, nothing in the directory changes."""
        before = tree(self.root), sorted(self.root.iterdir())
        for args in (("ls",), ("show", "x:1"), ("du",), ("why", "x:1"), ("pin",)):
            self.done(*args)
        self.assertEqual(before, (tree(self.root), sorted(self.root.iterdir())))

    def test_no_store(self) -> None:
        """A directory that is missing is not made."""
        for args in (("ls",), ("rm", "x:1"), ("pin", "x:1")):
            ran = command(*args, "--root", self.root / "nothing")
            self.assertEqual(1, ran.status)
            self.assertIn("there is no store", ran.err)
        self.assertFalse((self.root / "nothing").exists())

    def test_hostile_store(self) -> None:
        """Files that are corrupt, foreign or hostile are listed as far as possible, without control codes."""
        evil = "repositories/docker.io/library/\x1b[31m/_tags/1"
        for key, data in (
            (tag_key("docker.io", "library/x", "bad"), b"{"),
            (manifest_key("docker.io", Digest.of(b"corrupt")), b"\xff\n\x00"),
            (
                manifest_key("docker.io", Digest.of(b"{}")),
                b'{"mediaType": "a\\u001b[31m", "repository": "../../etc"}\n{}',
            ),
            (blob_key(Digest.of(b"foreign")), b"wrong"),
            (evil, b"x"),
            ("repositories/docker.io/_manifests/sha256/zz/x", b""),
        ):
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        link = self.root / blob_key(Digest.of(b"link"))
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/etc/passwd")
        for args in (("ls",), ("du",), ("show", f"docker.io/@{Digest.of(b'{}')}")):
            ran = self.run_command(*args)
            self.assertEqual(0, ran.status, ran.err)
            self.assertNotIn("\x1b", ran.out)
        names = self.done("ls", "--quiet").splitlines()
        self.assertEqual(5, len(names))


class Changing(LookingTestCase):
    """Commands that change a store."""

    def test_rm(self) -> None:
        """Images are removed, each with what only it needs."""
        out = self.done("rm", "x:1", "quay.io/a/b:1", "--blobs")
        self.assertIn("docker.io/library/x:1: removed 1 tag, 3 manifests, 4 blobs", out)
        self.assertEqual(["docker.io/library/y:1"], self.done("ls", "--quiet").splitlines())
        self.assertEqual(2, self.json("du")["blobs"])

    def test_rm_of_several(self) -> None:
        """What is missing does not keep others from being removed; the status says so."""
        ran = self.run_command("rm", "nothing", "x:1")
        self.assertEqual(3, ran.status)
        self.assertIn("nothing:latest is not stored", ran.err)
        self.assertIn("removed 1 tag", ran.out)
        document = json.loads(self.run_command("rm", "nothing", "y:1", "--json").out)
        self.assertEqual(["docker.io/library/y:1"], document["removed"][0]["tags"])
        self.assertEqual(1, len(document["problems"]))

    def test_rm_pinned_by_file(self) -> None:
        """The pins of the upstream file count, if it is given; why knows them too."""
        file = self.root.parent / "upstreams.yaml"
        file.write_text("- namespace: docker.io\n  host: docker.example\n  pin: ['library/x:*']\n")
        rules = ("--upstream-config-file", str(file))
        self.assertIn("pinned by the upstream file", self.refused(1, "rm", "x:1", *rules))
        self.assertEqual(["by the upstream file"], self.json("why", "x:1", *rules)["pinned"])
        self.done("rm", "y:1", *rules)
        self.done("rm", "x:1")

    def test_rm_shared(self) -> None:
        """The second image of a pair takes with it what the first one has left."""
        add_image(self.store, "x:2", *BOTH)
        self.store.add_tag(
            parse_image("x:3"),
            self.store.tag(parse_image("x:1")),  # type: ignore[arg-type]
        )
        out = self.done("rm", "x:1", "x:3", "--blobs").splitlines()
        self.assertEqual("docker.io/library/x:1: removed 1 tag (0 B)", out[0])
        self.assertIn("3 manifests, 4 blobs", out[1])

    def test_rm_blob(self) -> None:
        """A digest alone is a blob."""
        blob = next(Path(self.root, "blobs").rglob("*/*/*"))
        digest = f"sha256:{blob.parent.name}{blob.name}"
        self.assertIn("removed 1 blob", self.done("rm", digest))
        self.assertIn("is not stored", self.refused(3, "rm", digest))

    def test_pins(self) -> None:
        """A pin keeps an image, survives, and is listed; one that is not stored can be pinned too."""
        self.assertEqual("docker.io/library/x:1: pinned\n", self.done("pin", "x:1"))
        self.assertEqual("docker.io/library/x:1: already pinned\n", self.done("pin", "x:1"))
        self.done("pin", "later:1")
        expected = ["docker.io/library/later:1", "docker.io/library/x:1"]
        self.assertEqual(expected, self.done("pin").splitlines())
        self.assertEqual(expected, self.json("pin")["pins"])
        self.assertIn("pinned by command", self.refused(1, "rm", "x:1"))
        self.assertTrue(self.json("ls", "x")["images"][0]["pinned"])
        self.assertEqual("docker.io/library/x:1: unpinned\n", self.done("unpin", "x:1"))
        self.assertEqual("docker.io/library/x:1: already not pinned\n", self.done("unpin", "x:1"))
        self.done("rm", "x:1")

    def test_unknown_repository(self) -> None:
        """What has no repository can be removed but not pinned."""
        name = f"docker.io/@{self.top.digest}"
        self.assertIn("give the repository too", self.refused(2, "pin", name))
        self.assertIn("removed 1 tag, 1 manifest", self.done("rm", name))

    def test_refresh(self) -> None:
        """The record of a tag says that upstream has to confirm it."""
        self.done("refresh", "x:1")
        self.assertTrue(self.json("why", "x:1")["must_revalidate"])
        self.refused(3, "refresh", "nothing:1")
        ran = self.run_command("refresh", f"x@{self.top.digest}")
        self.assertEqual(1, ran.status)
        self.assertIn("a digest never changes", ran.err)


class BesideADaemon(MirrorTestCase):
    """Commands beside a daemon that has no admin socket, and between two."""

    async def serve(self) -> None:
        self.digest, self.blobs = self.registry.add_image("library/app", "1", b"layer")
        daemon = await self.start(admin_socket=False)
        for path in ("manifests/1", *(f"blobs/{blob}" for blob in self.blobs)):
            await self.client.get(f"/v2/library/app/{path}")
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        account = daemon.parts.account
        assert account is not None
        await account.flush()
        await until(lambda: account.is_complete)

    def state(self) -> dict[str, tuple[int, int]]:
        return {
            path.name: (path.stat().st_mtime_ns, path.stat().st_ino)
            for path in self.root.iterdir()
            if path.name.startswith(FILE) or path.name == LOCK
        }

    @running
    async def test_reading(self) -> None:
        """Reading continues beside such a daemon, which does not notice."""
        await self.serve()
        before = self.state()
        ran = command("ls", "--root", self.root, "--json")
        self.assertEqual(0, ran.status, ran.err)
        (image,) = json.loads(ran.out)["images"]
        self.assertEqual(("docker.io/library/app:1", True), (image["name"], image["complete"]))
        self.assertEqual(before, self.state())

    @running
    async def test_changing(self) -> None:
        """Nothing is changed beside such a daemon."""
        await self.serve()
        for args in (("rm", "app:1"), ("refresh", "app:1"), ("pin", "app:1"), ("unpin", "app:1")):
            ran = command(*args, "--root", self.root)
            self.assertEqual(1, ran.status)
            self.assertIn("is using the store", ran.err)

    @running
    async def test_between(self) -> None:
        """A stopped daemon's account is read, told of changes, and still complete for the next one."""
        await self.serve()
        await self.stop()
        ran = command("ls", "--root", self.root, "--json")
        (image,) = json.loads(ran.out)["images"]
        # Only the account counts pulls.
        self.assertIsNotNone(image["pulls"])
        ran = command("rm", "app:1", "--blobs", "--root", self.root)
        self.assertEqual((0, ""), (ran.status, ran.err))
        daemon = await self.start(admin_socket=False)
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.state is not None)
        assert account.state is not None
        self.assertEqual((0, True), (account.state.sums.objects, account.state.complete))
        self.registry.manifests.clear()
        self.assertEqual(404, (await self.client.get("/v2/library/app/manifests/1")).status)

    @running
    async def test_import(self) -> None:
        """What was imported is in the account when the next daemon starts."""
        await self.serve()
        await self.stop()
        bundle = self.root.parent / "app.tar"
        for args in (
            ("export", "app:1", "-o", bundle),
            ("rm", "app:1", "--blobs"),
            ("import", bundle),
        ):
            ran = command(*args, "--root", self.root)  # type: ignore[arg-type]
            self.assertEqual((0, ""), (ran.status, ran.err))
        daemon = await self.start()
        account = daemon.parts.account
        assert account is not None
        await until(lambda: account.state is not None)
        assert account.state is not None
        self.assertEqual((3, True), (account.state.sums.objects, account.state.complete))


class Bucket(TestCase):
    """The same commands on a bucket."""

    def test_all(self) -> None:
        """What is in a bucket is listed, measured, pinned and removed."""
        settings = s3.new_bucket(self.mktemp())
        store = CommandStore.open(settings)
        store.start()
        add_image(store, "x:1", *BOTH)
        environ = {
            "S3_BUCKET": settings.bucket,
            "S3_HOST": settings.endpoint or "",
            "S3_ACCESS_KEY": settings.access_key or "",
            "S3_SECRET_KEY": settings.secret_key or "",
            "S3_SPOOL": settings.spool,
        }
        for args, said in (
            (("ls", "--quiet"), "docker.io/library/x:1"),
            (("show", "x:1"), "4 of 4, complete"),
            (("du",), "in 4 blobs and 3 manifests, 0 B in 0 blobs that no manifest names"),
            (("pin", "x:1"), "x:1: pinned"),
            (("pin",), "docker.io/library/x:1"),
            (("unpin", "x:1"), "x:1: unpinned"),
            (("rm", "x:1", "--blobs"), "removed 1 tag, 3 manifests, 4 blobs"),
            (("du",), "0 B in 0 blobs and 0 manifests"),
        ):
            ran = command(*args, **environ)
            self.assertEqual((0, ""), (ran.status, ran.err), args)
            self.assertIn(said, ran.out)
