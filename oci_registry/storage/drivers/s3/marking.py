"""Finds folders of a bucket that have something in a marked folder, in the order of their paths.

A bucket lists keys in their own order, in which ``a-b/_tags/x`` is before ``a/_tags/x``. So some names
that are listed later belong before others; they are few, and are searched for.
"""

from __future__ import annotations

from collections.abc import Iterator

from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.walking import split_marked

_MOST_REQUESTS = 100
"""Listings after which a page may be shorter than was asked for."""


def marked_in_bucket(
    bucket: Bucket, prefix: str, mark: str, after: str, limit: int
) -> tuple[list[str], bool]:
    """Return the result of `IDriver.marked` below a prefix of a bucket. Blocks. Raises `StoreError`."""
    base = f"{prefix}/"
    found: set[str] = set()
    # Names after this one have keys after its keys.
    place, requests, more = base + after, 0, True
    while more and len(found) <= limit and (requests < _MOST_REQUESTS or not found):
        keys, more = bucket.keys(base, place)
        requests += 1
        at: tuple[str, str] | None = None
        for key in keys:
            at = split_marked(key.removeprefix(base))
            if at is not None and at[1] == mark and at[0] > after:
                found.add(at[0])
        if keys:
            # The rest of this folder is skipped: "0" is the character after "/".
            place = keys[-1] if at is None else f"{base}{at[0]}/{at[1]}0"
    if more:
        found.update(
            name
            for name in _may_come_later(place.removeprefix(base), mark)
            if name > after and bucket.keys(f"{base}{name}/{mark}/", "")[0]
        )
    names = sorted(found)
    return names[:limit], more or len(names) > limit


def _may_come_later(place: str, mark: str) -> Iterator[str]:
    """Yield the names whose keys come after *place*, but which come before names whose keys do not.

    Each is the beginning of such a name, and so of *place*, which is between the keys of both.
    """
    for end in range(1, len(place)):
        name = place[:end]
        if not name.endswith("/") and f"{name}/{mark}/" > place:
            yield name
