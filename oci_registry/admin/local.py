"""A UNIX socket that only its owner can use, from its creation on."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from typing import Any, cast

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

NAME = "admin.sock"
"""The name of the socket in the directory of a store."""
MODE = 0o600
"""The default permissions of a socket."""
BACKLOG = 128
LONGEST = 107
"""The maximum length in bytes of the address of a UNIX socket on Linux."""


class PathTooLong(OSError):
    """The path of a socket is too long for the system."""


class NoSocket(OSError):
    """Something that is not a socket is where one should be made."""


def open_socket(path: str, mode: int = MODE) -> socket.socket:
    """Return a socket that listens at *path*; the socket of an ended process is replaced.

    Blocks. Raises `OSError`: EADDRINUSE if a process listens there, `NoSocket` if something else is there.
    """
    if len(os.fsencode(path)) > LONGEST:
        raise PathTooLong(
            errno.ENAMETOOLONG, f"the path of a socket has at most {LONGEST} bytes", path
        )
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # On Linux the file gets the permissions that the socket has when it is bound.
        os.fchmod(found.fileno(), mode)
        try:
            found.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            if not is_stale(path):
                _check_socket(path)
                raise
            os.unlink(path)
            found.bind(path)
        # On other systems there is a short time in which others can connect.
        os.chmod(path, mode)
        found.listen(BACKLOG)
    except BaseException:
        found.close()
        raise
    return found


def is_stale(path: str) -> bool:
    """Whether there is a socket at *path* at which nobody listens any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trying:
        return trying.connect_ex(path) in (errno.ECONNREFUSED, errno.ENOENT)


def _check_socket(path: str) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise NoSocket(errno.EADDRINUSE, "another file is there, which is not a socket", path)


class LocalPort(unix.Port):
    """A port on an open socket; when it ends, it removes the socket file if that is still its own."""

    def __init__(
        self, path: str, opened: socket.socket, mode: int, factory: Any, reactor: Any
    ) -> None:
        super().__init__(os.fsencode(path), factory, BACKLOG, mode, reactor)
        self._path = path
        self._own = _identity(path)
        self._preexistingSocket = opened

    def is_removed(self) -> bool:
        """Whether its socket file was removed while its folder, or a new one, is there. Blocks."""
        return not os.path.lexists(self._path) and os.path.isdir(os.path.dirname(self._path))

    def connectionLost(self, reason: Failure) -> None:
        """Remove the socket, unless another process has put its own in its place."""
        with suppress(OSError):
            if self._own is not None and _identity(self._path) == self._own:
                os.unlink(self._path)
        tcp.Port.connectionLost(self, reason)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@implementer(IStreamServerEndpoint)
@frozen
class LocalEndpoint:
    """An endpoint at a *path*, with these permissions."""

    reactor: Any
    path: str
    mode: int = MODE

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen; fails with `CannotListenError`."""
        return execute(self._listen, factory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            opened = open_socket(self.path, self.mode)
        except OSError as error:
            raise CannotListenError(None, self.path, error) from None
        return cast(IListeningPort, self.serve(opened, factory))

    def serve(self, opened: socket.socket, factory: IProtocolFactory) -> LocalPort:
        """Accept connections of a socket that `open_socket` has returned."""
        port = LocalPort(self.path, opened, self.mode, factory, self.reactor)
        port.startListening()
        return port
