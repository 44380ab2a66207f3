"""The recorded numbers: counters that the daemon has anyway, all of which only grow."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import astuple, fields, frozen
from prometheus_client.metrics import Counter

from oci_registry.metrics import Metrics
from oci_registry.pull_counts import IMAGE, LIMITED, MANIFEST

_ROUTES = (MANIFEST, "blob")
_METHODS = ("GET", "HEAD")


@frozen
class Counts:
    """Counts since the start of the daemon, or within some time.

    *requests*: GET and HEAD of manifests and blobs; *errors*: those with a status of 500 or more. *hits*,
    *misses*: as in the metrics, of both. *sent*, *fetched*: bytes of blobs, to clients and from registries.
    *images*: GETs of manifests of images; *images_fetched*: those for which something was fetched.
    *limited*: GETs of manifests of registries that count pulls; *limited_fetched*: those sent to the registry.
    """

    requests: int = 0
    errors: int = 0
    hits: int = 0
    misses: int = 0
    sent: int = 0
    fetched: int = 0
    images: int = 0
    images_fetched: int = 0
    limited: int = 0
    limited_fetched: int = 0

    @property
    def saved(self) -> int:
        """Bytes of blobs sent to clients without being fetched from a registry."""
        return max(0, self.sent - self.fetched)

    @property
    def images_cached(self) -> int:
        """Pulls of images for which nothing was fetched."""
        return max(0, self.images - self.images_fetched)

    @property
    def pulls_saved(self) -> int:
        """Manifests from registries that count pulls that were served without a request to them."""
        return max(0, self.limited - self.limited_fetched)

    def row(self) -> tuple[int, ...]:
        """Return the numbers in the order of `COLUMNS`."""
        return astuple(self)


COLUMNS = tuple(field.name for field in fields(Counts))


def grown(before: Sequence[int], now: Sequence[int]) -> tuple[int, ...]:
    """Return by how much each number has grown, 0 if it has become smaller."""
    return tuple(max(0, new - old) for old, new in zip(before, now, strict=True))


def read_counts(metrics: Metrics) -> Counts:
    """Return the current counts."""
    requests = errors = images = limited = 0
    for (route, method, status), count in metrics.responses.items():
        name, *kinds = route.split("/")
        if name not in _ROUTES or method not in _METHODS:
            continue
        requests += count
        errors += count if status.startswith("5") else 0
        if method == "GET" and status == "200":
            images += count if IMAGE in kinds else 0
            limited += count if LIMITED in kinds else 0
    hits, misses = metrics.hits_and_misses()
    pulls = metrics.pulls
    return Counts(
        requests,
        errors,
        hits,
        misses,
        _total(metrics.client_bytes),
        _total(metrics.upstream_bytes),
        images,
        pulls.images_fetched,
        limited,
        pulls.manifests_fetched,
    )


def _total(counter: Counter) -> int:
    """Return the sum of a counter over all its labels."""
    (metric,) = counter.collect()
    return int(sum(each.value for each in metric.samples if each.name.endswith("_total")))
