"""The settings that a worker needs."""

from __future__ import annotations

from attrs import frozen


@frozen
class WorkerOptions:
    """The settings of a worker.

    *idle*: seconds a connection may be silent; *linger*: seconds a client has to read a response.
    *access_log*: the form of the access log, or ``off``.
    """

    idle: float
    linger: float
    access_log: str
