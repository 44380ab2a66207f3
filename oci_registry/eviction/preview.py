"""The size of a store and its limits, and what is evicted next; for operators, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from oci_registry.account.account import Account
from oci_registry.account.victims import Victim, queue_lengths, victim
from oci_registry.eviction.limit import LOW, StoreLimit
from oci_registry.eviction.plan import Image, Snapshot, plan
from oci_registry.storage.interfaces import Space


@frozen
class Standing:
    """How much is stored, and may be, in bytes; None: not known, or not limited.

    *low*: the size down to which images are evicted. *min_free*: what stays free on the volume.
    """

    stored: int | None
    most: int | None
    low: int | None
    min_free: int | None


def standing(limit: StoreLimit, space: Space | None) -> Standing:
    """Return the size and the limits of a store; *space*: that of the volume, None if it is not known."""
    stored, most, min_free = limit.use.see(space)
    return Standing(stored, most, None if most is None else int(most * LOW), min_free)


async def next_victim(account: Account, limit: StoreLimit) -> Victim | None:
    """Return what would be evicted first if room were needed.

    None without a limit, and if it is not known: the account is not complete, or all images at the
    heads of the queues are in use, are pinned, or have further turns. Raises `AccountOff`,
    `StoreError`.
    """
    snapshot = await limit.evictor.upcoming() if limit.use.is_limited else None
    if snapshot is None:
        return None
    planned = plan(estimated(snapshot, await account.ask(queue_lengths())), 1)
    return await account.ask(victim(planned.images, planned.blobs, planned.freed))


def estimated(snapshot: Snapshot, lengths: Mapping[int, int]) -> Snapshot:
    """Return the same with estimated sizes of the queues, from the average size of the images in it.

    Adding up the sizes would take a second in a large store.
    """

    def size(image: Image) -> int:
        blobs = (snapshot.blobs.get(number) for number in image.blobs)
        return image.size + sum(blob.size for blob in blobs if blob is not None)

    # As many as there are queues.
    sizes: Any = []
    for queue in range(len(snapshot.sizes)):
        known = [size(image) for image in snapshot.images.values() if image.queue == queue]
        sizes.append(sum(known) * lengths.get(queue, 0) // max(1, len(known)))
    return evolve(snapshot, sizes=tuple(sizes))
