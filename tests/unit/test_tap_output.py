"""What the command line prints: --help, --version, --check-config."""

from __future__ import annotations

import os
import shlex
import sys
from io import StringIO

import yaml
from twisted.scripts.twistd import ServerOptions

from oci_registry import __version__, service
from oci_registry.command_options import OTHERS, FilesystemOptions, S3Options
from oci_registry.setup.command import run
from oci_registry.tap import Options

from .config.support import SECRET
from .test_tap import CREDENTIALS, TapTestCase

SWITCHES = (
    "--check-cache-digest",
    "--allow-private-upstreams",
    "--plain-http",
    "--check-config",
)


class Help(TapTestCase):
    """--help and --version."""

    def test_help(self) -> None:
        """The help names every option with its variable and default."""
        text = " ".join(self.printed("--help").split())
        for flag, variable, default in (
            ("--listen", "LISTEN", "0.0.0.0:80"),
            ("--admin-listen", "ADMIN_LISTEN", "none"),
            ("--port", "PORT", ""),
            ("--default-namespace", "DEFAULT_NAMESPACE", "docker.io"),
            ("--default-upstream-namespace", "DEFAULT_UPSTREAM_NAMESPACE", ""),
            ("--upstream-config-file", "UPSTREAM_CONFIG_FILE", "docker.io"),
            ("--upstream-credentials", "UPSTREAM_CREDENTIALS", ""),
            ("--upstream-credentials-file", "", ""),
            ("--check-cache-digest", "CHECK_CACHE_DIGEST", ""),
            ("--allow-private-upstreams", "ALLOW_PRIVATE_UPSTREAMS", ""),
            ("--check-config", "", ""),
            ("--upstreams", "UPSTREAMS", "any"),
            ("--log-level", "LOG_LEVEL", "info"),
            ("--log-format", "LOG_FORMAT", "text"),
            ("--access-log", "ACCESS_LOG", "default: the format of the log"),
            ("--shutdown-grace", "SHUTDOWN_GRACE", "30s"),
            ("--plain-http", "PLAIN_HTTP", ""),
        ):
            switch = flag in SWITCHES
            found = text.find(f" {flag} " if switch else f" {flag}=")
            self.assertGreater(found, 0, flag)
            entry = text[found : found + 160]
            self.assertIn(variable, entry)
            self.assertIn(default, entry)
        self.assertIn("filesystem", text)
        self.assertIn("HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY", text)
        self.assertEqual(self.printed("-h"), self.printed("--help"))

    def test_grouped(self) -> None:
        """Every option is in one group, of the daemon and of each storage."""
        for parser in (Options({}), FilesystemOptions(), S3Options()):
            groups = [*parser.groups, *([] if isinstance(parser, Options) else [OTHERS])]
            options = [option for group in groups for option in group.options]
            flags = [f"{option.flag}{'=' if option.value else ''}" for option in options]
            self.assertEqual(sorted(parser.longOpt), sorted(flags))

    def test_form(self) -> None:
        """It begins with the command, lists setup, ends with examples, and fits the terminal."""
        self.patch(os, "environ", {"COLUMNS": "72"})
        text = self.printed("--help")
        self.assertTrue(text.startswith("Usage: oci-registry [options] filesystem --root"), text)
        self.assertRegex(text, r"(?m)^  setup +print or write")
        options, _, examples = text.partition("\nExamples:\n")
        self.assertEqual(4, len(examples.splitlines()))
        paragraphs = options.partition("\n\n")[2]
        self.assertLessEqual(max(map(len, paragraphs.splitlines())), 72)

    def test_examples(self) -> None:
        """The examples can be parsed as they are."""
        for line in self.printed("--help").partition("\nExamples:\n")[2].splitlines():
            command, *arguments = shlex.split(line)
            self.assertEqual("oci-registry", command)
            if arguments[0] == "setup":
                self.assertEqual(0, run(arguments[1:], {}, StringIO(), StringIO()))
                continue
            options = Options({})
            # Which would be shown, and files are not there.
            wanted = [word for word in arguments if word != "--check-config"]
            if "upstreams.yaml" not in wanted:
                options.parseOptions(wanted)

    def test_twistd(self) -> None:
        """Called by twistd, the help says so."""
        self.patch(sys, "argv", ["/usr/bin/twistd"])
        output = StringIO()
        self.patch(sys, "stdout", output)
        for arguments in (["oci-registry", "--help"], ["oci-registry", "s3", "--help"]):
            self.assertRaises(SystemExit, ServerOptions().parseOptions, arguments)
            start = "Usage: twistd [options of twistd] oci-registry [options] "
            self.assertTrue(output.getvalue().startswith(start), output.getvalue())
            output.truncate(output.seek(0))

    def test_storage_help(self) -> None:
        """The storage has a help of its own."""
        text = self.printed("filesystem", "--help")
        self.assertIn("--root", text)
        self.assertIn("FILESYSTEM_ROOT", text)

    def test_version(self) -> None:
        """The version is that of the daemon and not of Twisted."""
        for arguments in (["--version"], ["-V"], ["filesystem", "--version"], ["s3", "-V"]):
            self.assertEqual(self.printed(*arguments), f"oci-registry {__version__}\n")


