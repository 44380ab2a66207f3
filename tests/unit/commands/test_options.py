"""Which store and which images a command line means."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.exporting import parser as export_parser
from oci_registry.commands.importing import parser as import_parser
from oci_registry.commands.options import Common, parse
from oci_registry.commands.problems import UsageProblem
from oci_registry.config.settings import FilesystemSettings, S3Settings
from tests.support.bundles import command


class Options(SynchronousTestCase):
    """The options that all commands have."""

    def parse(self, *args: str, **environ: str) -> Common:
        return parse(import_parser(), ["a.tar", *args], environ)[1]

    def refused(self, *args: str, **environ: str) -> str:
        return str(self.assertRaises(UsageProblem, self.parse, *args, **environ))

    def test_directory(self) -> None:
        """A directory is named by --root, by the daemon's options, or by its variable."""
        expected = FilesystemSettings(os.path.abspath("store"))
        for args, environ in (
            (["--root", "store"], {}),
            (["filesystem", "--root", "store"], {}),
            (["filesystem"], {"FILESYSTEM_ROOT": "store"}),
            ([], {"FILESYSTEM_ROOT": "store"}),
            (["--root", "store"], {"FILESYSTEM_ROOT": "other", "S3_BUCKET": "other"}),
        ):
            self.assertEqual(expected, self.parse(*args, **environ).storage)

    def test_bucket(self) -> None:
        """A bucket is named by the daemon's options, or by its variables."""
        for args, environ in (
            (["s3", "--bucket", "images", "--host", "http://127.0.0.1:1"], {}),
            ([], {"S3_BUCKET": "images", "S3_HOST": "http://127.0.0.1:1"}),
        ):
            storage = self.parse(*args, **environ).storage
            assert isinstance(storage, S3Settings)
            self.assertEqual("images", storage.bucket)

    def test_no_store(self) -> None:
        """Without a store, or with two, the command says what is needed."""
        self.assertIn("--root DIRECTORY", self.refused())
        both = {"FILESYSTEM_ROOT": "a", "S3_BUCKET": "b"}
        self.assertIn("both set", self.refused(**both))
        self.assertIn("--root", self.refused("--root", "a", "s3", "--bucket", "b"))
        self.assertIn("not recognized", self.refused("filesystem", "--rot", "a"))

    def test_values_that_are_words(self) -> None:
        """The value of an option may be the name of a storage."""
        options, _ = parse(export_parser(), ["x", "-o", "s3", "--root", "store"], {})
        self.assertEqual("s3", options.output)

    def test_names(self) -> None:
        """The registry of images without one is the daemon's."""
        named = self.parse("--root", "a", DEFAULT_NAMESPACE="quay.io").naming
        self.assertEqual("quay.io/x:latest", str(named.wanted("x")))
        named = self.parse("--root", "a", "--namespace", "mirror").naming
        self.assertEqual("mirror", named.wanted("mirror/x:1").registry)
        self.assertIn("default-namespace", self.refused("--root", "a", "--default-namespace", "/"))

    def test_status(self) -> None:
        """A command line that cannot be used has the status 2, and the help is mentioned."""
        for args in (
            (),
            ("x",),
            ("x", "-o", "x.tar"),
            ("X:::", "-o", "x.tar", "--root", "a"),
            ("x", "-o", "x.tar", "--root", "a", "--platform", "linux"),
            ("x", "-o", "x.tar", "--root", "a", "--platform", "stored", "--platform", "linux/arm"),
        ):
            ran = command("export", *args)
            self.assertEqual((2, ""), (ran.status, ran.out), args)
            self.assertIn("oci-registry export --help", ran.err)
        self.assertEqual(2, command("import", "a.tar", "--as", "x@y", "--root", "a").status)
