"""A writer around another writer."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from oci_registry.storage.interfaces import IObjectWriter, StoreError


@implementer(IObjectWriter)
class PassingWriter:
    """A writer that passes all calls on to another one; subclasses change commit, cancel or close."""

    def __init__(self, writer: IObjectWriter) -> None:
        self.append: Callable[[bytes], None] = writer.append
        self.append_hangs: Callable[[float, Deferred[None]], StoreError] = writer.append_hangs
        self.read: Callable[[int, int], Deferred[bytes]] = writer.read
        self.read_now: Callable[[int, int], bytes | None] = writer.read_now
        self.can_send: Callable[[int], bool] = writer.can_send
        self.send_now: Callable[[int, int, int], int] = writer.send_now
        self.close: Callable[[], None] = writer.close
        self._writer = writer

    def commit(self) -> Deferred[None]:
        return self._writer.commit()

    def cancel(self) -> Deferred[None]:
        return self._writer.cancel()