class Checking(TapTestCase):
    """--check-config."""

    def test_shown(self) -> None:
        """What would be in effect is printed, without secrets, and nothing is made."""
        self.patch(sys, "stderr", StringIO())
        text = self.printed(
            *("--check-config", "--listen", "127.0.0.1:0", "--upstream-credentials", CREDENTIALS),
            *("filesystem", "--root", self.root),
        )
        document = yaml.safe_load(text)
        self.assertEqual(document["filesystem"], {"root": self.root})
        self.assertEqual(document["upstream-config-file"][0]["hosts"][0]["username"], "alice")
        self.assertNotIn(SECRET, text)
        self.assertFalse(os.path.exists(self.root))

    def test_warnings(self) -> None:
        """Warnings go to standard error."""
        errors = StringIO()
        self.patch(sys, "stderr", errors)
        self.printed(
            *("--check-config", "--upstreams=configured", "--allow-private-upstreams"),
            *("filesystem", "--root", self.root),
        )
        self.assertEqual(
            errors.getvalue(),
            "warning: --allow-private-upstreams: has no effect with --upstreams configured\n",
        )

    def test_problems(self) -> None:
        """Problems are those of a start, and nothing is printed."""
        output = StringIO()
        self.patch(sys, "stdout", output)
        arguments = ["--log-level=loud", "--listen=nowhere:x:y"]
        self.assertEqual(self.refuse("--check-config", *arguments), self.refuse(*arguments))
        self.assertEqual(output.getvalue(), "")

    def check_root(self) -> str:
        """Return the warnings of a check that finds nothing wrong."""
        errors = StringIO()
        self.patch(sys, "stderr", errors)
        self.printed("--check-config", "filesystem", "--root", self.root)
        return errors.getvalue()

    def test_root_of_another(self) -> None:
        """A root that cannot be used, or a directory in it, is found, and nothing is created."""
        inner = os.path.join(self.root, "repositories")
        os.makedirs(inner)
        self.assertEqual("", self.check_root())
        really = os.access
        for refused in (self.root, inner):
            self.patch(
                os, "access", lambda path, mode, no=refused: path != no and really(path, mode)
            )
            text = self.refuse("--check-config", "filesystem", "--root", self.root)
            self.assertEqual(f"filesystem --root: {refused} cannot be written to", text)
        self.assertEqual([["repositories"], []], [os.listdir(self.root), os.listdir(inner)])

    def test_missing_parent(self) -> None:
        """A parent that does not exist is warned of: a volume may not be mounted."""
        self.root = os.path.join(self.root, "a", "b")
        parent = os.path.dirname(self.root)
        self.assertEqual(
            f"warning: filesystem --root: {parent} does not exist and will be created: is a volume "
            "not mounted?\n",
            self.check_root(),
        )
        self.assertFalse(os.path.exists(parent))

    def test_made_as_for_a_start(self) -> None:
        """What only turns out when the daemon is made is reported as well."""

        def make_service(*args: object, **options: object) -> None:
            raise ValueError("/ca.pem holds no certificate")

        self.patch(service, "make_service", make_service)
        text = self.refuse("--check-config", "filesystem", "--root", self.root)
        self.assertEqual(text, "/ca.pem holds no certificate")
