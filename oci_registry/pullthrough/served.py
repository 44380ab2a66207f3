"""What is served of a manifest, and how it came to be served."""

from __future__ import annotations

from enum import Enum

from attrs import evolve, frozen

from oci_registry.pullthrough.outcome import Outcome
from oci_registry.spec.manifest import Manifest


class StaleReason(Enum):
    """Why a tag is served that upstream has not confirmed."""

    UNREACHABLE = "is unavailable"
    UNKNOWN = "no longer has it"
    OFFLINE = "is offline in this mirror"


class OlderReason(Enum):
    """Why another digest of a tag is served than the one that upstream names."""

    HOLD = "hold"
    MIN_AGE = "min-age"


@frozen
class ServedManifest:
    """A manifest to serve.

    *ttl*: the seconds that the tag stays fresh, negative if it is stale; None if a digest was requested.
    *age*: the seconds since upstream confirmed the tag, if it is served stale; else None. *stale_reason*:
    why upstream has not confirmed it again; None while a revalidation is under way. *refreshed*: a
    manifest of the tag was known, but stale. *joined*: another client's request to upstream gave it.
    *older_reason*: why this may not be the manifest that upstream names; None if it is.
    """

    manifest: Manifest
    outcome: Outcome
    ttl: float | None = None
    age: float | None = None
    stale_reason: StaleReason | None = None
    refreshed: bool = False
    joined: bool = False
    older_reason: OlderReason | None = None

    @property
    def cached(self) -> bool:
        """Whether it did not come from upstream."""
        return self.outcome not in (Outcome.MISS, Outcome.JOINED)

    def shared(self) -> ServedManifest:
        """Return the same for a client that waited for another client's request to upstream."""
        outcome = Outcome.JOINED if self.outcome is Outcome.MISS else self.outcome
        return evolve(self, outcome=outcome, joined=True)
