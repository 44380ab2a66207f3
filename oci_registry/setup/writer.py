"""Files below a directory that is written to as if it were ``/``.

No symbolic link below the directory is followed, not even if one is put there meanwhile: every
directory is opened from the one above it.  A file is replaced as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator

from attrs import frozen

from oci_registry.config.files import MAX_FILE_SIZE
from oci_registry.setup.nouns import Unusable
from oci_registry.spec.errors import system_reason

_FILE_MODE = 0o644
_FOLDER_MODE = 0o755
_MOST_BACKUPS = 100


@frozen
class Written:
    """A written file: its path, whether it has changed, and the path of the backup."""

    place: str
    changed: bool
    backup: str | None = None


@frozen
class _Found:
    """An existing file."""

    data: bytes
    mode: int
    owner: tuple[int, int]


class Tree:
    """The files below ``root``, which is created when it is written to; ``now`` returns Unix time.

    Paths are absolute and relate to ``root``. Errors of the system are raised as `Unusable`.
    """

    def __init__(self, root: str, now: Callable[[], float] = time.time) -> None:
        self._root = root
        self._now = now

    def place(self, path: str) -> str:
        """Return the real path of ``path``."""
        return os.path.join(self._root, path.lstrip("/"))

    def read(self, path: str) -> bytes | None:
        """The bytes of a file, ``None`` if there is none."""
        with _telling(path):
            try:
                with self._folder(path, make=False) as (folder, name):
                    found = _find(folder, name)
            except FileNotFoundError:
                return None
        return None if found is None else found.data

    def write(self, path: str, text: str, *, keep: bool = True) -> Written:
        """Write ``text`` to ``path``, with mode and owner of an existing file.

        With ``keep``, the existing file is kept as a backup, whose name has the time in it. Nothing
        is done if the file has this text already.
        """
        data = text.encode()
        place = self.place(path)
        backup = None
        with _telling(path), self._folder(path, make=True) as (folder, name):
            found = _find(folder, name)
            if found is not None and found.data == data:
                return Written(place, changed=False)
            temporary = f".{name}.{secrets.token_hex(4)}.tmp"
            try:
                _create(folder, temporary, data, found)
                if found is not None and keep:
                    backup = self._keep(folder, name, found)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
        return Written(place, True, backup and os.path.join(os.path.dirname(place), backup))

    def remove(self, path: str) -> None:
        """Remove the file at ``path``, and its directory if that is empty then."""
        with _telling(path), self._folder(path, make=False) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        parent = os.path.dirname(path)
        with contextlib.suppress(OSError), self._folder(parent, make=False) as (folder, name):
            os.rmdir(name, dir_fd=folder)

    def restore(self, path: str, backup: str) -> None:
        """Put the file called ``backup``, in the same directory, in place of ``path``."""
        place = os.path.join(os.path.dirname(path), backup)
        with _telling(place), self._folder(path, make=False) as (folder, name):
            if _find(folder, backup) is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            os.rename(backup, name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def _keep(self, folder: int, name: str, found: _Found) -> str:
        """Write a backup under an unused name, and return the name."""
        stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(self._now()))
        for number in range(_MOST_BACKUPS):
            backup = f"{name}.bak-{stamp}" + (f"-{number}" if number else "")
            with contextlib.suppress(FileExistsError):
                _create(folder, backup, found.data, found)
                return backup
        raise FileExistsError(0, "no unused name for a backup")

    @contextlib.contextmanager
    def _folder(self, path: str, *, make: bool) -> Iterator[tuple[int, str]]:
        """Return the open directory of ``path`` and the last name in it; raise `FileNotFoundError`."""
        *folders, name = path.strip("/").split("/")
        if make:
            os.makedirs(self._root, _FOLDER_MODE, exist_ok=True)
        # The root is the operator's choice, even through a link.
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for below in folders:
                inner = _enter(folder, below, make=make)
                os.close(folder)
                folder = inner
            yield folder, name
        finally:
            os.close(folder)


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    """Raise errors of the system as `Unusable`."""
    try:
        yield
    except _RefusedError as error:
        raise Unusable(path, str(error)) from None
    except OSError as error:
        raise Unusable(path, system_reason(error)) from None


class _RefusedError(Exception):
    """An existing entry is not a regular file or directory, and is neither read nor replaced."""


def _enter(folder: int, name: str, *, make: bool) -> int:
    """Open the directory ``name``; create it if it does not exist."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    except OSError:
        _refuse_link(folder, name)
        raise
    os.mkdir(name, _FOLDER_MODE, dir_fd=folder)
    os.fsync(folder)
    made = os.open(name, flags, dir_fd=folder)
    # Whatever the umask is: clients that are not root must be able to read there.
    os.fchmod(made, _FOLDER_MODE)
    return made


def _find(folder: int, name: str) -> _Found | None:
    """Return the file ``name``, ``None`` if there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        _refuse_link(folder, name)
        raise
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _RefusedError("is not a regular file")
        with open(file, "rb", closefd=False) as opened:
            data = opened.read(MAX_FILE_SIZE + 1)
    finally:
        os.close(file)
    if len(data) > MAX_FILE_SIZE:
        raise _RefusedError(f"is longer than {MAX_FILE_SIZE} bytes")
    return _Found(data, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid))


def _create(folder: int, name: str, data: bytes, like: _Found | None) -> None:
    """Write a new file to the disk, with mode and owner of ``like``.

    Until it has them, nobody else can read it, since it may contain secrets.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            status = os.fstat(file)
            if like is not None and like.owner != (status.st_uid, status.st_gid):
                os.fchown(file, *like.owner)
            os.fchmod(file, _FILE_MODE if like is None else like.mode)
            os.fsync(file)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


def _refuse_link(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _RefusedError(f"{name} is a symbolic link, which setup does not follow")
