"""Secrets on the command line, hidden from the list of processes.

Everybody on the machine can read the arguments of every process.  From its start until its options
are parsed those of this one can be read too, so nobody should rely on this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

#: The options whose values are secrets, without dashes.
SECRETS = ("secret-key", "upstream-credentials", "proxy")

MASK = "***"


def mask(arguments: Sequence[str]) -> list[str]:
    """``arguments`` with every secret replaced, that of an abbreviated option too."""
    masked: list[str] = []
    secret_follows = False
    for argument in arguments:
        if secret_follows:
            masked.append(MASK)
            secret_follows = False
            continue
        flag, equals, value = argument.partition("=")
        secret = _is_secret(flag)
        secret_follows = secret and not equals
        masked.append(f"{flag}={MASK}" if secret and value else argument)
    return masked


def hide_secrets(arguments: Sequence[str]) -> None:
    """Show this process without the secrets in its ``arguments``; if there are none, leave it.

    The arguments are all of them, the interpreter's own included.
    """
    masked = mask(arguments)
    if masked == list(arguments):
        return
    # It is needed only here, and to import it may already touch what the process shows.
    from setproctitle import getthreadtitle, setproctitle, setthreadtitle  # noqa: PLC0415

    name = getthreadtitle()
    # What is no UTF-8 would be refused, and the secrets would stay.
    setproctitle(os.fsencode(" ".join(masked)).decode(errors="replace"))
    # The short name by which killall and top know the process was overwritten too.
    setthreadtitle(name)


def _is_secret(flag: str) -> bool:
    name = flag.removeprefix("--")
    return flag.startswith("--") and bool(name) and any(key.startswith(name) for key in SECRETS)
