"""What is recorded: numbers that the daemon counts anyway, all of which only grow."""

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
    """Numbers since the start of the daemon, or in some time.

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
        """Bytes of blobs that clients got and no registry had to send."""
        return max(0, self.sent - self.fetched)

    @property
    def images_cached(self) -> int:
        """Pulls of images for which nothing was fetched."""
        return max(0, self.images - self.images_fetched)

    @property
    def pulls_saved(self) -> int:
        """Manifests that clients got from a registry that counts pulls, and that it was not asked for."""
        return max(0, self.limited - self.limited_fetched)

    def row(self) -> tuple[int, ...]:
        """Return the numbers in the order of `COLUMNS`."""
        return astuple(self)


COLUMNS = tuple(field.name for field in fields(Counts))


def grown(before: Sequence[int], now: Sequence[int]) -> tuple[int, ...]:
    """Return by how much each number has grown; one that has become smaller has not."""
    return tuple(max(0, new - old) for old, new in zip(before, now, strict=True))


def read_counts(metrics: Metrics) -> Counts:
    """Return what has been counted until now."""
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
