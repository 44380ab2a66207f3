"""Files that the configuration names, read with limits and with a distinct error for each fault."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import stat
from collections.abc import Callable
from threading import Thread
from typing import NoReturn, TypeVar

from attrs import field, frozen

from oci_registry.spec.errors import system_reason

#: No configuration file is longer than this many bytes.
MAX_FILE_SIZE = 1024 * 1024

#: Seconds in which a directory answers, unless its disk hangs.
ANSWER = 5.0

T = TypeVar("T")

_KEY = re.compile(rb"-----BEGIN ([A-Z ]+ )?PRIVATE KEY-----")
# The second is what OpenSSL's older form has in its header.
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:.*ENCRYPTED", re.M)


class ReadOnly(ValueError):
    """A directory is on a file system that is mounted read-only."""


class NoAnswer(ValueError):
    """A disk hangs."""


@frozen
class FileContent:
    """The bytes of a file, kept out of ``repr``, its permission bits, and whether it is ours."""

    data: bytes = field(repr=False)
    mode: int
    own: bool = True

    @property
    def exposed(self) -> bool:
        """Whether others than the owner can read or write the file.

        If it is not ours, we can read it as one of its group at best: so Kubernetes and systemd hand
        out secrets.  Then the group may read it.
        """
        return bool(self.mode & (0o077 if self.own else 0o037))

    @property
    def exposure(self) -> str:
        """How it is exposed, as a phrase that follows the name of the file."""
        return f"can be read or changed by other users (mode {self.mode:04o})"


def read_file(path: str) -> FileContent:
    """The whole file at ``path``, at most `MAX_FILE_SIZE` bytes.

    `ValueError` says why it cannot be used, without its name (the caller adds it) and without
    anything out of it. Only a regular file can be read again, and cannot block: a pipe is refused.
    """
    if not path:
        raise ValueError("the name of the file is empty")
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            regular = stat.S_ISREG(status.st_mode)
            data = file.read(MAX_FILE_SIZE + 1) if regular else b""
    except OSError as error:
        raise ValueError(f"cannot be read: {system_reason(error)}") from None
    except ValueError:
        # A NUL in the name, which no file system knows.
        raise ValueError("is not a valid file name") from None
    if not regular:
        raise ValueError("is not a regular file")
    if len(data) > MAX_FILE_SIZE:
        raise ValueError(f"is longer than {MAX_FILE_SIZE} bytes")
    return FileContent(
        data=data,
        mode=stat.S_IMODE(status.st_mode),
        # Root can read everything, whoever may.
        own=os.geteuid() in {0, status.st_uid},
    )


def read_secret(path: str, strip: Callable[[str], str]) -> tuple[str, FileContent]:
    """The secret in a file, and the file; ``strip`` removes what is no part of the secret.

    `ValueError` as for `read_file`, and if there is none.
    """
    content = read_file(path)
    try:
        secret = strip(content.data.decode())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    if not secret:
        raise ValueError("is empty")
    return secret, content


def _open_at_once(path: str, flags: int) -> int:
    # A pipe would wait for somebody to write to it.
    return os.open(path, flags | os.O_NONBLOCK)


def check_certificates(path: str) -> None:
    """Raise `ValueError`, without the name of the file, unless it holds certificates in PEM form."""
    if b"-----BEGIN CERTIFICATE-----" not in read_file(path).data:
        raise ValueError("contains no certificate in PEM format")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise ValueError("contains an invalid certificate") from None


def check_private_key(path: str, certificate: str) -> FileContent:
    """The file at ``path``, if it holds the key of the first certificate in the file ``certificate``.

    Both are PEM.  `ValueError`, without the name of the file and anything out of it, unless the key
    is there, as it is and not encrypted, and belongs to the certificate.
    """
    content = read_file(path)
    if _KEY.search(content.data) is None:
        raise ValueError("contains no private key in PEM format")
    if _ENCRYPTED.search(content.data) is not None:
        raise ValueError("contains an encrypted private key: store it without a passphrase")
    try:
        # The password keeps OpenSSL from asking for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, path, password="")
    except ssl.SSLError as error:
        # OpenSSL's reasons are words of its own. A key of another kind finds no certificate at all.
        if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ValueError("contains a private key that does not match the certificate") from None
        reason = str(error.reason or "it is broken").lower().replace("_", " ")
        raise ValueError(f"contains a private key that cannot be used: {reason}") from None
    return content


def fingerprint(*paths: str | None) -> str:
    """A fingerprint of the files, which changes when one of them does.

    Empty if there are none.
    """
    contents = hashlib.sha256()
    given = [path for path in paths if path is not None]
    for path in given:
        try:
            contents.update(hashlib.sha256(read_file(path).data).digest())
        except ValueError as error:
            contents.update(str(error).encode())
    return contents.hexdigest() if given else ""


def in_time(check: Callable[[str], T], path: str, seconds: float = ANSWER) -> T:
    """Return ``check(path)``, or raise what it raises; `NoAnswer` if that takes longer than ``seconds``.

    Its thread is left behind then.
    """
    results: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = check(path)
            results.append(lambda: result)
        except Exception as error:
            results.append(_raising(error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        raise NoAnswer(f"{path} did not answer within {seconds:g} s")
    return results[0]()


def _raising(error: Exception) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def check_directory(path: str) -> None:
    """Raise `ValueError` unless the absolute ``path`` can be written to, or made and written to.

    `ReadOnly` if the reason is how its file system is mounted.  The error names the nearest directory
    that exists, which need not be ``path``.  Nothing is made.
    """
    existing = _nearest(path)
    if not os.path.isdir(existing):
        raise ValueError(f"{existing} is not a directory")
    _check_access(existing)


def check_store(path: str) -> str | None:
    """Check the content of the absolute ``path`` of a store, which `check_directory` has accepted.

    `ValueError` if what it holds already cannot be used, as when another user has filled it. The
    result is a warning, None without one.  Nothing is made.
    """
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        if os.path.isdir(parent):
            return None
        return f"{parent} does not exist and will be created: is a volume not mounted?"
    wanted = os.R_OK | os.W_OK | os.X_OK
    try:
        _check_access(path, wanted)
    except ReadOnly:
        wanted = os.R_OK | os.X_OK
        _check_access(path, wanted)
    try:
        with os.scandir(path) as entries:
            folders = [entry.path for entry in entries if entry.is_dir()]
    except OSError as error:
        raise ValueError(f"{path}: {system_reason(error)}") from None
    for folder in folders:
        _check_access(folder, wanted)
    return None


def _nearest(path: str) -> str:
    """The path itself if it exists, else the nearest that does on the way to it."""
    # os.path and not pathlib, whose exists() raises where we may not look.
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _check_access(folder: str, mode: int = os.W_OK | os.X_OK) -> None:
    # A read-only volume refuses root as well.
    if os.access(folder, mode):
        return
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise ReadOnly(f"{folder} is on a read-only file system")
    owner, user = os.stat(folder).st_uid, os.geteuid()
    whose = "" if owner == user else f": it belongs to user {owner}, and this is user {user}"
    raise ValueError(f"{folder} cannot be written to{whose}")
