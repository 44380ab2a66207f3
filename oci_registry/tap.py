"""The command line. Only this module imports the reactor."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python.usage import UsageError

from oci_registry.command_options import (
    NAME,
    OTHERS,
    STORE_COMMANDS,
    CommandOptions,
    FilesystemOptions,
    S3Options,
    program,
)
from oci_registry.config.files import check_store, in_time
from oci_registry.config.findings import suggestion
from oci_registry.config.loader import load_settings
from oci_registry.config.process_title import hide_secrets
from oci_registry.config.settings import ConfigError, FilesystemSettings, Settings
from oci_registry.config.storages import STORAGES
from oci_registry.lean_imports import (
    all_plain,
    executing_later,
    without_generated_sources,
    without_tls,
)
from oci_registry.log_output import STANDARD_OUTPUT, TWISTD, LogPlace
from oci_registry.streams.garbage import collecting_seldom, keep_for_good
from oci_registry.usage import Group, Option, UpstreamFileError, option_groups, table, wrap
from oci_registry.usage import width as usage_width

_DESCRIPTION = (
    "A pull-through cache for container images: point any container runtime at it. An option "
    "that is not given is read from the environment variable in parentheses. Options of the daemon "
    "come before the storage, options of the storage after it."
)
_ENVIRONMENT = "The proxies in HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are used."
_EXAMPLES = """\
  {program} --listen 127.0.0.1:8080 filesystem --root ./cache
  {program} --check-config --upstream-config-file upstreams.yaml filesystem --root ./cache
  {program} --listen 0.0.0.0:8080 s3 --bucket images --host https://s3.example.com
  oci-registry setup docker --mirror http://mirror.example:8080
