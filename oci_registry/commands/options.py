"""The options that all commands have: the store, the naming of images, and the output."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from attrs import evolve, frozen
from twisted.python.usage import UsageError

from oci_registry.command_options import FilesystemOptions, S3Options, StorageOptions
from oci_registry.commands.problems import UsageProblem
from oci_registry.config.findings import Findings
from oci_registry.config.names import fold_alias, parse_namespace
from oci_registry.config.settings import StorageSettings
from oci_registry.config.storages import STORAGES, load_storage
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import HUB, LATEST, ImageName, parse_image

PROGRAM = "oci-registry"
_PARSERS: Mapping[str, type[StorageOptions]] = {"filesystem": FilesystemOptions, "s3": S3Options}
# The variables that select the storage, if the command line does not.
_REQUIRED = {"filesystem": "FILESYSTEM_ROOT", "s3": "S3_BUCKET"}
_STORE = """\
The store is that of --root, or of the daemon's own options after the word filesystem or s3, or of the
daemon's variables (FILESYSTEM_ROOT, S3_BUCKET and so on).
"""

# Options that name a remote daemon, in place of a store.
_DAEMONS = ("admin", "url")
_STATUSES = "0 all done, 1 something is missing or wrong"


class CommandParser(argparse.ArgumentParser):
    """Raises `UsageProblem`, and has the options of all commands on a store."""

    def __init__(self, name: str, description: str, statuses: str = _STATUSES) -> None:
        super().__init__(
            prog=f"{PROGRAM} {name}",
            allow_abbrev=False,
            description=description,
            epilog=f"{_STORE}Exit status: {statuses}, 2 wrong usage.",
        )
        self.add_argument(
            "--default-namespace",
            metavar="HOST",
            help="registry of images that name none (DEFAULT_NAMESPACE; default docker.io)",
        )
        self.add_argument(
            "--namespace",
            metavar="NAME",
            action="append",
            default=[],
            help="a registry in the upstream file whose name is not a host; repeatable",
        )
        self.add_argument(
            "--json", action="store_true", help="print one JSON document in place of lines"
        )
        self.add_argument("--root", metavar="DIRECTORY", help="the directory of the store")

    def error(self, message: str) -> NoReturn:
        """Raise the error."""
        raise UsageProblem(message)


class DaemonParser(CommandParser):
    """Also has the options that name a remote daemon, in place of a store."""

    def __init__(self, name: str, description: str, statuses: str = _STATUSES) -> None:
        super().__init__(name, description, statuses)
        self.add_argument(
            "--admin",
            metavar="URL",
            help="the admin API of a daemon elsewhere: http://HOST:PORT, https://HOST:PORT or unix:PATH "
            "(default: the daemon of the store, if one runs)",
        )
        self.add_argument(
            "--admin-token-file",
            metavar="FILE",
            help="file that contains the token for --admin (ADMIN_TOKEN_FILE)",
        )


@frozen
class Naming:
    """How the names of images are read: the registry of those without one, and registries by name."""

    default: str = HUB
    registries: frozenset[str] = frozenset()

    def parse(self, text: str) -> ImageName:
        """Return the image in *text*; raise a `RegistryError`."""
        return parse_image(text, default=self.default, registries=self.registries, fold=fold_alias)

    def wanted(self, text: str) -> ImageName:
        """Return the image that an argument names, with a tag or a digest; raise `UsageProblem`.

        As for clients, a digest overrides the tag.
        """
        try:
            name = self.parse(text)
        except RegistryError as error:
            raise UsageProblem(error.message) from None
        if name.digest is not None:
            return evolve(name, tag=None)
        return name if name.tag is not None else name.tagged(LATEST)


@frozen
class Common:
    """The options of all commands, checked. *warnings* are sentences for the operator.

    *place*: the store; None if the command line names a daemon elsewhere.
    """

    place: StorageSettings | None
    naming: Naming
    json: bool
    warnings: tuple[str, ...] = ()

    @property
    def storage(self) -> StorageSettings:
        """The store; `UsageProblem` if only a daemon was named."""
        if self.place is None:
            raise UsageProblem("this needs the store itself: give --root in place of --admin")
        return self.place


def parse(
    parser: CommandParser, args: Sequence[str], environ: Mapping[str, str]
) -> tuple[argparse.Namespace, Common]:
    """Return the parsed options of a command, and those of all commands; raise `UsageProblem`."""
    own, storage = _split(parser, args)
    options = parser.parse_args(own)
    findings = Findings()
    settings = None
    elsewhere = [f"--{name}" for name in _DAEMONS if getattr(options, name, None) is not None]
    if len(elsewhere) > 1:
        raise UsageProblem(f"{' and '.join(elsewhere)} both name a daemon: give one of them")
    if not elsewhere:
        others = "".join(f", or --{name} URL" for name in _DAEMONS if hasattr(options, name))
        place = _storage(options.root, storage, environ, others)
        settings = load_storage(place, environ, findings)
    elif storage or options.root is not None:
        raise UsageProblem(f"{elsewhere[0]} names a daemon elsewhere: give no store")
    naming = read_naming(options, environ, findings)
    if findings.problems:
        raise UsageProblem(*findings.problems)
    return options, Common(settings, naming, options.json, tuple(findings.warnings))


def _split(parser: CommandParser, args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the command's own arguments, and those from the name of a storage on."""
    valued = {
        flag
        for action in parser._actions
        if action.option_strings and action.nargs is None
        for flag in action.option_strings
    }
    for at, word in enumerate(args):
        if word in STORAGES and (at == 0 or args[at - 1] not in valued):
            return list(args[:at]), list(args[at:])
    return list(args), []


def _storage(
    root: str | None, words: Sequence[str], environ: Mapping[str, str], others: str
) -> tuple[str, Mapping[str, object]]:
    """Return the storage and its flags: as on the command line, else as in the environment.

    *others*: other possible options, for the message.
    """
    if words:
        if root is not None:
            raise UsageProblem(f"--root cannot be combined with {words[0]}")
        options = _PARSERS[words[0]]()
        try:
            options.parseOptions(words[1:])
        except UsageError as error:
            raise UsageProblem(f"{words[0]}: {error}") from None
        return words[0], options
    if root is not None:
        return "filesystem", {"root": root}
    named = [name for name, variable in _REQUIRED.items() if environ.get(variable, "").strip()]
    if len(named) > 1:
        raise UsageProblem(
            f"which store? {' and '.join(_REQUIRED.values())} are both set: end the command with "
            "filesystem or s3"
        )
    if not named:
        raise UsageProblem(
            f"which store? give --root DIRECTORY, or end the command with s3 --bucket NAME{others}"
        )
    return named[0], {}


def read_naming(
    options: argparse.Namespace, environ: Mapping[str, str], findings: Findings
) -> Naming:
    """Return how the names of images are read; problems are added to *findings*."""
    given = options.default_namespace or environ.get("DEFAULT_NAMESPACE", "").strip() or HUB
    default, registries = HUB, set()
    try:
        default = parse_namespace(given)
    except ValueError as error:
        findings.problem("--default-namespace", error)
    for text in options.namespace:
        try:
            registries.add(parse_namespace(text))
        except ValueError as error:
            findings.problem("--namespace", error)
    return Naming(default, frozenset(registries))
