"""How much memory and time the driver takes, and how it cuts objects."""

from __future__ import annotations

from attrs import frozen

KIB = 1024
MIB = 1024 * KIB


@frozen
class S3Limits:
    """Bytes, seconds and counts of one driver.

    Pieces in memory: *budget* for all of them; the *first* of an object, the *largest*, and the
    *smallest* when there are too many to read ahead; a piece is to take *piece_time*.

    Reading: *deadline* for each answer, *first_deadline* for one that a client's headers wait for, and
    *least_rate* in bytes per second, averaged over *rate_window*. A server that cannot cope is asked
    *attempts* times, with pauses that begin with *pause* and double, one that breaks off twice; none
    begins when *patience* is over. These are shorter than the deadlines around the driver.

    Writing: objects of more than *part* are uploaded in parts, *uploads* of one object at a time. Each
    request is made *write_attempts* times. For *unsure* after a read that failed, objects are looked
    for before they are uploaded.

    Uses: *uses* are remembered; a *journal* has so many bytes at most.
    """

    budget: int = 64 * MIB
    first: int = 256 * KIB
    largest: int = 8 * MIB
    smallest: int = 256 * KIB
    piece_time: float = 2.0
    deadline: float = 9.0
    first_deadline: float = 1.8
    least_rate: int = 16 * KIB
    rate_window: float = 5.0
    attempts: int = 5
    pause: float = 0.1
    patience: float = 1.5
    part: int = 16 * MIB
    uploads: int = 2
    write_attempts: int = 4
    unsure: float = 60.0
    uses: int = 100_000
    journal: int = 64 * MIB


DEFAULTS = S3Limits()
