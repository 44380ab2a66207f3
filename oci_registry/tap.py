"""The command line. Only here does anything touch the reactor."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.python.usage import Options as BaseOptions
from twisted.python.usage import UsageError

from oci_registry import __version__
from oci_registry.config.loader import load_settings
from oci_registry.config.process_title import SECRETS, hide_secrets
from oci_registry.config.settings import ConfigError, Settings
from oci_registry.config.shown import show
from oci_registry.config.storages import STORAGES

# The message of getopt, from which usage.Options makes its error.
_UNRECOGNIZED = re.compile(r"option --([a-z-]+) not recognized")


class _Options(BaseOptions):
    """Shows the version of this daemon, where `BaseOptions` shows Twisted's, and no secret."""

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"oci-registry {__version__}")  # noqa: T201
        raise SystemExit(0)

    def __repr__(self) -> str:
        # The inherited one shows every value, credentials among them.
        return f"<{type(self).__name__}>"

    def forget(self) -> None:
        """Drop the secrets, which are in the settings once everything is parsed."""
        for name in SECRETS:
            if name in self:
                self[name] = None


class _StorageOptions(_Options):
    """What follows the name of a storage on the command line."""

    name: ClassVar[str]

    def getSynopsis(self) -> str:
        """Return the first line of the help, without the other storages in it."""
        return f"Usage: oci-registry [options] {self.name} [options]"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse what follows the storage; say so if it belongs before it."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            unknown = _UNRECOGNIZED.fullmatch(str(error))
            if unknown is None or not _has_option(self.parent, unknown.group(1)):
                raise
            raise UsageError(
                f"the option --{unknown.group(1)} must stand before '{self.name}', not behind it"
            ) from None

    def parseArgs(self, *arguments: str) -> None:
        """Refuse every argument, without repeating any: it may be a torn piece of a secret."""
        if arguments:
            raise UsageError(
                f"{self.name} takes options only, and {len(arguments)} more came behind them"
            )


class FilesystemOptions(_StorageOptions):
    """Keep everything in a directory."""

    name = "filesystem"
    longdesc = "Keeps everything in a directory, which is created if need be."
    optParameters: ClassVar[list[list[object]]] = [
        ["root", "r", None, "the directory (FILESYSTEM_ROOT; required)"],
    ]


class S3Options(_StorageOptions):
    """Keep everything in a bucket."""

    name = "s3"
    longdesc = (
        "Keeps everything in a bucket of AWS or of any other S3 server. Without keys they are "
        "looked for where programs for AWS do: environment, profiles, the machine's own role."
    )
    optFlags: ClassVar[list[list[object]]] = [
        ["redirect", None, "send clients to the bucket for blobs (S3_REDIRECT; default off)"],
        [
            "redirect-ranges",
            None,
            "with --redirect: for parts of blobs too (S3_REDIRECT_RANGES; default off)",
        ],
    ]
    optParameters: ClassVar[list[list[object]]] = [
        ["bucket", None, None, "the bucket, which must be there (S3_BUCKET; required)"],
        ["host", None, None, "URL of the server (S3_HOST; default AWS)"],
        ["access-key", None, None, "the access key (S3_ACCESS_KEY)"],
        ["secret-key", None, None, "the secret key, for all to see (S3_SECRET_KEY)"],
        ["secret-key-file", None, None, "a file that holds it (S3_SECRET_KEY_FILE)"],
        ["region", None, None, "the region (S3_REGION; default us-east-1)"],
        ["prefix", None, None, "stands before every key, as a directory (S3_PREFIX; default none)"],
        [
            "addressing",
            None,
            None,
            "where URLs have the bucket: path, virtual or auto (S3_ADDRESSING; path, on AWS auto)",
        ],
        ["ca-file", None, None, "PEM file of the CAs to trust for the server (S3_CA_FILE)"],
        [
            "spool",
            None,
            None,
            "directory for blobs on their way (S3_SPOOL; default /var/tmp/oci-registry-spool)",
        ],
        [
            "redirect-host",
            None,
            None,
            "with --redirect: URL of the server for clients (S3_REDIRECT_HOST; default --host)",
        ],
        [
            "s3-connections",
            None,
            None,
            "the most connections to the server (S3_CONNECTIONS; default 32)",
        ],
        [
            "proxy",
            None,
            None,
            "proxy to the server: a URL, none or environment (S3_PROXY; none, on AWS environment)",
        ],
    ]


