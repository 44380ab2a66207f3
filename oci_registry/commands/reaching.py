"""Finds the running daemon for a command: one that the command line names, or that of the store."""

from __future__ import annotations

import argparse
import errno
import os
import socket
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from oci_registry.admin.local import NAME
from oci_registry.commands.problems import CommandFailed, UsageProblem
from oci_registry.commands.remote import AdminClient
from oci_registry.config.admin import read_token
from oci_registry.config.settings import FilesystemSettings, StorageSettings

_FORMS = "expected: http://HOST:PORT, https://HOST:PORT or unix:PATH"
_PORTS = {"http": 80, "https": 443}
_PATIENCE = 5.0


def find_daemon(
    options: argparse.Namespace, place: StorageSettings | None, environ: Mapping[str, str]
) -> AdminClient | None:
    """Return the daemon that is named, or that of the store in *place*; None if none runs there."""
    file = options.admin_token_file
    if options.admin is None:
        if file is not None:
            raise UsageProblem("--admin-token-file is for --admin")
        return of_store(place)
    file = file or environ.get("ADMIN_TOKEN_FILE", "").strip() or None
    token = None
    if file is not None:
        try:
            token, _ = read_token(file)
        except ValueError as error:
            raise UsageProblem(f"--admin-token-file: {file}: {error}") from None
    return parse_admin(options.admin, token)


def the_daemon(
    options: argparse.Namespace, place: StorageSettings | None, environ: Mapping[str, str]
) -> AdminClient:
    """Do the same as `find_daemon`, but raise `CommandFailed` if none runs."""
    found = find_daemon(options, place, environ)
    if found is None:
        where = place.description if place is not None else "this place"
        raise CommandFailed(f"no daemon runs on {where}, or it has no admin socket there")
    return found


def of_store(place: StorageSettings | None) -> AdminClient | None:
    """Return the daemon that listens in the directory of a store; None if none does."""
    if not isinstance(place, FilesystemSettings):
        return None
    path = os.path.join(place.root, NAME)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trying:
        trying.settimeout(_PATIENCE)
        try:
            trying.connect(path)
        except TimeoutError:
            raise CommandFailed(f"the daemon at {path} does not answer") from None
        except OSError as error:
            if error.errno == errno.EACCES and os.path.exists(path):
                raise CommandFailed(
                    f"{path} belongs to another user: run the command as the user of the daemon"
                ) from None
            # There is no socket, it was left by a killed daemon, or its path is too long.
            return None
    return AdminClient(path, path)


def parse_admin(text: str, token: str | None) -> AdminClient:
    """Return the daemon at a URL; raise `UsageProblem`."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise UsageProblem(f"--admin: {text!r} has no path; {_FORMS}")
        return AdminClient(path, path, token=token)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise UsageProblem(f"--admin: this is not a URL; {_FORMS}") from None
    if url.scheme not in _PORTS or not url.hostname or not _plain(url):
        raise UsageProblem(f"--admin: this is not the URL of an admin API; {_FORMS}")
    return AdminClient(
        f"{url.scheme}://{url.netloc}{url.path.rstrip('/')}",
        (url.hostname, _PORTS[url.scheme] if port is None else port),
        tls=url.scheme == "https",
        prefix=url.path.rstrip("/"),
        token=token,
    )


def _plain(url: SplitResult) -> bool:
    """Whether a URL has no user, query or fragment, and a path that can be sent as it is."""
    odd = url.username or url.password or url.query or url.fragment or "@" in url.netloc
    return not odd and url.path.isascii() and url.path.isprintable() and " " not in url.path
