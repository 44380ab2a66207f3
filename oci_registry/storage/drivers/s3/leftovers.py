"""Unfinished multipart uploads of processes that have died."""

from __future__ import annotations

from twisted.logger import Logger

from oci_registry.storage.drivers.s3.multipart import Multipart
from oci_registry.storage.interfaces import StoreError, StoreUnavailable
from oci_registry.streams.threads import RunInThread

ABANDONED = 86400.0
"""Seconds after which an unfinished upload counts as abandoned."""


class Leftovers:
    """Removes abandoned uploads; if the server does not list uploads, that is logged once."""

    _log = Logger()

    def __init__(self, multipart: Multipart, run: RunInThread) -> None:
        self._multipart = multipart
        self._run = run
        self._logged = False

    async def check(self) -> None:
        """Check whether the server lists unfinished uploads. Never fails."""
        try:
            await self._run(next, self._multipart.unfinished(), None)
        except StoreError as error:
            self._refused(error)

    async def remove(self, now: float) -> None:
        """Abort abandoned uploads. Never fails. *now*: seconds since the epoch."""
        try:
            aborted = await self._run(self._abort, now - ABANDONED)
        except StoreError as error:
            self._refused(error)
            return
        self._logged = False
        if aborted:
            self._log.info("removed {count} abandoned uploads", count=aborted)

    def _abort(self, before: float) -> int:
        abandoned = [upload for upload in self._multipart.unfinished() if upload[2] < before]
        for key, upload, _ in abandoned:
            self._multipart.abort(key, upload)
        return len(abandoned)

    def _refused(self, error: StoreError) -> None:
        if self._logged or isinstance(error, StoreUnavailable):
            return
        self._logged = True
        self._log.warn(
            "cannot list unfinished uploads, so remove them by a lifecycle rule of the bucket: {error}",
            error=str(error),
        )
