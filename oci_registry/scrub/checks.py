"""Checks of single objects: whether their bytes match their keys."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from attrs import frozen

from oci_registry.scrub.nouns import Kind, Subject
from oci_registry.scrub.pace import LEAST
from oci_registry.spec.digest import Digest, Verifier
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE
from oci_registry.storage.interfaces import (
    IDriver,
    IInspectedObject,
    ObjectInfo,
    StoreError,
    StoreUnavailable,
)
from oci_registry.storage.manifests import unpack
from oci_registry.storage.referrers import LARGEST as LARGEST_LIST
from oci_registry.storage.tags import TagRecord
from oci_registry.streams.parsing import LARGE, ManifestReader
from oci_registry.streams.threads import RunInThread

Spend = Callable[[int], Awaitable[object]]
"""Called after each read with the number of bytes; pauses as needed."""
SETTLING = 600.0
"""Seconds after which a file of another program counts as complete."""
_LARGEST = {
    Kind.MANIFEST: MAX_MANIFEST_SIZE + 1024,
    Kind.TAG: 4096,
    Kind.REFERRERS: LARGEST_LIST,
}


@frozen
class Checked:
    """An object that was checked; *inspected* must be closed. *reason*: what is wrong with it, or None.

    *unreadable*: its bytes could not be read, for that reason. *names*: the manifest that a tag names.
    """

    subject: Subject
    info: ObjectInfo
    inspected: IInspectedObject
    reason: str | None = None
    unreadable: bool = False
    names: Digest | None = None


class _Wrong(Exception):
    """The bytes are wrong; the message says how."""


class Checker:
    """Reads objects and compares them with their digests, *piece* bytes at a time.

    *hashing*: the threads in which blobs are hashed. *reader*: parses manifests. *now*: the time in seconds
    since the epoch.
    """

    def __init__(
        self,
        driver: IDriver,
        hashing: RunInThread,
        reader: ManifestReader,
        now: Callable[[], float],
        piece: int = 1024 * 1024,
    ) -> None:
        self._driver = driver
        self._hashing = hashing
        self._reader = reader
        self._now = now
        self._piece = piece

    async def check(self, subject: Subject, spend: Spend) -> Checked | None:
        """Check an object; None if it is not there, or another program may still be writing it.

        Raises `StoreUnavailable` if the store does not answer. Other errors of the store make the object
        unreadable, if they are repeated.
        """
        for last in (False, True):
            inspected: IInspectedObject | None = await self._driver.inspect(subject.key)
            if inspected is None:
                return None
            done = False
            try:
                info: ObjectInfo = inspected.info
                recent = self._now() - info.used < SETTLING
                if subject.kind is Kind.BLOB and not info.sealed and recent:
                    return None
                try:
                    names = await self._compare(subject, inspected, spend)
                    checked = Checked(subject, info, inspected, names=names)
                except _Wrong as error:
                    checked = Checked(subject, info, inspected, str(error))
                except StoreUnavailable:
                    raise
                except StoreError as error:
                    if not last:
                        # It may have been removed or replaced just now.
                        continue
                    reason = f"it cannot be read: {error}"
                    checked = Checked(subject, info, inspected, reason, unreadable=True)
                done = True
                return checked
            finally:
                if not done:
                    inspected.close()
        raise AssertionError("the second attempt returns")

    async def _compare(
        self, subject: Subject, inspected: IInspectedObject, spend: Spend
    ) -> Digest | None:
        """Raise `_Wrong` unless the bytes are right; return the digest in a tag record."""
        if subject.kind is Kind.BLOB:
            assert subject.digest is not None
            await self._hash(subject.digest, inspected, spend)
            return None
        data = await self._read(_LARGEST[subject.kind], inspected, spend)
        try:
            if subject.kind is Kind.MANIFEST:
                await self._reader.restore(len(data), unpack, subject.digest, [data])
            elif subject.kind is Kind.TAG:
                return TagRecord.from_json(data).digest
            else:
                await self._hashing(_check_list, data)
        except (KeyError, TypeError, RecursionError):
            # Their messages mean nothing to anyone who has not read the code.
            raise _Wrong("it is malformed") from None
        except (RegistryError, ValueError) as error:
            raise _Wrong(str(error) or "it is malformed") from None
        return None

    async def _hash(self, digest: Digest, inspected: IInspectedObject, spend: Spend) -> None:
        verifier = Verifier(digest)
        size: int = inspected.info.size
        while verifier.length < size:
            data: bytes = await inspected.read(verifier.length, self._piece)
            if not data:
                break
            if len(data) <= LARGE:
                verifier.update(data)
            else:
                await self._hashing(verifier.update, data)
            await spend(len(data))
        await spend(max(0, LEAST - verifier.length))
        if not verifier.verified():
            raise _Wrong(f"it has {verifier.length} bytes and the digest {verifier.actual()}")

    async def _read(self, largest: int, inspected: IInspectedObject, spend: Spend) -> bytes:
        size: int = inspected.info.size
        await spend(max(LEAST, min(size, largest)))
        if size > largest:
            raise _Wrong(f"it has {size} bytes, more than the {largest} that are possible")
        found = bytearray()
        while len(found) < size:
            data: bytes = await inspected.read(len(found), size - len(found))
            if not data:
                break
            found += data
        return bytes(found)


def _check_list(data: bytes) -> None:
    """Raise an exception unless this is a stored list of referrers."""
    head, _, index = data.partition(b"\n")
    float(json.loads(head)["checked"])
    if not isinstance(json.loads(index)["manifests"], list):
        raise ValueError("the list of manifests is none")
