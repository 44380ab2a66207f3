"""What the admin API says in figures. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

from attrs import frozen

from oci_registry.management.answers import StoredImage
from oci_registry.management.as_json import Answer


@frozen
class ActivityCounts(Answer):
    """What has happened in some time.

    *requests*: GET and HEAD requests for manifests and blobs, whatever the answer; *errors*: those of them that
    were answered with a status of 500 or more. *hits*: manifests and blobs that were served from the store,
    *misses*: those that came from a registry, also for ``warm`` and prefetches, as in the metrics.
    *bytes_sent*: bytes of blobs sent to clients, *bytes_fetched*: bytes of blobs received from registries,
    *bytes_saved*: the difference, never below 0. *images*: pulls of images by clients, each of which is a GET
    of an image manifest (not of an index); *images_cached*: those of which nothing had to be fetched, as far as
    is known. *pulls_saved*: units of rate limits, see the reference.
    """

    requests: int
    errors: int
    hits: int
    misses: int
    bytes_sent: int
    bytes_fetched: int
    bytes_saved: int
    images: int
    images_cached: int
    pulls_saved: int


@frozen
class ActivityPoint(Answer):
    """What has happened in *seconds* from *time* on. The last point has not ended yet."""

    time: float
    seconds: int
    counts: ActivityCounts


@frozen
class Activity(Answer):
    """What has happened over an hour, a day or a week (*period*).

    *time*: now. *since*: when the first point begins. *recorded*: since when anything is recorded.
    *totals*: of all points. *points*: the earliest comes first, none is left out: 60 of a
    minute, 96 of 15 minutes, or 84 of two hours.
    """

    period: str
    time: float
    since: float
    recorded: float
    totals: ActivityCounts
    points: tuple[ActivityPoint, ...]


@frozen
class Victim(Answer):
    """What is evicted next when room is needed.

    *kind*: image, or blob for one that no manifest names. *name*: of an image, or the digest of a blob. *used*:
    when it was last used. *size*: all that is stored of it. *frees*: what its eviction frees: the part that no
    other image needs. *queue*: of the eviction, probation, main or newest; null for a blob.
    """

    kind: str
    name: str
    digest: str
    used: float
    size: int
    frees: int
    queue: str | None


@frozen
class Disk(Answer):
    """What the store takes, and may take.

    *size*: what the store takes on the disk, with its index; null while that is not known. *limit*: what it may
    take, *low*: the size down to which images are evicted; null without a limit, or while the size of the
    volume is not known. *reserved*: for blobs that are being downloaded. *volume_size*, *volume_free*: null
    for a bucket. *min_free*: what has to stay free on the volume, null without such a limit. *next*: what is
    evicted next; null without a limit, and while that is not known.
    """

    time: float
    size: int | None
    limit: int | None
    low: int | None
    reserved: int
    volume_size: int | None
    volume_free: int | None
    min_free: int | None
    next: Victim | None


@frozen
class TopImages(Answer):
    """The first images in some *order*: ``size``, the largest, or ``pulls``, those that were pulled most.

    *time*: when the images were compared, which is done again after a minute, or a hundred times as long as it
    takes. *whole*: false while the index of the store is being built: there may be others.
    """

    order: str
    time: float
    images: tuple[StoredImage, ...]
    whole: bool
