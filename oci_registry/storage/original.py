"""Manifests of mcronce/oci-registry in the store, which this daemon can take over.

It keeps a manifest at ``manifests/HOST/REPOSITORY/REFERENCE``, as a JSON object with ``manifest`` (its
bytes as a list of numbers), ``media_type``, and the ``digest`` that the registry claimed, or null. This
module never writes or removes anything there.
"""

from __future__ import annotations

import json

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from oci_registry.repeats import Group, RepeatLog
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid, RegistryError
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.reference import Reference
from oci_registry.storage.interfaces import IDriver, StoreError, StoreUnavailable
from oci_registry.streams.flight import SingleFlight
from oci_registry.streams.parsing import ManifestReader

FOLDER = "manifests"
LOOK = 2.0
"""Seconds in which the first file of the folder must be found."""
LOOK_AGAIN = 60.0
"""Seconds until the folder is looked for again, when that has failed."""
LARGEST = 4 * 1024 * 1024
"""The maximum size of a file that is read; a larger one is not such a manifest."""
_NOT_TAKEN = Group("manifests/ of another program", others="further files are not taken over")


@frozen
class OriginalManifest:
    """A manifest whose digest is right, and when it was written in seconds since the epoch."""

    manifest: Manifest
    written: float


class OriginalManifests:
    """The manifests that mcronce/oci-registry has left on a driver, by registry, repository and reference.

    The first request checks once whether there are any, so that a store without them costs no further
    look-ups. *largest*: the maximum size of a file in bytes.
    """

    _log = Logger()

    def __init__(
        self,
        driver: IDriver,
        reader: ManifestReader,
        clock: IReactorTime,
        repeats: RepeatLog,
        largest: int = LARGEST,
    ) -> None:
        self._largest = largest
        self._driver = driver
        self._reader = reader
        self._clock = clock
        self._repeats = repeats
        self._looking: SingleFlight[str, bool] = SingleFlight()
        self._present: bool | None = None
        self._look_at = 0.0

    async def get(
        self, host: str, repository: str, reference: Reference
    ) -> OriginalManifest | None:
        """Return the manifest of a tag or a digest, if its digest can be checked and is right.

        Raises `StoreError` if the store or the folder cannot be read at all.
        """
        if not await self._are_there():
            return None
        key = f"{FOLDER}/{host}/{repository}/{reference}"
        try:
            data = await self._driver.get(key, self._largest)
            info = None if data is None else await self._driver.stat(key)
            if data is None or info is None:
                return None
            manifest = await self._reader.restore(len(data), _unpack, data, reference)
        except StoreUnavailable:
            raise
        except (
            StoreError,
            RegistryError,
            ValueError,
            KeyError,
            TypeError,
            RecursionError,
        ) as error:
            # A file that cannot be read, such as another user's, says nothing about the store.
            text = "ignored {key}: {error}"
            self._repeats.warn(_NOT_TAKEN, (key,), text, key=key, error=str(error))
            return None
        self._log.info("took over {key}: {digest}", key=key, digest=str(manifest.digest))
        return OriginalManifest(manifest, info.used)

    async def _are_there(self) -> bool:
        if self._present is None and self._clock.seconds() >= self._look_at:
            self._present = await self._looking.run(FOLDER, self._look)
        return bool(self._present)

    async def _look(self) -> bool:
        # Listings have no deadline of their own.
        looking = Deferred.fromCoroutine(self._has_files())
        try:
            return await looking.addTimeout(LOOK, self._clock)
        except (DeferredTimeout, StoreError) as error:
            self._look_at = self._clock.seconds() + LOOK_AGAIN
            raise StoreError(f"{FOLDER}/ could not be listed: {error}") from error

    async def _has_files(self) -> bool:
        async for _ in self._driver.list(FOLDER):
            return True
        return False


def _unpack(data: bytes, reference: Reference) -> Manifest:
    document = json.loads(data)
    if not isinstance(document["manifest"], list):
        # bytes() of a number would return so many zero bytes.
        raise ManifestInvalid("its bytes are not a list")
    claimed = None if document["digest"] is None else Digest.parse(str(document["digest"]))
    asked = reference if isinstance(reference, Digest) else None
    if asked is None and claimed is None:
        raise ManifestInvalid("it has no digest to check its bytes against")
    return Manifest.read(bytes(document["manifest"]), str(document["media_type"]), asked, claimed)
