"""Tags that are held at a digest.

Each hold is an empty object whose key has all its fields, so a listing is enough to read them, and
processes that share a store do not overwrite each other's. If two of them hold a tag at different
digests, the later one counts, and at equal times the one with the greater digest. A process never
removes a hold that may be later than its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import IDriver
from oci_registry.storage.keys import HOLDS, hold_key, parse_hold_key
from oci_registry.streams.flight import SingleFlight

MOST = 10_000
"""The maximum number of holds."""

Names = tuple[str, str, str]
"""The registry, the repository and the tag."""


class TooManyHolds(Exception):
    """The maximum number of holds is reached; the message says how many."""


@frozen
class Hold:
    """A tag is held at *digest*, *since* a time in seconds since the epoch."""

    digest: Digest
    since: float


class HoldStore:
    """The holds on a driver; all of them are in memory once they are loaded.

    All coroutines may raise `StoreError`. *most*: the maximum number of holds.
    """

    def __init__(self, driver: IDriver, most: int = MOST) -> None:
        self._driver = driver
        self._most = most
        self._all: dict[Names, Hold] = {}
        self._loading: SingleFlight[str, None] = SingleFlight()
        self.changes = 0
        """How often a hold has been set, changed or lifted, here or elsewhere."""
        self.loaded = False
        """Whether they have been read once."""
        self.changed: Callable[[Names], None] = lambda _: None
        """Called with the names of each tag whose hold has been set, changed or lifted, here or elsewhere."""

    def __len__(self) -> int:
        return len(self._all)

    def find(self, host: str, repository: str, tag: str) -> Hold | None:
        """Return the hold of a tag, as far as they are loaded."""
        return self._all.get((host, repository, tag))

    def manifests(self) -> Iterator[tuple[str, Digest]]:
        """Yield the registry and the digest of each hold."""
        for (host, _, _), hold in self._all.items():
            yield host, hold.digest

    def digests(self) -> Iterator[tuple[Names, Digest]]:
        """Yield each tag that is held, and at which digest."""
        for names, hold in self._all.items():
            yield names, hold.digest

    async def load(self) -> None:
        """Read all holds again; concurrent callers share one reading."""
        await self._loading.run("", self._load)

    async def _load(self) -> None:
        found: dict[Names, Hold] = {}
        before = self.changes
        count = 0
        async for info in self._driver.list(HOLDS):
            count += 1
            parsed = parse_hold_key(info.key)
            if parsed is not None:
                names, hold = parsed[:3], Hold(parsed[3], info.used)
                known = found.get(names)
                if known is None or _later(hold, known):
                    found[names] = hold
            if count > 2 * self._most:
                break
        if before == self.changes:
            # Otherwise a hold has been set or lifted here, and the listing may lack it; the next one has it.
            self._replace(found)
        self.loaded = True

    async def put(self, host: str, repository: str, tag: str, digest: Digest, now: float) -> Hold:
        """Hold a tag at a digest, in place of another hold. Durable. Raises `TooManyHolds`."""
        names = (host, repository, tag)
        if names not in self._all and len(self._all) >= self._most:
            raise TooManyHolds(f"{self._most} tags are held already, and no more can be")
        key = hold_key(*names, digest)
        before = await self._list(names)
        writer = await self._driver.create(key, 0)
        try:
            await writer.commit()
        finally:
            writer.close()
        hold = Hold(digest, now)
        self._set(names, hold)
        now_held = await self._list(names)
        own = now_held.pop(key, None)
        for other, since in now_held.items():
            # Equal times do not tell which is later: some media have whole seconds.
            is_earlier = before.get(other) == since or (own is not None and since < own)
            if is_earlier:
                await self._driver.delete(other)
        return hold

    async def remove(self, host: str, repository: str, tag: str) -> bool:
        """Lift the hold of a tag; return whether there was one."""
        names = (host, repository, tag)
        found = await self._list(names)
        for key in found:
            await self._driver.delete(key)
        self._set(names, None)
        return bool(found)

    async def _list(self, names: Names) -> dict[str, float]:
        """Return the keys of the holds of a tag, and their times."""
        prefix = hold_key(*names, Digest.of(b"")).rsplit("/", 3)[0]
        infos = [info async for info in self._driver.list(prefix)]
        return {info.key: info.used for info in infos if parse_hold_key(info.key) is not None}

    def _replace(self, found: dict[Names, Hold]) -> None:
        for names in self._all.keys() - found.keys():
            self._set(names, None)
        for names, hold in found.items():
            known = self._all.get(names)
            if known is None or known.digest != hold.digest:
                self._set(names, hold)

    def _set(self, names: Names, hold: Hold | None) -> None:
        if hold is None:
            self._all.pop(names, None)
        else:
            self._all[names] = hold
        self.changes += 1
        self.changed(names)


def _later(one: Hold, other: Hold) -> bool:
    return (one.since, str(one.digest)) > (other.since, str(other.digest))
