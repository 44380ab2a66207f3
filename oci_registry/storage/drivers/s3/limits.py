"""The limits of the driver: memory, time, and the pieces of objects."""

from __future__ import annotations

from attrs import frozen

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@frozen
class PieceLimits:
    """The pieces of objects in memory, in bytes.

    *budget*: all pieces together. *first*: the first piece of an object; *largest*: any other; *smallest*:
    those without read-ahead, when many objects are open. *seconds*: how long a piece should take.
    """

    budget: int = 64 * MIB
    first: int = 256 * KIB
    largest: int = 8 * MIB
    smallest: int = 256 * KIB
    seconds: float = 2.0


@frozen
class ReadLimits:
    """Deadlines and retries of reads, in seconds; they are shorter than the deadlines of `GuardedDriver`.

    *deadline*: each response; *first_deadline*: one that a client waits for before its headers.
    *least_rate*: bytes per second, averaged over *rate_window*. An overloaded server is asked *attempts*
    times, with pauses that start at *pause* and double; after a broken connection the request is repeated
    once. No attempt starts after *patience*.
    """

    deadline: float = 9.0
    first_deadline: float = 1.8
    least_rate: int = 16 * KIB
    rate_window: float = 5.0
    attempts: int = 5
    pause: float = 0.1
    patience: float = 1.5


@frozen
class UploadLimits:
    """Uploads of new objects, in bytes and seconds.

    *part*: larger objects are uploaded in parts of this size. *single*: the largest object that one request
    can upload. *parallel*: parts of one object at the same time. *attempts*: how often a request is made.
    *unsure*: how long after a failed read the driver looks for an object before it uploads it.
    """

    part: int = 16 * MIB
    single: int = 5 * GIB
    parallel: int = 2
    attempts: int = 4
    unsure: float = 60.0


@frozen
class JournalLimits:
    """*uses*: the number of last uses in memory. *size*: uncompressed bytes of one journal."""

    uses: int = 100_000
    size: int = 64 * MIB


@frozen
class S3Limits:
    """All limits of one driver."""

    pieces: PieceLimits = PieceLimits()
    reads: ReadLimits = ReadLimits()
    uploads: UploadLimits = UploadLimits()
    journal: JournalLimits = JournalLimits()


DEFAULTS = S3Limits()
