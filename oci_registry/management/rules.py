"""The rules of a daemon for images, from its settings and its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from oci_registry.management.pinned import ByPattern
from oci_registry.spec.digest import Digest


def _unknown(_: str) -> None:
    return None


def _never(*_: object) -> bool:
    return False


@frozen
class Rules:
    """The rules of a daemon. The defaults are those without a daemon.

    *lifetime*: the seconds for which unused images of a registry are kept, infinite for ever. *max_age*: the
    seconds for which a tag of a registry is fresh. *limited*: whether the store has a limit, so that images
    make room for others; None: not known. *pinned*: the pins of the upstream file. *newest_tags*: how many of
    the newest tags of each repository of a registry are kept until the last. *scarce*: whether little is left
    of the rate limit of a registry. *must_revalidate*: whether
    the tag at a key of the store is not served before upstream has confirmed it. *busy*: whether a blob is
    being downloaded. *upstream*: what is known of a registry, as JSON.
    """

    lifetime: Callable[[str], float | None] = _unknown
    max_age: Callable[[str], float | None] = _unknown
    limited: bool | None = None
    pinned: ByPattern = lambda *_: False
    newest_tags: Callable[[str], int] = lambda _: 0
    scarce: Callable[[str], bool] = _never
    must_revalidate: Callable[[str], bool] = _never
    busy: Callable[[Digest], bool] = _never
    upstream: Callable[[str], Mapping[str, object] | None] = _unknown
