"""The Cache-Status header (RFC 9211): how the cache has handled a request.

It is sent with what the cache or a registry has answered, refusals of a registry included, and not with
errors of our own (section 2). An upstream's own header is dropped: for the next client that gets the
stored content, it would describe another request.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

from oci_registry.pullthrough.blobs import OpenBlob
from oci_registry.pullthrough.outcome import Outcome
from oci_registry.pullthrough.served import OlderReason, ServedManifest, StaleReason
from oci_registry.spec.errors import RegistryError
from oci_registry.upstream.errors import ANSWERS
from oci_registry.upstream.offline import NotStored

CACHE = "oci-registry"
"""The name of this cache."""
HIT = f"{CACHE}; hit"
MISS = f"{CACHE}; fwd=miss"
STORED = "stored"
PART = f"{CACHE}; fwd=partial"
WHILE_REVALIDATE = "detail=stale-while-revalidate"
IF_ERROR = "detail=stale-if-error"
"""The reasons of RFC 5861 for a stale hit."""

OFFLINE = "detail=offline"
"""The upstream is offline."""

_OLDER = {
    OlderReason.HOLD: "detail=hold",
    OlderReason.MIN_AGE: "detail=min-age",
}
"""The reasons for a digest other than the one that upstream names."""

_DETAILS = {None: WHILE_REVALIDATE, StaleReason.OFFLINE: OFFLINE}
_PLAIN = {
    Outcome.HIT: HIT,
    Outcome.REVALIDATED: f"{CACHE}; fwd=stale",
    Outcome.STALE: HIT,
    Outcome.MISS: MISS,
    Outcome.JOINED: f"{MISS}; collapsed",
}


def header(value: str, *parameters: str) -> dict[str, str]:
    """Return the header with more parameters."""
    return {"Cache-Status": "; ".join((value, *parameters))}


def of_outcome(outcome: Outcome) -> dict[str, str]:
    """Return the header for an outcome without further details."""
    return {"Cache-Status": _PLAIN[outcome]}


def of_manifest(served: ServedManifest) -> str:
    """Return the value for a manifest."""
    if served.outcome is Outcome.HIT and served.older_reason is None:
        return HIT if served.ttl is None else f"{HIT}; ttl={floor(served.ttl)}"
    return "; ".join(_of_manifest(served))


def _of_manifest(served: ServedManifest) -> Iterator[str]:
    yield f"{CACHE}; fwd=stale" if served.refreshed else _PLAIN[served.outcome]
    if served.outcome is Outcome.MISS:
        yield STORED
    if served.joined and (served.refreshed or served.outcome is Outcome.REVALIDATED):
        yield "collapsed"
    if served.older_reason is not None and served.outcome is not Outcome.STALE:
        yield _OLDER[served.older_reason]
    if served.ttl is not None:
        # At the end, because ready answers replace its value.
        yield f"ttl={floor(served.ttl)}"
    if served.outcome is Outcome.STALE:
        yield _DETAILS.get(served.stale_reason, IF_ERROR)


def of_blob(blob: OpenBlob) -> dict[str, str]:
    """Return the header for a blob or a part of it."""
    if blob.far:
        return header(PART)
    if blob.outcome is Outcome.MISS and blob.being_stored:
        return header(MISS, STORED)
    return of_outcome(blob.outcome)


def of_error(error: RegistryError) -> dict[str, str]:
    """Return the header for an error of upstream; none for one of our own."""
    if isinstance(error, NotStored):
        # It was not forwarded.
        return header(CACHE, OFFLINE)
    if not isinstance(error, ANSWERS):
        return {}
    return header(HIT if error.from_cache else MISS)


def for_status(value: str, upstream: int) -> str:
    """Return *value* for a response whose status is not the one that upstream has sent."""
    forwarded = "; fwd=" in value and not value.startswith(PART)
    return f"{value}; fwd-status={upstream}" if forwarded else value
