"""The reference of options and variables, and what the code knows."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from io import StringIO

import yaml
from botocore import configprovider, credentials, session
from twisted.python import systemd
from twisted.python.usage import Options as BaseOptions
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.warming import JOBS
from oci_registry.command_options import STORE_COMMANDS
from oci_registry.commands import COMMANDS, warming
from oci_registry.commands.options import DaemonParser
from oci_registry.commands.warm_daemon import MOST
from oci_registry.config.shown import show
from oci_registry.pullthrough.warm_state import WarmLimits
from oci_registry.setup import command
from oci_registry.setup.clients import CLIENTS
from oci_registry.tap import FilesystemOptions, Options, S3Options
from tests.support.tables import PROJECT, REFERENCE, table_below

PAGE = REFERENCE / "command-line.md"
COMMANDS_WITH_FLAGS = (
    *("ls", "du", "why", "rm", "top", "log", "sweep", "export", "import", "scrub", "warm"),
)
HEADINGS = (
    "Options",
    "filesystem",
    "s3",
    "setup",
    "Commands on a store",
    *COMMANDS_WITH_FLAGS,
)
_FLAG = re.compile(r"`--([a-z0-9-]+)( [^`]+)?`(?:, `-(\w)`)?")
_VARIABLE = re.compile(r"`([A-Z][A-Z0-9_]+)`")
_DEFAULT = re.compile(r"`([^`]+)`")

Flags = dict[str, tuple[bool, str | None]]


class Watched(Mapping[str, str]):
    """An empty environment that knows what it was asked for."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("nobody has to read everything")

    def __len__(self) -> int:
        raise AssertionError("nobody has to count everything")


def rows(heading: str) -> list[list[str]]:
    """Return the rows of flags below a heading."""
    return table_below(PAGE, heading, 1 if heading == "setup" else 0)


def told(heading: str, table: int | None = None) -> Flags:
    """Return each flag that is told of: whether it takes a value, and its letter."""
    found = rows(heading) if table is None else table_below(PAGE, heading, table)
    matches = [_FLAG.match(row[0]) for row in found]
    return {match[1]: (match[2] is not None, match[3]) for match in matches if match}


def variables(*headings: str) -> set[str]:
    """Return the variables in the tables below headings."""
    return {name for each in headings for row in rows(each) for name in _VARIABLE.findall(row[1])}


def proxy_variables() -> set[str]:
    """Return the variables of proxies that are told of, in both cases."""
    upper = {name for row in table_below(PAGE, "Proxies") for name in _VARIABLE.findall(row[0])}
    return upper | {name.lower() for name in upper}


def known(options: BaseOptions) -> Flags:
    """Return each flag that a parser knows."""
    letters = {options.synonyms[letter]: letter for letter in options.synonyms if len(letter) == 1}
    return {
        name.removesuffix("="): (name.endswith("="), letters.get(name.removesuffix("=")))
        for name in options.longOpt
    }