class Options(_Options):
    """The options of the daemon; `settings` holds the outcome once it is parsed."""

    synopsis = "[options] {filesystem --root DIRECTORY | s3 --bucket BUCKET [options]}"
    longdesc = (
        "A pull-through cache for container images: point any container runtime at it. "
        "The environment variable in parentheses stands in for an option that is not given. "
        "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are honoured. "
        "To configure clients run 'oci-registry setup'; see its --help."
    )
    optFlags: ClassVar[list[list[object]]] = [
        [
            "check-cache-digest",
            None,
            "verify a blob's digest whenever it is read from the store (CHECK_CACHE_DIGEST)",
        ],
        [
            "allow-private-upstreams",
            None,
            "let registries that only a client named have private addresses (ALLOW_PRIVATE_UPSTREAMS)",
        ],
        [
            "check-config",
            None,
            "check everything, show what would be in effect, without secrets, and exit",
        ],
    ]
    optParameters: ClassVar[list[list[object]]] = [
        ["port", "p", None, "listen on 0.0.0.0 at this port (PORT); older form of --listen"],
        [
            "default-namespace",
            None,
            None,
            "the registry meant when a client names none (DEFAULT_NAMESPACE; default docker.io)",
        ],
        [
            "default-upstream-namespace",
            None,
            None,
            "another name of --default-namespace (DEFAULT_UPSTREAM_NAMESPACE)",
        ],
        [
            "upstream-config-file",
            None,
            None,
            "YAML file of upstream registries (UPSTREAM_CONFIG_FILE; default: docker.io)",
        ],
        [
            "upstream-credentials",
            None,
            None,
            'JSON, {"NAMESPACE": {"username":, "password":}}, for all to see (UPSTREAM_CREDENTIALS)',
        ],
        ["upstream-credentials-file", None, None, "a file that holds the same JSON"],
        [
            "upstreams",
            None,
            None,
            "registries to mirror: 'any' that a client names, or 'configured' (UPSTREAMS; any)",
        ],
        [
            "log-level",
            None,
            None,
            "debug, info, warn, error or critical (LOG_LEVEL; default info)",
        ],
        ["log-format", None, None, "text or json (LOG_FORMAT; default text)"],
        [
            "access-log",
            None,
            None,
            "combined, json or off (ACCESS_LOG; default as the log: its format, off above info)",
        ],
        [
            "shutdown-grace",
            None,
            None,
            "how long running responses may take after SIGTERM (SHUTDOWN_GRACE; default 30s)",
        ],
    ]
    subCommands: ClassVar[list[list[object]]] = [
        ["filesystem", None, FilesystemOptions, "keep everything in a directory"],
        ["s3", None, S3Options, "keep everything in a bucket"],
    ]
    settings: Settings

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._environ = os.environ if environ is None else environ
        self["listen"] = []
        self["admin-listen"] = []

    def opt_listen(self, place: str) -> None:
        """
        Where to listen, repeatable: HOST:PORT, unix:PATH or any Twisted endpoint
        (LISTEN; default 0.0.0.0:80)
        """
        self["listen"].append(place)

    opt_l = opt_listen

    def opt_admin_listen(self, place: str) -> None:
        """
        Where to serve metrics, and nowhere else; repeatable, in the same forms
        (ADMIN_LISTEN; default none)
        """
        self["admin-listen"].append(place)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line; `UsageError` says what is wrong, without any secret."""
        # Of the process and not of this parser: what is parsed may be a part of it only.
        hide_secrets(sys.orig_argv)
        try:
            super().parseOptions(options)
        except UsageError as error:
            unknown = str(error).startswith("Unknown command: ")
            if not unknown:
                raise
            # What stands there may be JSON that the shell tore into pieces, password and all.
            raise UsageError(
                "what follows the options is not a storage (one of: "
                f"{', '.join(STORAGES)}); a value that holds spaces or braces needs quotes"
            ) from None

    @property
    def foreign_log(self) -> bool:
        """Whether twistd itself has an option for logging."""
        parent: Any = getattr(self, "parent", None)
        return bool(parent and any(parent.get(key) for key in ("logfile", "syslog", "logger")))

    @property
    def notify_socket(self) -> str | None:
        """The address of the service manager's notification socket (``NOTIFY_SOCKET``), None without one."""
        return self._environ.get("NOTIFY_SOCKET")

    def postOptions(self) -> None:
        """Check everything; UsageError with all problems, a line each."""
        storage = None
        sub_options: Any = getattr(self, "subOptions", None)
        if getattr(self, "subCommand", None) and sub_options is not None:
            storage = (str(self.subCommand), sub_options)
        try:
            self.settings = load_settings(self, storage, self._environ, _check_endpoint)
        except ConfigError as error:
            raise UsageError("\n".join(error.problems)) from None
        finally:
            # They are in the settings now, and nobody shall find them here.
            self.forget()
            if storage is not None:
                storage[1].forget()
        if self["check-config"]:
            self._check_config()

    def _check_config(self) -> None:
        """Show what would be in effect, warnings apart, and exit; UsageError as for a start."""
        try:
            makeService(self)
        except (OSError, ValueError) as error:
            raise UsageError(str(error)) from None
        for warning in self.settings.warnings:
            print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
        print(show(self.settings), end="")  # noqa: T201
        raise SystemExit(0)


def _has_option(options: BaseOptions | None, name: str) -> bool:
    return options is not None and {name, f"{name}="} & set(options.longOpt) != set()


def _check_endpoint(description: str) -> None:
    """Raise when an endpoint cannot be made; nothing listens yet."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

    serverFromString(reactor, description)


def makeService(options: Options) -> IService:
    """Return the daemon's service, as twistd asks for it."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

    from oci_registry.service import make_service  # noqa: PLC0415 - not needed for --help

    return make_service(
        reactor,
        options.settings,
        keep_twistd_log=options.foreign_log,
        notify_socket=options.notify_socket,
    )
