"""The options that all commands have, and those of the storages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from twisted.python.usage import Options, UsageError

from oci_registry import __version__
from oci_registry.config.findings import suggestion
from oci_registry.config.process_title import SECRETS
from oci_registry.usage import Group, Option, option_groups, wrap
from oci_registry.usage import width as usage_width

# The message of getopt that usage.Options raises again.
_UNRECOGNIZED = re.compile(r"option --(.*) not recognized", re.DOTALL)

NAME = "oci-registry"

STORE_COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "ls": "list the stored images",
        "show": "show what is stored of an image",
        "du": "show how much is stored, by registry and repository",
        "why": "say how fresh an image is, and why it is kept",
        "rm": "remove images from a store",
        "refresh": "have the next pull of a tag ask the registry",
        "pin": "never evict an image, or list such images",
        "unpin": "evict an image as all others again",
        "top": "show the downloads of a running daemon",
        "log": "show what happens in a running daemon",
        "sweep": "have a running daemon remove what has expired",
        "export": "write stored images to a file, to carry them elsewhere",
        "import": "store the images of such files",
        "warm": "have a running daemon fetch images before clients pull them",
        "completion": "print what a shell needs to complete commands",
        "history": "show which digests a tag has had",
        "hold": "serve one digest for a tag, whatever the registry says",
        "release": "end the hold of a tag",
        "rollback": "serve an earlier digest for a tag",
        "adopt": "serve the new digest of a tag before its minimum age",
        "scrub": "check all that is stored, and take out what is corrupt",
    }
)
"""The commands on a store or a daemon, with their descriptions; they are in `oci_registry.commands`."""

OTHERS = Group("Other options", [Option("help"), Option("version")])


class UnknownOption(UsageError):
    """There is no such option, or not here; the message suggests what may have been meant."""


class CommandOptions(Options):
    """Shows options in groups, the version of this daemon instead of Twisted's, and no secrets."""

    groups: ClassVar[Sequence[Group]]
    optFlags: ClassVar[list[list[object]]]
    optParameters: ClassVar[list[list[object]]]

    def __init_subclass__(cls) -> None:
        """Declare the options of the groups in the form of Twisted's `Options`."""
        options = [option for group in vars(cls).get("groups", ()) for option in group.options]
        cls.optFlags = [[each.flag, each.letter, each.text] for each in options if each.is_switch]
        cls.optParameters = [
            [each.flag, each.letter, None, each.text] for each in options if each.is_parameter
        ]

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the options; `UnknownOption` for one that does not exist."""
        try:
            super().parseOptions(options)
        except UnknownOption:
            # The error of the storage's own parser, which is more specific.
            raise
        except UsageError as error:
            unknown = _UNRECOGNIZED.fullmatch(str(error))
            if unknown is None:
                raise
            raise UnknownOption(self.describe_unknown(unknown[1])) from None

    def describe_unknown(self, name: str) -> str:
        """Return the error message for an option that this command does not have."""
        hint = suggestion(name, self.flags, "--")
        return f"option --{name} not recognized" + (f"; {hint}" if hint else "")

    @property
    def flags(self) -> list[str]:
        """The names of all options, without dashes."""
        return [flag.removesuffix("=") for flag in self.longOpt]

    def opt_version(self) -> None:
        """Show the version and exit"""
        print(f"{NAME} {__version__}")  # noqa: T201
        raise SystemExit(0)

    opt_V = opt_version

    def opt_help(self) -> None:
        """Show this help and exit"""
        print(str(self), end="")  # noqa: T201
        raise SystemExit(0)

    opt_h = opt_help

    def __repr__(self) -> str:
        # The inherited one shows every value, credentials among them.
        return f"<{type(self).__name__}>"

    def forget(self) -> None:
        """Forget the secrets, which are in the settings after parsing."""
        for name in SECRETS:
            if name in self:
                self[name] = None


class StorageOptions(CommandOptions):
    """The options that follow the name of a storage on the command line."""

    name: ClassVar[str]
    longdesc: ClassVar[str]

    def getSynopsis(self) -> str:
        """Return the first line of the help."""
        return (
            f"Usage: {program(self.parent.parent)} [options] {self.name} [options of {self.name}]\n"
        )

    def getUsage(self, width: int | None = None) -> str:
        """Return the rest of the help."""
        columns = width or usage_width()
        text = wrap(self.longdesc, columns)
        return f"{text}\n{option_groups(self, (*self.groups, OTHERS), columns)}"

    parent: Any = None

    def describe_unknown(self, name: str) -> str:
        """Return the error message for an option that the storage does not have."""
        if self.parent is not None and name in self.parent.flags:
            return f"the option --{name} must come before '{self.name}', not after it"
        return super().describe_unknown(name)

    def usage_of(self, name: str) -> str:
        """Return the usage of an option of this storage: ``filesystem --root DIRECTORY``."""
        values = {each.flag: each.value for group in self.groups for each in group.options}
        return f"{self.name} --{name} {values[name]}".rstrip()

    def parseArgs(self, *arguments: str) -> None:
        """Refuse every argument, without repeating it: it may be a part of a secret."""
        if arguments:
            raise UsageError(
                f"{self.name} takes options only; unexpected arguments after them: {len(arguments)}"
            )


class FilesystemOptions(StorageOptions):
    """The options of a store in a directory."""

    name = "filesystem"
    longdesc = "Store images in a directory, which is created if it does not exist."
    groups = (
        Group(
            "Options",
            [
                Option(
                    "root", "DIRECTORY", "the directory (FILESYSTEM_ROOT; required)", letter="r"
                ),
            ],
        ),
    )


class S3Options(StorageOptions):
    """The options of a store in a bucket."""

    name = "s3"
    longdesc = (
        "Store images in a bucket on AWS or any other S3 server. Without keys, credentials come from where "
        "AWS tools find them: environment, profiles, the role of the machine."
    )
    groups = (
        Group(
            "Bucket",
            [
                Option("bucket", "NAME", "the bucket, which must exist (S3_BUCKET; required)"),
                Option("host", "URL", "URL of the server (S3_HOST; default AWS)"),
                Option("region", "NAME", "the region (S3_REGION; default us-east-1)"),
                Option(
                    "prefix", "PATH", "prefix of all keys in the bucket (S3_PREFIX; default none)"
                ),
                Option(
                    "addressing",
                    "STYLE",
                    "where URLs name the bucket: path, virtual or auto (S3_ADDRESSING; default path, on "
                    "AWS auto)",
                ),
                Option("ca-file", "FILE", "PEM file of CAs to trust for the server (S3_CA_FILE)"),
            ],
        ),
        Group(
            "Credentials",
            [
                Option("access-key", "KEY", "the access key (S3_ACCESS_KEY)"),
                Option(
                    "secret-key-file",
                    "FILE",
                    "file that contains the secret key (S3_SECRET_KEY_FILE)",
                ),
                Option(
                    "secret-key",
                    "KEY",
                    "the secret key; visible in the process list (S3_SECRET_KEY)",
                ),
            ],
        ),
        Group(
            "Redirects",
            [
                Option(
                    "redirect",
                    text="redirect clients to the bucket for blobs (S3_REDIRECT; default off)",
                ),
                Option(
                    "redirect-ranges",
                    text="with --redirect: redirect range requests too (S3_REDIRECT_RANGES; default off)",
                ),
                Option(
                    "redirect-host",
                    "URL",
                    "with --redirect: URL of the server for clients (S3_REDIRECT_HOST; default --host)",
                ),
            ],
        ),
        Group(
            "Resources",
            [
                Option(
                    "spool",
                    "DIRECTORY",
                    "directory for blobs that are being uploaded (S3_SPOOL; default "
                    "/var/tmp/oci-registry-spool)",
                ),
                Option(
                    "s3-connections",
                    "N",
                    "maximum number of connections to the server (S3_CONNECTIONS; default 32)",
                ),
                Option(
                    "proxy",
                    "URL",
                    "proxy to the server: a URL, none or environment (S3_PROXY; default none, on AWS "
                    "environment)",
                ),
            ],
        ),
    )


def program(parent: Options | None, *options: str) -> str:
    """Return the command that was run, up to the options of the daemon."""
    if parent is None:
        return NAME
    called = os.path.basename(sys.argv[0])
    if called != "twistd":
        return NAME
    return " ".join((called, *(options or ["[options of twistd]"]), NAME))