"""


_WORD = re.compile(r"[A-Za-z0-9]{1,20}")


class Options(CommandOptions):
    """The options of the daemon; `settings` has the result after parsing."""

    groups = (
        Group(
            "Listening",
            [
                Option("listen", "PLACE"),
                Option("admin-listen", "PLACE"),
                Option(
                    "admin-token-file",
                    "FILE",
                    "file that contains the token of the admin API on TCP ports (ADMIN_TOKEN_FILE)",
                ),
                Option("port", "N", "older form of --listen 0.0.0.0:N (PORT)", letter="p"),
            ],
        ),
        Group(
            "Registries",
            [
                Option(
                    "upstream-config-file",
                    "FILE",
                    "YAML file of upstream registries (UPSTREAM_CONFIG_FILE; default: docker.io)",
                ),
                Option(
                    "upstreams",
                    "WHICH",
                    "which registries to mirror: any, or configured ones only (UPSTREAMS; default any)",
                ),
                Option(
                    "default-namespace",
                    "HOST",
                    "registry to use when the client names none (DEFAULT_NAMESPACE; default docker.io)",
                ),
                Option(
                    "default-upstream-namespace",
                    "HOST",
                    "another name of --default-namespace (DEFAULT_UPSTREAM_NAMESPACE)",
                ),
                Option(
                    "allow-private-upstreams",
                    text="allow unconfigured registries at private addresses (ALLOW_PRIVATE_UPSTREAMS)",
                ),
                Option(
                    "offline",
                    text="never ask any registry: serve only what is stored (OFFLINE)",
                ),
                Option(
                    "upstream-credentials-file",
                    "FILE",
                    'JSON file of credentials: {"HOST": {"username": "...", "password": "..."}}',
                ),
                Option(
                    "upstream-credentials",
                    "JSON",
                    "the same JSON; visible in the process list (UPSTREAM_CREDENTIALS)",
                ),
            ],
        ),
        Group(
            "Log",
            [
                Option(
                    "log-level",
                    "LEVEL",
                    "debug, info, warn, error, critical or off (LOG_LEVEL; default info)",
                ),
                Option("log-format", "FORMAT", "text or json (LOG_FORMAT; default text)"),
                Option(
                    "access-log",
                    "FORM",
                    "combined, json or off (ACCESS_LOG; default: the format of the log, off above info)",
                ),
            ],
        ),
        Group(
            "Operation",
            [
                Option(
                    "max-size",
                    "SIZE",
                    "most that may be stored: 200GiB, or 80% of the volume (MAX_SIZE; default: none)",
                ),
                Option(
                    "min-free",
                    "SIZE",
                    "how much of the volume must stay free: 20GiB, or 5% (MIN_FREE; default: none)",
                ),
                Option(
                    "scrub-interval",
                    "DURATION",
                    "check all that is stored this often, as in 30d (SCRUB_INTERVAL; default: never)",
                ),
                Option(
                    "scrub-rate",
                    "SIZE",
                    "bytes per second that a check reads (SCRUB_RATE; default 20MB)",
                ),
                Option(
                    "check-cache-digest",
                    text="verify the digest of every blob read from the store (CHECK_CACHE_DIGEST)",
                ),
                Option(
                    "plain-http",
                    text="answer every request in full, without shortcuts; for debugging (PLAIN_HTTP)",
                ),
                Option(
                    "shutdown-grace",
                    "DURATION",
                    "how long responses may take after SIGTERM (SHUTDOWN_GRACE; default 30s)",
                ),
                Option(
                    "workers",
                    "N",
                    "worker processes, or auto: one for each processor (WORKERS; default 1)",
                ),
            ],
        ),
        Group(
            OTHERS.title,
            [
                Option(
                    "check-config",
                    text="check the configuration, show the effective settings without secrets, and exit",
                ),
                *OTHERS.options,
            ],
        ),
    )
    subCommands: ClassVar[list[list[Any]]] = [
        ["filesystem", None, FilesystemOptions, "store images in a directory"],
        ["s3", None, S3Options, "store images in a bucket"],
    ]
    settings: Settings

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._environ = os.environ if environ is None else environ
        self["listen"] = []
        self["admin-listen"] = []

    def opt_listen(self, place: str) -> None:
        """
        HOST:PORT, unix:PATH or any Twisted endpoint; repeatable
        (LISTEN; default 0.0.0.0:80)
        """
        self["listen"].append(place)

    opt_l = opt_listen

    def getSynopsis(self) -> str:
        """Return the first lines of the help: how to call the command."""
        start = f"{program(self.parent)} [options]"
        return (
            f"Usage: {start} filesystem --root DIRECTORY\n"
            f"       {start} s3 --bucket NAME [options of s3]\n"
            f"       {NAME} setup CLIENT --mirror URL [options of setup]\n"
            f"       {NAME} COMMAND ... [options of the command]\n"
        )

    def getUsage(self, width: int | None = None) -> str:
        """Return the rest of the help."""
        if hasattr(self, "subOptions"):
            return str(self.subOptions.getUsage(width))
        columns = width or usage_width()
        commands = [(str(name), str(text)) for name, _, _, text in self.subCommands]
        commands.append(("setup", "print or write the configuration of a client"))
        commands += STORE_COMMANDS.items()
        return "\n".join(
            (
                wrap(_DESCRIPTION, columns),
                table("Commands, each with a --help of its own", commands, columns),
                option_groups(self, self.groups, columns),
                wrap(_ENVIRONMENT, columns),
                f"Examples:\n{_EXAMPLES.format(program=program(self.parent, '-n'))}",
            )
        )

    def opt_admin_listen(self, place: str) -> None:
        """
        Where to serve the admin API, and metrics instead of at --listen; repeatable; none: not in the
        store's directory either (ADMIN_LISTEN; default: admin.sock there)
        """
        self["admin-listen"].append(place)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse the command line; `UsageError` says what is wrong, without any secret."""
        # Those of the process: the parser may get only a part of the command line.
        hide_secrets(sys.orig_argv)
        try:
            super().parseOptions(options)
        except UsageError as error:
            unknown = str(error).startswith("Unknown command: ")
            if not unknown:
                raise
            raise UsageError(self._unknown_storage(str(error).partition(": ")[2])) from None

    def _unknown_storage(self, word: str) -> str:
        hint = suggestion(word, STORAGES)
        values = [self["upstream-credentials"], self["upstream-credentials-file"]]
        # The argument may be a part of JSON that the shell has split, with a password in it.
        torn = any("{" in str(value) for value in values) or values[0] is not None
        if hint and not torn and _WORD.fullmatch(word):
            return f"unknown storage {word!r}: {hint}"
        return (
            f"unknown storage after the options (known: {', '.join(STORAGES)}); quote values that "
            "contain spaces or braces"
        )

    def describe_unknown(self, name: str) -> str:
        """Return the error message for an option that the daemon does not have."""
        for _, _, storage, _ in self.subCommands:
            parser = storage()
            if name in parser.flags:
                return f"--{name} belongs after the storage: {NAME} ... {parser.usage_of(name)}"
        return super().describe_unknown(name)

    @property
    def log_place(self) -> LogPlace:
        """Where to log, according to twistd's options and defaults."""
        parent: Any = getattr(self, "parent", None)
        if parent is None:
            return STANDARD_OUTPUT
        file, daemonized = parent.get("logfile"), not parent.get("nodaemon", True)
        if parent.get("syslog") or parent.get("logger") or (daemonized and file == "-"):
            return TWISTD
        if file and file != "-":
            return LogPlace(str(file))
        return LogPlace("twistd.log") if daemonized else STANDARD_OUTPUT

    @property
    def notify_socket(self) -> str | None:
        """The address of the service manager's notification socket (``NOTIFY_SOCKET``), None without one."""
        return self._environ.get("NOTIFY_SOCKET")

    def postOptions(self) -> None:
        """Check everything; raise UsageError with one line for each problem."""
        places = [*self["listen"], *self["admin-listen"]]
        places += [self._environ.get(name, "") for name in ("LISTEN", "ADMIN_LISTEN")]
        with without_tls() if all_plain(places) else nullcontext():
            # Modules that are imported after this use it unchanged.
            from twisted.internet import endpoints, reactor  # noqa: F401, PLC0415
        self._load()

    def _load(self) -> None:
        storage = None
        sub_options: Any = getattr(self, "subOptions", None)
        if getattr(self, "subCommand", None) and sub_options is not None:
            storage = (str(self.subCommand), sub_options)
        try:
            self.settings = load_settings(self, storage, self._environ, _check_endpoint)
        except ConfigError as error:
            named = self["upstream-config-file"] or self._environ.get("UPSTREAM_CONFIG_FILE")
            in_file = all(problem.startswith(f"{named}: ") for problem in error.problems)
            kind = UpstreamFileError if in_file else UsageError
            raise kind("\n".join(error.problems)) from None
        finally:
            # They are in the settings now, and must not remain here.
            self.forget()
            if storage is not None:
                storage[1].forget()
        if self.settings.workers > 1 and not _can_fork():
            raise UsageError(
                "--workers: needs Linux (epoll), and a reactor of Twisted with file descriptors"
            )
        if self["check-config"]:
            self._check_config()

    def _check_config(self) -> None:
        """Print the effective settings, and warnings separately, and exit; UsageError as at start."""
        from oci_registry.config.shown import show  # noqa: PLC0415 - brings YAML along

        storage = self.settings.storage
        warnings = list(self.settings.warnings)
        try:
            makeService(self)
        except (OSError, ValueError) as error:
            raise UsageError(str(error)) from None
        if isinstance(storage, FilesystemSettings):
            try:
                warning = in_time(check_store, storage.root)
            except ValueError as error:
                raise UsageError(f"filesystem --root: {error}") from None
            warnings += [f"filesystem --root: {warning}"] if warning else []
        for warning in warnings:
            print(f"warning: {warning}", file=sys.stderr)  # noqa: T201
        print(show(self.settings), end="")  # noqa: T201
        raise SystemExit(0)


def _can_fork() -> bool:
    """Whether worker processes can share the sockets of this one."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one
    from twisted.internet.interfaces import (  # noqa: PLC0415 - only for workers
        IReactorFDSet,
        IReactorProcess,
    )

    fitting = IReactorFDSet.providedBy(reactor) and IReactorProcess.providedBy(reactor)
    return fitting and hasattr(select, "epoll") and hasattr(socket, "SOCK_SEQPACKET")


def _check_endpoint(description: str) -> None:
    """Raise when an endpoint cannot be made; nothing listens yet."""
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one
    from twisted.internet.endpoints import serverFromString  # noqa: PLC0415 - nor endpoints

    serverFromString(reactor, description)


def makeService(options: Options) -> IService:
    """Return the daemon's service, as twistd asks for it."""
    reactor: Any
    from twisted.internet import reactor  # noqa: PLC0415 - importing it installs one

    with collecting_seldom(), executing_later(), without_generated_sources():
        from oci_registry.service import make_service  # noqa: PLC0415 - not needed for --help

    # This runs after everything has been started.
    reactor.callWhenRunning(keep_for_good)
    return make_service(
        reactor,
        options.settings,
        log_place=options.log_place,
        notify_socket=options.notify_socket,
    )
