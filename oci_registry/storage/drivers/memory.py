"""A driver that keeps everything in this process's memory: for tests and for trying things out."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from oci_registry.storage.interfaces import (
    IDriver,
    IObjectWriter,
    IStoredObject,
    ObjectInfo,
    StoreError,
)


@implementer(IStoredObject)
class _MemoryObject:
    def __init__(self, info: ObjectInfo, data: bytes, head: int) -> None:
        self.info = info
        self.head = data[:head]
        self._data = data

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return succeed(self._data[offset : offset + length])

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Nothing is held."""


@implementer(IObjectWriter)
class _MemoryWriter:
    def __init__(self, driver: MemoryDriver, key: str) -> None:
        self._driver = driver
        self._key = key
        self._data = bytearray()
        self._over = False

    def append(self, data: bytes) -> None:
        if self._driver.broken is not None:
            raise StoreError(self._driver.broken)
        self._data += data

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return succeed(bytes(self._data[offset : offset + length]))

    def commit(self) -> Deferred[None]:
        if self._driver.broken is not None:
            return fail(StoreError(self._driver.broken))
        if not self._over:
            self._over = True
            self._driver.place(self._key, bytes(self._data), sealed=True)
        return succeed(None)

    def cancel(self) -> Deferred[None]:
        self._over = True
        return succeed(None)

    def close(self) -> None:
        """Nothing is held."""


@implementer(IDriver)
class MemoryDriver:
    """Bytes at keys in a dictionary. Set `broken` to a sentence to make every call fail with it."""

    def __init__(self, clock: IReactorTime) -> None:
        self.broken: str | None = None
        self._clock = clock
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}

    def place(self, key: str, data: bytes, *, sealed: bool) -> None:
        """Put an object there; unsealed as if somebody else had."""
        self._objects[key] = (data, ObjectInfo(key, len(data), self._clock.seconds(), sealed))

    def start(self) -> Deferred[None]:
        return self.check()

    def check(self) -> Deferred[None]:
        return succeed(None) if self.broken is None else fail(StoreError(self.broken))

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        found = self._objects.get(key)
        return succeed(None if found is None else found[1])

    def open(self, key: str, head: int = 0) -> Deferred[IStoredObject | None]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        found = self._objects.get(key)
        return succeed(None if found is None else _MemoryObject(found[1], found[0], head))

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        found = self._objects.get(key)
        return succeed(None if found is None or len(found[0]) > limit else found[0])

    def put(self, key: str, data: bytes) -> Deferred[None]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        self.place(key, data, sealed=True)
        return succeed(None)

    def create(self, key: str) -> Deferred[IObjectWriter]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        return succeed(_MemoryWriter(self, key))

    def seal(self, key: str) -> Deferred[None]:
        if key in self._objects:
            data, info = self._objects[key]
            self._objects[key] = (data, ObjectInfo(key, info.size, info.used, True))
        return succeed(None)

    def touch(self, key: str, used: float) -> Deferred[None]:
        if key in self._objects:
            data, info = self._objects[key]
            self._objects[key] = (data, ObjectInfo(key, info.size, used, info.sealed))
        return succeed(None)

    def delete(self, key: str) -> Deferred[bool]:
        if self.broken is not None:
            return fail(StoreError(self.broken))
        return succeed(self._objects.pop(key, None) is not None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        if self.broken is not None:
            raise StoreError(self.broken)
        for key, (_, info) in sorted(self._objects.items()):
            if key.startswith(prefix + "/"):
                yield info
