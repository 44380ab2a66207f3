"""Waits for requests on many connections with one entry in the reactor, which makes each of them cheaper.

The reactor calls every reader in a log context of its own, which takes as long as a ready answer.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

AT_ONCE = 0.001
"""Seconds after which the reactor continues, even if more could be read."""


class Reader(Protocol):
    """A connection that the reactor could also read from."""

    def fileno(self) -> int:
        """Return its descriptor."""

    def doRead(self) -> Any:
        """Read what is there; return why the connection is lost, if it is."""

    def stop_polling(self) -> None:
        """Return the connection to the reactor."""

    def readConnectionLost(self, reason: Any) -> None:
        """The other side has stopped sending."""

    def connectionLost(self, reason: Any) -> None:
        """The connection is lost."""


@implementer(IReadDescriptor)
class Poller:
    """Calls readable connections as the reactor would. It is registered with the reactor while it has any.

    It handles data and an orderly end. With anything else, it returns the connection to the reactor.
    An exception of a connection is logged, and closes only that connection. *seconds*: a monotonic
    clock.
    """

    _log = Logger()

    def __init__(self, reactor: Any, seconds: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._epoll = select.epoll()
        self._numbers: dict[Reader, int] = {}
        self._readers: dict[int, Reader] = {}

    def add(self, reader: Reader) -> None:
        """Read from a connection. Idempotent."""
        if reader in self._numbers:
            return
        number = reader.fileno()
        self._epoll.register(number, select.EPOLLIN)
        if not self._readers:
            self._reactor.addReader(self)
        self._numbers[reader] = number
        self._readers[number] = reader

    def remove(self, reader: Reader) -> None:
        """Do not read from a connection, which may be closed already. Idempotent."""
        number = self._numbers.pop(reader, None)
        if number is None:
            return
        del self._readers[number]
        if not self._readers:
            self._reactor.removeReader(self)
        if reader.fileno() == number:
            self._epoll.unregister(number)

    def fileno(self) -> int:
        """Return the descriptor that can be read if one of the connections can."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """Return how the reactor calls this in its log."""
        return "connections"

    def doRead(self) -> None:
        """Call all readable connections, and then those that have become readable meanwhile."""
        readers, until = self._readers, self._seconds() + AT_ONCE
        while readers:
            events = self._epoll.poll(0, len(readers))
            for number, event in events:
                reader = readers.get(number)
                # None: another connection has just closed it.
                if reader is not None:
                    self._read(reader, event)
            if not events or self._seconds() >= until:
                return

    def _read(self, reader: Reader, event: int) -> None:
        try:
            if event != select.EPOLLIN:
                reader.stop_polling()
                return
            why = reader.doRead()
        except Exception as error:
            self._log.failure("a connection has failed")
            why = error
        if why:
            self._lost(reader, why)

    def _lost(self, reader: Reader, why: Exception) -> None:
        try:
            self.remove(reader)
            if why is CONNECTION_DONE:
                reader.readConnectionLost(Failure(why))
            else:
                self._reactor.removeWriter(reader)
                reader.connectionLost(Failure(why))
        except Exception:
            # The reactor would close this poller, and with it all other connections.
            self._log.failure("a connection has failed at its end")

    def connectionLost(self, reason: Any) -> None:
        """The reactor has stopped."""
        for reader in list(self._numbers):
            self._lost(reader, CONNECTION_LOST)


def make_poller(reactor: Any) -> Poller | None:
    """Return a poller; None where the system has none, or the reactor takes no descriptors."""
    if hasattr(select, "epoll") and IReactorFDSet.providedBy(reactor):
        return Poller(reactor)
    return None
