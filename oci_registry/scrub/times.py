"""When a daemon scrubs its store."""

from __future__ import annotations

from attrs import frozen


@frozen
class ScrubTimes:
    """Times in seconds. *interval*: from the beginning of a pass to that of the next; 0: no automatic passes.

    *first*: after the start of the daemon; *again*: after a failure, and while another process runs a pass;
    *abandoned*: after which a pass of another process counts as abandoned if its progress stays the
    same; *looking*: between two checks of the clock.
    """

    interval: float = 0.0
    first: float = 60.0
    again: float = 600.0
    abandoned: float = 3600.0
    looking: float = 3600.0
