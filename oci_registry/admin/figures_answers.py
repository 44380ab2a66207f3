"""Answers of the admin API with figures. Times are seconds since the epoch, sizes are bytes."""

from __future__ import annotations

from attrs import frozen

from oci_registry.management.answers import StoredImage
from oci_registry.management.as_json import Answer


@frozen
class ActivityCounts(Answer):
    """The activity within some time.

    *requests*: GET and HEAD requests for manifests and blobs, whatever the response; *errors*: those
    with a status of 500 or more. *hits*: manifests and blobs that were served from the store, *misses*:
    those that came from a registry, also for ``warm`` and prefetches, as in the metrics. *bytes_sent*:
    bytes of blobs sent to clients, *bytes_fetched*: bytes of blobs received from registries,
    *bytes_saved*: the difference, never below 0. *images*: pulls of images by clients; each is a GET
    of an image manifest (not of an index); *images_cached*: those for which nothing had to be
    fetched, as far as is known. *pulls_saved*: units of rate limits, see the reference.
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
    """The activity in *seconds* from *time* on. The last point has not ended yet."""

    time: float
    seconds: int
    counts: ActivityCounts


@frozen
class Activity(Answer):
    """The activity over an hour, a day or a week (*period*).

    *time*: now. *since*: the beginning of the first point. *recorded*: the beginning of the recording.
    *totals*: the sums of all points. *points*: earliest first, without gaps: 60 of a minute, 96 of 15
    minutes, or 84 of two hours.
    """

    period: str
    time: float
    since: float
    recorded: float
    totals: ActivityCounts
    points: tuple[ActivityPoint, ...]


@frozen
class Victim(Answer):
    """The next image or blob to be evicted when room is needed.

    *kind*: image, or blob for one that no manifest names. *name*: the name of the image, or the digest
    of the blob. *used*: when it was last used. *size*: everything that is stored of it. *frees*: the
    bytes that its eviction frees, which no other image needs. *queue*: its eviction queue: probation,
    main or newest; null for a blob.
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
    """The disk usage of the store, and its limits.

    *size*: bytes of the store on the disk, with its index; null while that is not known. *limit*: the
    maximum size, *low*: the size down to which images are evicted; both null without a limit, or while
    the size of the volume is not known. *reserved*: bytes reserved for running downloads.
    *volume_size*, *volume_free*: null for a bucket. *min_free*: bytes that must stay free on the
    volume, null without such a limit. *next*: the next eviction; null without a limit, and while that
    is not known.
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
    """The first images of an *order*: the largest (``size``), or those pulled most often (``pulls``).

    *time*: when the images were compared, which is repeated after a minute, or after a hundred times
    the duration of the comparison if that is longer. *whole*: false while the index of the store is
    being built: there may be more images.
    """

    order: str
    time: float
    images: tuple[StoredImage, ...]
    whole: bool
