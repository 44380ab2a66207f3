"""How a store stands to its limits."""

from __future__ import annotations

from attrs import frozen


@frozen
class Standing:
    """How much is stored, and may be, in bytes; None: not known, or not limited.

    *low*: the size down to which images are evicted. *min_free*: what stays free on the volume.
    """

    stored: int | None
    most: int | None
    low: int | None
    min_free: int | None
