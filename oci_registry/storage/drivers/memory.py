"""A driver that keeps everything in this process's memory: for tests and experiments."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from attrs import evolve
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from oci_registry.storage.drivers.walking import split_marked
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    IObjectWriter,
    IStoredObject,
    KeptObjects,
    ObjectInfo,
    Space,
    StoreError,
    StoreUnavailable,
)
from oci_registry.storage.keys import check_key


@implementer(IStoredObject)
class _MemoryObject:
    """A stored object that is open for reading."""

    def __init__(self, driver: MemoryDriver, info: ObjectInfo, data: bytes, head: bytes) -> None:
        self._driver = driver
        self.info = info
        self.head = head
        self.shared = None
        self._data = data

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return succeed(self._data[offset : offset + length])

    def read_now(self, offset: int, length: int) -> bytes | None:
        return self._data[offset : offset + length]

    def can_send(self, offset: int) -> bool:
        return False

    def send_now(self, socket: int, offset: int, length: int) -> int:
        return 0

    def keep(self) -> KeptObjects | None:
        return self._driver

    def close(self) -> None:
        """Nothing is held."""


@implementer(IInspectedObject)
class _InspectedBytes:
    """A stored object that is inspected."""

    def __init__(self, driver: MemoryDriver, info: ObjectInfo, data: bytes) -> None:
        self.info = info
        self._driver = driver
        self._data = data

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return execute(self._driver.read, self.info.key, self._data, offset, length)

    def withdraw(self, target: str | None) -> Deferred[bool]:
        return execute(self._driver.withdraw, self.info.key, self._data, target)

    def close(self) -> None:
        """Nothing is held."""


@implementer(IObjectWriter)
class _MemoryWriter:
    """A new object that grows until it is committed or cancelled."""

    def __init__(self, driver: MemoryDriver, key: str) -> None:
        self._driver = driver
        self._key = key
        self._data = bytearray()
        self._ended = False
        self._failed = False

    def append(self, data: bytes) -> None:
        if self._driver.broken is not None:
            self._failed = True
            raise StoreError(self._driver.broken)
        self._data += data

    def append_hangs(self, seconds: float, returned: Deferred[None]) -> StoreError:
        self._failed = True
        return StoreUnavailable(f"an append took longer than {seconds:g} s")

    def read(self, offset: int, length: int) -> Deferred[bytes]:
        return succeed(bytes(self._data[offset : offset + length]))

    def read_now(self, offset: int, length: int) -> bytes | None:
        return None

    def can_send(self, offset: int) -> bool:
        return False

    def send_now(self, socket: int, offset: int, length: int) -> int:
        return 0

    def commit(self) -> Deferred[None]:
        if self._driver.broken is not None:
            self._failed = True
            return fail(StoreError(self._driver.broken))
        if self._failed:
            return fail(StoreError("cannot commit what was cancelled or is incomplete"))
        if not self._ended:
            self._ended = True
            self._driver.place(self._key, bytes(self._data), sealed=True)
        return succeed(None)

    def cancel(self) -> Deferred[None]:
        if not self._ended:
            self._ended = self._failed = True
        return succeed(None)

    def close(self) -> None:
        """Nothing is held."""


@implementer(IDriver)
class MemoryDriver:
    """Bytes at keys in a dictionary. Set `broken` to a sentence to make every call fail with it.

    *unreadable*: keys whose bytes cannot be read when they are inspected.
    """

    sweep_interval = 300.0
    check_interval = 0.0

    def __init__(self, clock: IReactorTime) -> None:
        self.broken: str | None = None
        self.unreadable: set[str] = set()
        self._clock = clock
        self._objects: dict[str, tuple[bytes, ObjectInfo]] = {}

    def place(self, key: str, data: bytes, *, sealed: bool) -> None:
        """Store an object; unsealed as if another program had written it."""
        self._objects[key] = (data, ObjectInfo(key, len(data), self._clock.seconds(), sealed))

    def start(self) -> Deferred[None]:
        return self.check()

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def check(self) -> Deferred[None]:
        return succeed(None) if self.broken is None else fail(StoreError(self.broken))

    def check_reading(self) -> Deferred[None]:
        return self.check()

    def check_writing(self) -> Deferred[None]:
        return self.check()

    def space(self) -> Deferred[Space | None]:
        return succeed(None)

    def _find(self, key: str) -> tuple[bytes, ObjectInfo] | None:
        check_key(key)
        if self.broken is not None:
            raise StoreError(self.broken)
        return self._objects.get(key)

    def stat(self, key: str) -> Deferred[ObjectInfo | None]:
        return execute(self.look, key)

    def look(self, key: str) -> ObjectInfo | None:
        """Do the same as `stat`, at once."""
        found = self._find(key)
        return None if found is None else found[1]

    def open(
        self, key: str, head: int = 0, start: int = 0, stop: int | None = None
    ) -> Deferred[IStoredObject | None]:
        return execute(self._open, key, head, start)

    def _open(self, key: str, head: int, start: int) -> IStoredObject | None:
        found = self._find(key)
        if found is None:
            return None
        return _MemoryObject(self, found[1], found[0], found[0][start : start + head])

    def has(self, key: str, data: bytes) -> bool:
        """Whether the object at *key* is still this one."""
        found = self._find(key) if self.broken is None else None
        return found is not None and found[0] is data

    def part(self, key: str, size: int, offset: int, length: int) -> bytes | None:
        """Return bytes of an object, as `KeptObjects` says."""
        found = self._find(key) if self.broken is None else None
        if found is None or not found[1].sealed or len(found[0]) != size:
            return None
        return found[0][offset : offset + length]

    def get(self, key: str, limit: int) -> Deferred[bytes | None]:
        return execute(self.fetch, key, limit)

    def fetch(self, key: str, limit: int) -> bytes | None:
        """Do the same as `get`, at once."""
        found = self._find(key)
        return None if found is None or len(found[0]) > limit else found[0]

    def put(self, key: str, data: bytes) -> Deferred[None]:
        return execute(self._put, key, data)

    def _put(self, key: str, data: bytes) -> None:
        self._find(key)
        self.place(key, data, sealed=True)

    def create(self, key: str, size: int | None = None) -> Deferred[IObjectWriter]:
        return execute(self._create, key)

    def _create(self, key: str) -> IObjectWriter:
        self._find(key)
        return _MemoryWriter(self, key)

    def seal(self, key: str) -> Deferred[None]:
        return execute(self._seal, key)

    def _seal(self, key: str) -> None:
        found = self._find(key)
        if found is not None:
            self._objects[key] = (found[0], evolve(found[1], sealed=True))

    def touch(self, key: str, used: float) -> Deferred[None]:
        return execute(self._touch, key, used)

    def _touch(self, key: str, used: float) -> None:
        found = self._find(key)
        if found is not None:
            self._objects[key] = (found[0], evolve(found[1], used=used))

    def delete(self, key: str) -> Deferred[bool]:
        return execute(self._delete, key)

    def _delete(self, key: str) -> bool:
        self._find(key)
        return self._objects.pop(key, None) is not None

    def delete_many(self, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        return Deferred.fromCoroutine(self._delete_many(keys))

    async def _delete_many(self, keys: Sequence[str]) -> Sequence[str]:
        return [key for key in keys if await self.delete(key)]

    def persist(self, key: str) -> Deferred[None]:
        return execute(self._find, key).addCallback(lambda _: None)

    def link(self, key: str) -> Deferred[str | None]:
        check_key(key)
        return succeed(None)

    def begin_sweep(self, oldest: float) -> Deferred[bool]:
        return self.check().addCallback(lambda _: True)

    def marked(
        self, prefix: str, mark: str, after: str, limit: int
    ) -> Deferred[tuple[Sequence[str], bool]]:
        return execute(self._marked, prefix, mark, after, limit)

    def _marked(self, prefix: str, mark: str, after: str, limit: int) -> tuple[list[str], bool]:
        placed = (split_marked(info.key[len(prefix) + 1 :]) for info in self.walk(prefix))
        found = {one[0] for one in placed if one is not None and one[1] == mark}
        names = sorted(name for name in found if name > after)
        return names[:limit], len(names) > limit

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        for info in self.walk(prefix):
            yield info

    def walk(self, prefix: str) -> Iterator[ObjectInfo]:
        """Do the same as `list`, without a reactor."""
        self._find(prefix)
        for key, (_, info) in sorted(self._objects.items()):
            if key.startswith(prefix + "/"):
                yield info

    async def list_from(self, prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        for info in self.walk(prefix):
            if info.key > after:
                yield info

    def inspect(self, key: str) -> Deferred[IInspectedObject | None]:
        return execute(self._inspect, key)

    def _inspect(self, key: str) -> IInspectedObject | None:
        found = self._find(key)
        return None if found is None else _InspectedBytes(self, found[1], found[0])

    def read(self, key: str, data: bytes, offset: int, length: int) -> bytes:
        """Return a part of what is inspected; raise StoreError if it is unreadable."""
        self._find(key)
        if key in self.unreadable:
            raise StoreError(f"{key} cannot be read")
        return data[offset : offset + length]

    def withdraw(self, key: str, data: bytes, target: str | None) -> bool:
        """Move an object that is still this one, or remove it; return whether it was."""
        if not self.has(key, data):
            self._find(key)
            return False
        if target is not None:
            self.place(check_key(target), data, sealed=False)
        del self._objects[key]
        return True
