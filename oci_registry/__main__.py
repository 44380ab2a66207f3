"""The command ``oci-registry``: the daemon in the foreground, without a pid file.

``oci-registry ARGS`` is ``twistd --nodaemon --pidfile= oci-registry ARGS``, and so is
``python -m oci_registry ARGS``.  With ``setup`` as the first argument, it makes the configuration of
clients instead; other commands, such as ``export`` and ``import``, work on a store.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from oci_registry.commands import COMMANDS
from oci_registry.lean_imports import (
    executing_later,
    without_generated_sources,
)
from oci_registry.streams.garbage import collecting_seldom

NAME = "oci-registry"


def main(args: Sequence[str] | None = None) -> None:
    """Run the daemon until a signal ends it.

    ``args`` replace the command line. Problems with them are printed to stderr, one line each, and the
    process exits with status 1.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments[:1] == ["setup"]:
        from oci_registry.setup import command  # noqa: PLC0415 - the daemon has no use for it

        raise SystemExit(command.run(arguments[1:], os.environ, sys.stdout, sys.stderr))
    if arguments and arguments[0] in COMMANDS:
        from oci_registry.commands import main as commands  # noqa: PLC0415 - as above
        from oci_registry.config.process_title import hide_secrets  # noqa: PLC0415 - as above

        hide_secrets(sys.orig_argv)
        raise SystemExit(
            commands.run(arguments[0], arguments[1:], os.environ, sys.stdout, sys.stderr)
        )
    # usage.Options names the program after argv[0], which is __main__.py after "python -m".
    sys.argv[0] = NAME
    with collecting_seldom(), executing_later(), without_generated_sources():
        from twisted.scripts import twistd  # noqa: PLC0415 - while garbage is seldom collected

        config = _parse(arguments)
    twistd.runApp(config)


def _parse(arguments: Sequence[str]) -> Any:
    """Return twistd's options; exit if they are invalid."""
    from twisted.python.usage import UsageError  # noqa: PLC0415 - as in main

    from oci_registry.twistd_options import OwnOptions  # noqa: PLC0415 - as in main
    from oci_registry.usage import UpstreamFileError  # noqa: PLC0415 - as in main

    # twistd's own options, but not its run(), which prints its whole usage on a mistake, and the
    # problem last.
    config: Any = OwnOptions()  # type: ignore[no-untyped-call]
    try:
        config.parseOptions(["--nodaemon", "--pidfile=", NAME, *arguments])
    except UsageError as error:
        for line in (_misspelt(arguments) or str(error)).splitlines():
            print(f"{NAME}: {line}", file=sys.stderr)
        if not isinstance(error, UpstreamFileError):
            print(f"{NAME}: {NAME} --help shows all options", file=sys.stderr)
        raise SystemExit(1) from None
    return config


def _misspelt(arguments: Sequence[str]) -> str | None:
    """Return what is wrong if the first argument is nearly the name of a command."""
    from oci_registry.config.findings import suggestion  # noqa: PLC0415 - as in main
    from oci_registry.config.storages import STORAGES  # noqa: PLC0415 - as in main

    word = arguments[0] if arguments else ""
    known = ("setup", *COMMANDS, *STORAGES)
    hint = None if word in known or suggestion(word, STORAGES) else suggestion(word, known)
    return f"unknown command {word!r}: {hint}" if hint else None


if __name__ == "__main__":
    main()
