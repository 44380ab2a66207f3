"""Where objects are kept."""

from __future__ import annotations

import os
from types import SimpleNamespace

from oci_registry.config import storages
from oci_registry.config.files import NoAnswer
from oci_registry.config.settings import FilesystemSettings, S3Settings
from oci_registry.config.storages import STORAGES
from oci_registry.tap import Options

from .support import LoaderTestCase

CHECKING = "cannot be combined with --redirect"


class Table(LoaderTestCase):
    """The storages that there are."""

    def test_names(self) -> None:
        """The storages that can be loaded are those that can be named, in the same order."""
        self.assertEqual(STORAGES, ("filesystem", "s3"))
        self.assertEqual(tuple(command[0] for command in Options.subCommands), STORAGES)

    def test_chosen(self) -> None:
        """The name of the storage decides, whatever the environment says about others."""
        environ = {"FILESYSTEM_ROOT": str(self.directory), "S3_BUCKET": "cache"}
        environ["S3_SPOOL"] = str(self.directory / "spool")
        settings = self.load(None, environ, ("s3", {}))
        self.assertEqual(
            settings.storage,
            S3Settings("cache", spool=str(self.directory / "spool"), proxy="environment"),
        )
        settings = self.load(None, {**environ, "S3_BUCKET": "/"}, ("filesystem", {}))
        self.assertEqual(settings.storage, FilesystemSettings(str(self.directory)))

    def test_redirect_and_checks(self) -> None:
        """Clients cannot be sent to a bucket whose objects are to be checked."""
        spool = str(self.directory)
        for flags, environ, storage, source in (
            ({"check-cache-digest": 1}, {}, {"redirect": 1}, "--check-cache-digest"),
            ({}, {"CHECK_CACHE_DIGEST": "1", "S3_REDIRECT": "1"}, {}, "CHECK_CACHE_DIGEST"),
        ):
            given = ("s3", {"bucket": "cache", "spool": spool, **storage})
            problem = self.one_problem(flags, environ, given)
            self.assertTrue(problem.startswith(f"{source}: {CHECKING}"), problem)
        given = ("s3", {"bucket": "cache", "spool": spool})
        self.assertTrue(self.load({"check-cache-digest": 1}, {}, given).check_cache_digest)


class Filesystem(LoaderTestCase):
    """filesystem --root."""

    def root_problem(self, root: str) -> str:
        return self.one_problem(None, None, ("filesystem", {"root": root}))

    def test_absolute(self) -> None:
        """A relative root is made absolute, and nothing is created."""
        settings = self.load(storage=("filesystem", {"root": "no/such/../cache"}))
        self.assertEqual(settings.storage.root, os.path.join(os.getcwd(), "no", "cache"))
        self.assertFalse(os.path.exists(settings.storage.root))

    def test_required(self) -> None:
        """Without a storage or a root there is nothing to start."""
        problem = self.one_problem(None, {"FILESYSTEM_ROOT": "/x"}, None)
        self.assertIn("filesystem", problem)
        for root in (None, ""):
            problem = self.one_problem(None, None, ("filesystem", {"root": root}))
            self.assertIn("--root or FILESYSTEM_ROOT is required", problem)

    def test_not_a_directory(self) -> None:
        """A file, something below a file, and a link to nowhere are refused."""
        file = self.write("file", "")
        link = self.directory / "link"
        link.symlink_to("nowhere")
        for root, culprit in {file: file, f"{file}/a/b": file, str(link): str(link)}.items():
            problem = self.root_problem(root)
            self.assertEqual(problem, f"filesystem --root: {culprit} is not a directory")
        problem = self.one_problem(None, {"FILESYSTEM_ROOT": file}, ("filesystem", {}))
        self.assertEqual(problem, f"FILESYSTEM_ROOT: {file} is not a directory")

    def test_not_writable(self) -> None:
        """The directory, or the nearest one above that exists, has to be writable."""
        asked = []

        def access(path: str, mode: int) -> bool:
            asked.append((path, mode))
            return False

        self.patch(os, "access", access)
        for root in (self.directory, self.directory / "a" / "b"):
            problem = self.root_problem(str(root))
            self.assertEqual(problem, f"filesystem --root: {self.directory} cannot be written to")
        self.assertEqual(asked, [(str(self.directory), os.W_OK | os.X_OK)] * 2)

    def test_read_only(self) -> None:
        """From a volume that is mounted read-only what is stored is served; one cannot be begun there."""
        self.patch(os, "access", lambda path, mode: False)
        self.patch(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
        where = f"filesystem --root: {self.directory} is on a read-only file system"
        settings = self.load()
        self.assertEqual(str(self.directory), getattr(settings.storage, "root", None))
        served = "what is stored there is served, and nothing new is stored"
        self.assertEqual((f"{where}: {served}",), settings.warnings)
        self.assertEqual(where, self.root_problem(str(self.directory / "a")))

    def test_hanging(self) -> None:
        """A disk that hangs delays the start for a few seconds, and does not prevent it."""

        def hangs(check: object, path: str) -> None:
            raise NoAnswer(f"{path} did not answer within 5 s")

        self.patch(storages, "in_time", hangs)
        (warning,) = self.load().warnings
        self.assertEqual(
            f"filesystem --root: {self.directory} did not answer within 5 s: until it does, "
            "nothing is stored",
            warning,
        )
