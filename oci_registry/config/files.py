"""Files named in the configuration, read with limits and specific errors."""

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
# The second is in the header of OpenSSL's older format.
_ENCRYPTED = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type:.*ENCRYPTED", re.M)


class ReadOnly(ValueError):
    """The file system of a directory is mounted read-only."""


class NoAnswer(ValueError):
    """A disk does not respond."""


@frozen
class FileContent:
    """The bytes of a file (not in ``repr``), its permission bits, and whether this user owns it."""

    data: bytes = field(repr=False)
    mode: int
    own: bool = True

    @property
    def exposed(self) -> bool:
        """Return whether other users can read or write the file.

        A file of another user can be read by this one only through its group, as Kubernetes and
        systemd provide secrets. The group may then read it.
        """
        return bool(self.mode & (0o077 if self.own else 0o037))

    @property
    def exposure(self) -> str:
        """Return how it is exposed, as a phrase that follows the name of the file."""
        return f"can be read or changed by other users (mode {self.mode:04o})"


def read_file(path: str) -> FileContent:
    """Return the file at ``path``, of at most `MAX_FILE_SIZE` bytes; raise `ValueError` with the reason.

    The message contains neither the file's name, which the caller adds, nor its content. Only
    regular files are accepted: a pipe can block, and cannot be read again.
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
        # Root can read everything, whatever the permissions.
        own=os.geteuid() in {0, status.st_uid},
    )


def read_secret(path: str, strip: Callable[[str], str]) -> tuple[str, FileContent]:
    """Return the secret in a file, and the file; ``strip`` removes characters that are not a part of
    the secret.

    Raises `ValueError` as `read_file`, and if the file is empty.
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
    """Raise `ValueError`, without the name of the file, unless it contains certificates in PEM form."""
    if b"-----BEGIN CERTIFICATE-----" not in read_file(path).data:
        raise ValueError("contains no certificate in PEM format")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise ValueError("contains an invalid certificate") from None


def check_private_key(path: str, certificate: str) -> FileContent:
    """Return the file at ``path`` if it contains the key of the first certificate in ``certificate``.

    Both are PEM files. Raises `ValueError`, without name and content of the file, if the key is
    missing, encrypted or of another certificate.
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
        # OpenSSL's reasons are not readable. A key of another type matches no certificate at all.
        if error.reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            raise ValueError("contains a private key that does not match the certificate") from None
        reason = str(error.reason or "it is broken").lower().replace("_", " ")
        raise ValueError(f"contains a private key that cannot be used: {reason}") from None
    return content


def fingerprint(*paths: str | None) -> str:
    """Return a fingerprint of the files' content; empty if there are none."""
    given = [path for path in paths if path is not None]
    if not given:
        return ""
    contents = hashlib.sha256()
    for path in given:
        try:
            contents.update(hashlib.sha256(read_file(path).data).digest())
        except ValueError as error:
            contents.update(str(error).encode())
    return contents.hexdigest()


def in_time(check: Callable[[str], T], path: str, seconds: float = ANSWER) -> T:
    """Return or raise the outcome of ``check(path)``; raise `NoAnswer` after ``seconds``, or without a thread.

    The thread of such a check keeps running.
    """
    results: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = check(path)
            results.append(lambda: result)
        except Exception as error:
            results.append(_raising(error))

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise NoAnswer(f"{path} cannot be examined: {error}") from None
    thread.join(seconds)
    if not results:
        raise NoAnswer(f"{path} did not answer within {seconds:g} s")
    return results[0]()


def _raising(error: Exception) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


def check_directory(path: str) -> None:
    """Raise `ValueError` unless the absolute ``path`` can be written to, or created and written to.

    `ReadOnly` if its file system is mounted read-only. The error names the nearest directory that
    exists, which may not be ``path``. Nothing is created.
    """
    existing = _nearest(path)
    if not os.path.isdir(existing):
        raise ValueError(f"{existing} is not a directory")
    _check_access(existing)


def check_store(path: str) -> str | None:
    """Check an existing store at the absolute ``path``, which `check_directory` has accepted.

    Raises `ValueError` if its content cannot be used, for example if another user owns it. Returns
    a warning, or None. Nothing is created.
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
    """Return the path if it exists, else its nearest parent that does."""
    # os.path and not pathlib, whose exists() raises if permission is denied.
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
