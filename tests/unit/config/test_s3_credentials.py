"""The credentials for the storage in a bucket."""

from __future__ import annotations

from collections.abc import Mapping

from .support import SECRET
from .test_s3 import S3TestCase


class Credentials(S3TestCase):
    """Access key and secret key."""

    def keys(
        self,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        warnings: int = 0,
    ) -> tuple[str | None, str | None]:
        settings = self.load(flags, environ)
        self.assert_fine(warnings)
        return settings.access_key, settings.secret_key

    def test_none(self) -> None:
        """Without any, somebody else looks for them."""
        self.assertEqual(self.keys(), (None, None))

    def test_sources(self) -> None:
        """The secret comes from the command line, the environment, or a file named by either."""
        file = self.write("secret", f"\n {SECRET} \n")
        both = ("alice", SECRET)
        for environ in (
            {"S3_ACCESS_KEY": "alice", "S3_SECRET_KEY": SECRET},
            {"S3_ACCESS_KEY": "alice", "S3_SECRET_KEY_FILE": file},
        ):
            self.assertEqual(self.keys({}, environ), both)
        access = {"access-key": "alice"}
        self.assertEqual(self.keys({**access, "secret-key-file": file}), both)
        self.assertEqual(self.keys({**access, "secret-key": SECRET}, warnings=1), both)
        self.assertEqual(self.keys(access, {"S3_SECRET_KEY": SECRET}), both)

    def test_flags_win(self) -> None:
        """A flag of either kind wins over a variable of either kind."""
        file = self.write("secret", SECRET)
        other = {"S3_ACCESS_KEY": "bob", "S3_SECRET_KEY": "x", "S3_SECRET_KEY_FILE": "/nowhere"}
        for flags, warnings in (({"secret-key": SECRET}, 1), ({"secret-key-file": file}, 0)):
            given = {"access-key": "alice", **flags}
            self.assertEqual(self.keys(given, other, warnings), ("alice", SECRET))

    def test_one_alone(self) -> None:
        """One of the two keys is of no use."""
        self.assertIn(
            "s3 --access-key: requires --secret-key-file", self.problem(access_key="alice")
        )
        self.load({}, {"S3_SECRET_KEY": SECRET})
        self.assert_problem("S3_SECRET_KEY: requires --access-key or S3_ACCESS_KEY")

    def test_two_secrets(self) -> None:
        """A secret and a file with one, given in the same way, contradict each other."""
        file = self.write("secret", SECRET)
        problem = self.problem(access_key="alice", secret_key=SECRET, secret_key_file=file)
        self.assertEqual(
            problem, "s3 --secret-key: cannot be given together with s3 --secret-key-file"
        )
        environ = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": SECRET, "S3_SECRET_KEY_FILE": file}
        self.load({}, environ)
        self.assert_problem("S3_SECRET_KEY: cannot be given together with S3_SECRET_KEY_FILE")

    def test_command_line(self) -> None:
        """A secret on the command line is warned of, with what to do instead."""
        self.keys({"access-key": "alice", "secret-key": SECRET}, warnings=1)
        for part in ("s3 --secret-key: ", "process list", "--secret-key-file", "S3_SECRET_KEY"):
            self.assertIn(part, self.findings.warnings[0])

    def test_exposed_file(self) -> None:
        """A file that others can read is warned of."""
        file = self.write("secret", SECRET, 0o644)
        self.keys({"access-key": "alice", "secret-key-file": file}, warnings=1)
        self.assertIn(
            "can be read or changed by other users (mode 0644)", self.findings.warnings[0]
        )

    def test_unusable_file(self) -> None:
        """A file that cannot be used is reported once and not by its name, which may be the secret."""
        for path, reason in {
            SECRET: "the file cannot be read: No such file",
            self.write("empty", " \n"): "the file is empty",
            self.write("binary", b"\xff\xfe"): "the file is not UTF-8",
        }.items():
            self.load({"access-key": "alice", "secret-key-file": path})
            self.assert_problem("s3 --secret-key-file: ", reason)

    def test_not_keys(self) -> None:
        """What cannot be a key is refused without being repeated."""
        for text in (f"{SECRET} x", f"{SECRET}\nx", f"{SECRET}ä", SECRET + "x" * 1020):
            self.load({}, {"S3_ACCESS_KEY": "alice", "S3_SECRET_KEY": text})
            self.assert_problem("S3_SECRET_KEY: is not a key")
            self.load({}, {"S3_ACCESS_KEY": text, "S3_SECRET_KEY": "x"})
            self.assert_problem("S3_ACCESS_KEY: is not a key")
