"""Hides secrets on the command line from the list of processes.

All users of the machine can read the arguments of every process. Those of this one can be read
until its options are parsed, so this is no real protection.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

#: The options whose values are secrets, without dashes.
SECRETS = ("secret-key", "upstream-credentials", "proxy")

MASK = "***"


def mask(arguments: Sequence[str]) -> list[str]:
    """Return ``arguments`` with every secret replaced, also in abbreviated options."""
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
    """Replace the secrets in the ``arguments`` that this process shows, if there are any.

    ``arguments`` are all of them, including those of the interpreter.
    """
    masked = mask(arguments)
    if masked == list(arguments):
        return
    # It is needed only here, and importing it may already change what the process shows.
    from setproctitle import getthreadtitle, setproctitle, setthreadtitle  # noqa: PLC0415

    name = getthreadtitle()
    # Text that is not UTF-8 would be refused, and the secrets would stay.
    setproctitle(os.fsencode(" ".join(masked)).decode(errors="replace"))
    # The short name that killall and top show was overwritten too.
    setthreadtitle(name)


def _is_secret(flag: str) -> bool:
    name = flag.removeprefix("--")
    return flag.startswith("--") and bool(name) and any(key.startswith(name) for key in SECRETS)
