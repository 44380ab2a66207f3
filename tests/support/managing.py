"""Whoever looks after the store of a running daemon."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from oci_registry.config.names import fold_alias
from oci_registry.management.bucket_index import BucketIndex, Freshness
from oci_registry.management.index import DaemonIndex, Index
from oci_registry.management.manager import Management
from oci_registry.management.notices import NoticeFollower, Notices
from oci_registry.management.removal import Content
from oci_registry.management.rules import Rules
from oci_registry.management.subjects import Subject, parse_subject
from oci_registry.service import Daemon
from oci_registry.spec.image import parse_image
from oci_registry.storage.pins import Pins


def management_of(
    daemon: Daemon,
    *,
    shared: bool = False,
    freshness: Freshness = Freshness(),  # noqa: B008 - frozen
) -> Management:
    """Return what answers questions about the store of a daemon in this process, and changes it.

    *shared*: other daemons use the store. *freshness*: of the answers about a bucket.
    """
    parts, sweep = daemon.parts, daemon.parts.sweep._sweep
    stores: Any = sweep
    driver = stores._tags._driver
    content = Content(driver, stores._blobs, stores._manifests, stores._tags, parts.records)
    if shared:
        content = evolve(content, announce=Notices(driver).announce)
    index: Index = DaemonIndex(parts.account)
    if parts.asked is not None:
        index = BucketIndex(lambda: None, parts.asked, parts.transfers.clock, freshness)
    return Management(
        index,
        content,
        Pins(driver),
        Rules(busy=parts.transfers.__contains__),
        parts.transfers.clock.seconds,
    )


def subject(text: str) -> Subject:
    """Return what a name means."""
    return parse_subject(text, lambda each: parse_image(each, fold=fold_alias))


def follower_of(daemon: Daemon) -> NoticeFollower:
    """Return what follows the notices of other daemons, for a daemon in this process."""
    stores: Any = daemon.parts.sweep._sweep
    driver, clock = stores._tags._driver, daemon.parts.transfers.clock
    return NoticeFollower(Notices(driver), stores._tags, stores._manifests, clock)
