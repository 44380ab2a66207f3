"""The limits of a scrub in a daemon."""

from __future__ import annotations

from attrs import Factory, evolve, frozen

from oci_registry.config.settings import S3Settings, Settings
from oci_registry.scrub.one_pass import PassLimits
from oci_registry.scrub.quarantine import QuarantineLimits
from oci_registry.scrub.times import ScrubTimes

MIB = 1024 * 1024


@frozen
class ScrubLimits:
    """The limits of a scrub. *piece*, *piece_of_bucket*: bytes that are read at once."""

    times: ScrubTimes = Factory(ScrubTimes)
    one_pass: PassLimits = Factory(PassLimits)
    quarantine: QuarantineLimits = Factory(QuarantineLimits)
    piece: int = MIB
    # Each piece is a request that costs money.
    piece_of_bucket: int = 8 * MIB

    def of(self, settings: Settings) -> ScrubLimits:
        """Return the limits for some settings."""
        bucket = isinstance(settings.storage, S3Settings)
        return evolve(
            self,
            times=evolve(self.times, interval=settings.scrub_interval),
            piece=self.piece_of_bucket if bucket else self.piece,
        )
