"""What an operator may do about a tag: look at its history, hold it, roll it back, adopt what waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from attrs import evolve, frozen

from oci_registry.pullthrough.tag_policy import sightings_of
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestUnknown
from oci_registry.spec.manifest import Manifest
from oci_registry.storage.histories import HistoryStore, Sighting, TagHistory
from oci_registry.storage.holds import Hold, HoldStore, TooManyHolds
from oci_registry.storage.tags import LONG_AGO, TagRecord, TagStore

Obtain = Callable[[str, str, Digest], Awaitable[Manifest | None]]
"""Returns a manifest of a registry and a repository; None if it is not stored and no registry is asked.

It raises the `RegistryError` of the registry.
"""


class NotPossible(Exception):
    """The tag is not in a state in which this can be done; the message says why."""


class Records(Protocol):
    """Where a changed record of a tag goes."""

    async def replace(
        self,
        host: str,
        repository: str,
        tag: str,
        record: TagRecord,
        seen: tuple[Sighting, ...],
    ) -> None:
        """Serve this record from now on, and add to the history of the tag. May raise `StoreError`."""


@frozen
class TagStatus:
    """What is known of a tag.

    *digest*: what is served; None if nothing is stored. *due*: when the *waiting* digest is adopted, if
    upstream still names it then; None if that is not known. Times are seconds since the epoch.
    """

    digest: Digest | None
    hold: Hold | None
    record: TagRecord | None
    due: float | None
    history: TagHistory

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object."""
        waiting = None if self.record is None else self.record.waiting
        return {
            "digest": None if self.digest is None else str(self.digest),
            "hold": self.hold
            and {"digest": str(self.hold.digest), "since": shown_time(self.hold.since)},
            "waiting": waiting
            and {
                "digest": str(waiting.digest),
                "since": shown_time(waiting.since),
                "adoptable": None if self.due is None else shown_time(self.due),
            },
            "history": [
                {
                    "digest": str(one.digest),
                    "first_seen": shown_time(one.first),
                    "last_confirmed": shown_time(one.last),
                    "adopted": one.adopted,
                }
                for one in self.history.sightings
            ],
        }


class TagControl:
    """Looks at tags, and changes what is served for them.

    *records*: where changed records go. *min_age*: the minimum age of a tag in seconds, None if it is not
    known. Coroutines may raise `StoreError`; `NotPossible`; `ManifestUnknown` for a tag, or a digest of it,
    that was never seen; and the `RegistryError` of upstream, which is asked for a manifest that is not stored.
    """

    def __init__(
        self,
        tags: TagStore,
        histories: HistoryStore,
        holds: HoldStore,
        records: Records,
        obtain: Obtain,
        min_age: Callable[[str, str, str], float | None],
        now: Callable[[], float],
    ) -> None:
        self._tags = tags
        self._histories = histories
        self._holds = holds
        self._records = records
        self._obtain = obtain
        self._min_age = min_age
        self._now = now

    async def history(self, host: str, repository: str, tag: str) -> TagStatus:
        """Return what is known of a tag, without asking upstream."""
        if not self._holds.loaded:
            await self._holds.load()
        hold = self._holds.find(host, repository, tag)
        stored = await self._histories.get(host, repository, tag)
        record = await self._tags.peek(host, repository, tag)
        if hold is None and stored is None and record is None:
            raise ManifestUnknown(f"the tag {tag} of {host}/{repository} was never pulled here")
        history = (stored or TagHistory()).merged(sightings_of(record))
        due = None
        if record is not None and record.waiting is not None:
            min_age = self._min_age(host, repository, tag)
            due = None if min_age is None else record.waiting.since + min_age
        served = hold or record
        return TagStatus(None if served is None else served.digest, hold, record, due, history)

    async def hold(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> TagStatus:
        """Serve one digest for a tag until it is released: the one that is served now, or another one.

        The hold is durable when this returns. A manifest that is not stored is fetched first.
        """
        status = await self.history(host, repository, tag)
        chosen = digest or status.digest
        if chosen is None:
            raise NotPossible(
                f"no manifest is stored for the tag {tag}: say at which digest to hold it"
            )
        return await self._hold(host, repository, tag, chosen, status)

    async def rollback(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> TagStatus:
        """Hold a tag at an earlier digest: the one that was served before the present one, or another one."""
        status = await self.history(host, repository, tag)
        chosen = digest or _previous(status)
        if chosen is None:
            raise NotPossible(f"no earlier digest of the tag {tag} is known")
        return await self._hold(host, repository, tag, chosen, status)

    async def _hold(
        self, host: str, repository: str, tag: str, digest: Digest, status: TagStatus
    ) -> TagStatus:
        held = status.hold is not None and status.hold.digest == digest
        if status.history.find(digest) is None and not held:
            raise ManifestUnknown(
                f"the tag {tag} of {host}/{repository} has never been {digest} here"
            )
        if await self._obtain(host, repository, digest) is None:
            raise ManifestUnknown(
                f"the manifest {digest} of {host}/{repository} is not stored any more"
            )
        try:
            hold = await self._holds.put(host, repository, tag, digest, self._now())
        except TooManyHolds as error:
            raise NotPossible(str(error)) from None
        return evolve(status, digest=digest, hold=hold)

    async def release(self, host: str, repository: str, tag: str) -> TagStatus:
        """Hold a tag no longer."""
        status = await self.history(host, repository, tag)
        if not await self._holds.remove(host, repository, tag) and status.hold is None:
            raise NotPossible(f"the tag {tag} of {host}/{repository} is not held")
        # The hold may have been all that was known of it.
        served = None if status.record is None else status.record.digest
        return evolve(status, digest=served, hold=None)

    async def adopt(self, host: str, repository: str, tag: str) -> TagStatus:
        """Serve the digest that is waiting from now on, whatever its age.

        If its manifest is not stored and no registry is asked, it is due: the next pull fetches it, if the
        registry still names it.
        """
        status = await self.history(host, repository, tag)
        if status.record is None or status.record.waiting is None:
            raise NotPossible(f"no new digest of the tag {tag} is waiting")
        if status.hold is not None:
            raise NotPossible(f"the tag {tag} is held at {status.hold.digest}: release it first")
        record, waiting = status.record, status.record.waiting
        manifest = await self._obtain(host, repository, waiting.digest)
        if manifest is None:
            adopted = evolve(record, waiting=evolve(waiting, since=LONG_AGO))
        else:
            adopted = TagRecord(
                manifest.digest, manifest.media_type, record.checked, first=waiting.since
            )
        served = Sighting(
            waiting.digest, waiting.since, waiting.since, record.checked, adopted=True
        )
        seen = (*sightings_of(record), served)
        await self._records.replace(host, repository, tag, adopted, seen)
        return await self.history(host, repository, tag)


def shown_time(seconds: float) -> str:
    """Return a time as RFC 3339 text in UTC, to the second; the nearest that there is for an odd one."""
    bounded = min(max(seconds, 0.0), 253402300799.0)
    return datetime.fromtimestamp(bounded, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _previous(status: TagStatus) -> Digest | None:
    """Return the digest that was served before the one that is served now."""
    served = [one.digest for one in status.history.sightings if one.adopted]
    if status.digest in served:
        del served[: served.index(status.digest) + 1]
    return served[0] if served else None
