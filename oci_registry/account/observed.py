"""A driver that notifies the account of all objects that are stored, used and removed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    Space,
)
from oci_registry.storage.passing import PassingWriter

T = TypeVar("T")


class Observer(Protocol):
    """Gets notified of changes; its methods return at once and never raise."""

    def changed(self, key: str) -> None:
        """Something was stored or removed at *key*, or may have been."""

    def used(self, key: str, when: float) -> None:
        """The object at *key* was used at *when*."""


class _ObservedWriter(PassingWriter):
    """A writer whose commit is observed."""

    def __init__(self, writer: IObjectWriter, ended: Callable[[], None]) -> None:
        super().__init__(writer)
        self._ended = ended

    def commit(self) -> Deferred[None]:
        return _after(super().commit(), self._ended)


@implementer(IInspectedObject)
class _ObservedObject:
    """An inspected object whose withdrawal is observed."""

    def __init__(self, inspected: IInspectedObject, ended: Callable[[], None]) -> None:
        self.info: ObjectInfo = inspected.info
        self.read: Callable[[int, int], Deferred[bytes]] = inspected.read
        self.close: Callable[[], None] = inspected.close
        self._inspected = inspected
        self._ended = ended

    def withdraw(self, target: str | None) -> Deferred[bool]:
        return _after(self._inspected.withdraw(target), self._ended)


@implementer(IDriver)
class ObservedDriver:
    """A driver that works as *driver* does, with an *observer*.

    The observer is notified after each change, successful or not, and reads the current state itself.
    """

    def __init__(self, driver: IDriver, observer: Observer) -> None:
        self.sweep_interval: float = driver.sweep_interval
        self.check_interval: float = driver.check_interval
        self.start: Callable[[], Deferred[None]] = driver.start
        self.stop: Callable[[], Deferred[None]] = driver.stop
        self.check: Callable[[], Deferred[None]] = driver.check
        self.check_reading: Callable[[], Deferred[None]] = driver.check_reading
        self.check_writing: Callable[[], Deferred[None]] = driver.check_writing
        self.space: Callable[[], Deferred[Space | None]] = driver.space
        self.stat: Callable[[str], Deferred[ObjectInfo | None]] = driver.stat
        self.open: Callable[..., Deferred[IStoredObject | None]] = driver.open
        self.get: Callable[[str, int], Deferred[bytes | None]] = driver.get
        self.persist: Callable[[str], Deferred[None]] = driver.persist
        self.link: Callable[[str], Deferred[str | None]] = driver.link
        self.begin_sweep: Callable[[float], Deferred[bool]] = driver.begin_sweep
        self.marked: Callable[..., Deferred[tuple[Sequence[str], bool]]] = driver.marked
        self.list: Callable[[str], AsyncIterator[ObjectInfo]] = driver.list
        self.list_from: Callable[[str, str], AsyncIterator[ObjectInfo]] = driver.list_from
        self._driver = driver
        self._observer = observer

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return self._observe(self._driver.put(key, data), key)

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        def observe(writer: IObjectWriter) -> IObjectWriter:
            return _ObservedWriter(writer, lambda: self._observer.changed(key))

        return self._driver.create(key, size).addCallback(observe)

    def seal(self, key: str) -> Deferred[None]:
        return self._observe(self._driver.seal(key), key)

    def touch(self, key: str, used: float) -> Deferred[None]:
        self._observer.used(key, used)
        return self._driver.touch(key, used)

    def delete(self, key: str) -> Deferred[bool]:
        return self._observe(self._driver.delete(key), key)

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        return self._observe(self._driver.delete_many(keys), *keys)

    def inspect(self, key: str) -> Deferred[IInspectedObject | None]:
        def observe(inspected: IInspectedObject | None) -> IInspectedObject | None:
            if inspected is None:
                return None
            return _ObservedObject(inspected, lambda: self._observer.changed(key))

        return self._driver.inspect(key).addCallback(observe)

    def _observe(self, work: Deferred[T], *keys: str) -> Deferred[T]:
        def ended() -> None:
            for key in keys:
                self._observer.changed(key)

        return _after(work, ended)


def _after(work: Deferred[T], ended: Callable[[], None]) -> Deferred[T]:
    def both(result: T) -> T:
        ended()
        return result

    return work.addBoth(both)
