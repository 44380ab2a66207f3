"""Limits of a growing blob: what is kept in memory, and how long its readers may delay others."""

from __future__ import annotations

from attrs import frozen

from oci_registry.streams.batches import BATCH


@frozen
class GrowingLimits:
    """The limits of one growing blob: sizes in bytes, times in seconds.

    *tail*: bytes at the end of a blob that no reader gets before the digest is verified. *batch*: bytes
    that are hashed and stored at once. *window*: bytes of recent batches kept in memory for the
    followers that keep pace. *high_water*: bytes waiting for the thread above which the upstream is
    paused. *unstored_window*: bytes kept for followers after the store has failed. *stall*: seconds
    after which a follower is dropped that delays others, because the blob is not stored. *append*:
    seconds that storing one batch may take; then the download goes on without the store.
    """

    tail: int = 64 * 1024
    batch: int = BATCH
    window: int = 1024 * 1024
    high_water: int = 2 * 1024 * 1024
    unstored_window: int = 4 * 1024 * 1024
    stall: float = 10.0
    append: float = 10.0