class Reference(SynchronousTestCase):
    """docs/reference/command-line.md."""

    def setUp(self) -> None:
        self.environ = Watched()

    def parse(self, *storage: str) -> Options:
        options = Options(self.environ)
        options.parseOptions(storage)
        return options

    def test_flags(self) -> None:
        """Every flag is there, with its letter and whether it takes a value, and no other."""
        self.assertEqual(known(Options({})), told("Options"))
        for heading, parser in (("filesystem", FilesystemOptions), ("s3", S3Options)):
            flags = known(parser())
            for general in ("help", "version"):
                del flags[general]
            self.assertEqual(flags, told(heading))

    def test_flags_of_setup(self) -> None:
        """Every flag of the command that sets up clients is in the reference, and no other."""
        actions = command._parser()._actions
        flags = {flag for action in actions for flag in action.option_strings} - {"-h", "--help"}
        self.assertEqual(flags, {f"--{name}" for name in told("setup")})
        clients = {
            name
            for row in table_below(PAGE, "setup")
            for name in re.findall(r"`([a-z0-9]+)`", row[0])
        }
        self.assertEqual(set(CLIENTS), clients)

    def test_flags_of_commands(self) -> None:
        """Every flag of the commands on a store is in the reference; they have some in common."""
        common = told("Commands on a store")
        text = PAGE.read_text("utf-8")
        of_tags = {row[0].strip("`").split()[0] for row in table_below(PAGE, "Commands on tags")}
        for name in set(COMMANDS) - {"completion"}:
            module = import_module(f"oci_registry.commands.{COMMANDS[name]}")
            actions = module.parser()._actions
            flags = {
                flag: (action.nargs != 0, letters[0].lstrip("-") if letters else None)
                for action in actions
                for flag in (each[2:] for each in action.option_strings if each.startswith("--"))
                for letters in ([each for each in action.option_strings if each[1:2] != "-"],)
                if flag != "help"
            }
            own = told(name) if name in COMMANDS_WITH_FLAGS else {}
            reaches = isinstance(module.parser(), DaemonParser)
            reaching = told("Commands on a store", 1) if reaches else {}
            self.assertEqual(flags, {**common, **reaching, **own})
            self.assertNotEqual(f"\n## {name}\n" in text, name in of_tags)
            self.assertIn(name, STORE_COMMANDS)
        self.assertLess(of_tags, set(COMMANDS))
        self.assertEqual(set(COMMANDS), set(STORE_COMMANDS))

    def test_jobs_of_warm(self) -> None:
        """How many objects `warm` fetches at once is there: the default, and the range."""
        self.assertEqual((WarmLimits().jobs, JOBS), (warming.MOST_JOBS, warming.JOBS))
        self.assertEqual(WarmLimits().images, MOST)
        (jobs,) = (row for row in rows("warm") if "--jobs" in row[0])
        self.assertEqual(
            (f"`{warming.JOBS}`", f"1 to {warming.MOST_JOBS}"),
            (jobs[2], jobs[3].rpartition(", ")[2]),
        )

    def test_variables(self) -> None:
        """Every variable that is read is told of, and no other."""
        self.parse("filesystem", "--root", self.mktemp())
        everywhere = variables("Options") | proxy_variables()
        # Only its absence is seen, since the flag that is required here is given.
        self.assertEqual(everywhere, self.environ.asked)
        self.parse("s3", "--bucket", "bucket")
        read = everywhere | variables("s3") - {"S3_BUCKET"} | {"TMPDIR"}
        self.assertEqual(read, self.environ.asked)
        self.assertIsNone(self.parse("s3", "--bucket", "bucket").notify_socket)
        self.assertIn("NOTIFY_SOCKET", self.environ.asked)
        others = {
            name
            for row in table_below(PAGE, "Other variables")
            for name in _VARIABLE.findall(row[0])
        }
        self.assertEqual(
            self.environ.asked - read,
            {name for name in others if not name.startswith(("LISTEN_", "AWS_"))} - {"TMPDIR"},
        )

    def test_variables_of_libraries(self) -> None:
        """Variables of systemd and of the SDK that are told of are read by Twisted and botocore."""
        read = inspect.getsource(systemd) + "".join(
            inspect.getsource(module) for module in (credentials, configprovider, session)
        )
        others = [
            name
            for row in table_below(PAGE, "Other variables")
            for name in _VARIABLE.findall(row[0])
        ]
        of_libraries = [name for name in others if name.startswith(("LISTEN_", "AWS_"))]
        self.assertGreater(len(of_libraries), 8)
        for name in of_libraries:
            self.assertRegex(read, rf"['\"]{name}['\"]")

    def test_variables_of_what_is_required(self) -> None:
        """The variables of flags that are required are in the reference."""
        for storage in ("filesystem", "s3"):
            with self.assertRaises(Exception) as caught:
                self.parse(storage)
            (variable,) = variables(storage) & {"FILESYSTEM_ROOT", "S3_BUCKET"}
            self.assertIn(variable, self.environ.asked)
            self.assertIn(variable, str(caught.exception))

    def test_variables_of_setup(self) -> None:
        """The variables of the command that sets up clients are in the reference."""
        status = command.run(
            ["docker", "--mirror", "http://mirror.example"], self.environ, StringIO(), StringIO()
        )
        self.assertEqual(0, status)
        # Those of proxies are told of in the text.
        proxies = {"http_proxy", "HTTP_PROXY"}
        self.assertEqual(variables("setup") | proxies, self.environ.asked)

    def test_defaults(self) -> None:
        """What is reported as a default is what is in effect if nothing is given."""
        shown = yaml.safe_load(show(self.parse("filesystem", "--root", self.mktemp()).settings))
        bucket = yaml.safe_load(
            show(self.parse("s3", "--bucket", "bucket", "--host", "http://127.0.0.1").settings)
        )
        told = {
            flag[1]: {"off": "False"}.get(row[2], default[1] if default else None)
            for row in (*rows("Options"), *rows("s3"))
            if (flag := _FLAG.match(row[0]))
            for default in (_DEFAULT.match(row[2]),)
        }
        effect = {name: str(value) for name, value in {**bucket["s3"], **shown}.items()}
        host, _, port = str(told.pop("listen")).rpartition(":")
        self.assertEqual([f"tcp:{port}:interface={host}"], shown["listen"])
        defaults = {name: default for name, default in told.items() if default is not None}
        self.assertEqual(defaults, {name: effect.get(name) for name in defaults})
        self.assertGreater(len(defaults), 9)

    def test_readme(self) -> None:
        """The README has no flag and no variable that is not in the reference."""
        table = table_below(PROJECT / "README.md", "Configuration")
        all_flags = {name for heading in HEADINGS for name in told(heading)}
        all_variables = variables(*HEADINGS) | proxy_variables()
        for row in table:
            self.assertLessEqual(set(re.findall(r"--([a-z-]+)", row[0])), all_flags)
            self.assertLessEqual(set(_VARIABLE.findall(row[1])), all_variables)
        self.assertGreater(len(table), 9)
