"""Pulls as events, while somebody follows them; and evictions."""

from __future__ import annotations

from oci_registry.events import EventLog
from oci_registry.eviction.evictor import Evicted
from oci_registry.logs import AccessEntry, AccessLog
from oci_registry.web.shown import shown, without_secrets


class PullEvents:
    """Makes an event of each access log entry about the content of a registry."""

    def __init__(self, events: EventLog, access_log: AccessLog) -> None:
        self._events = events
        self._access_log = access_log
        self._followed = False
        events.costly("pull", self._switch)

    def _switch(self, followed: bool) -> None:
        self._followed = followed
        self._access_log.hear(self._heard if followed else None)

    def _heard(self, entry: AccessEntry) -> None:
        if entry.namespace is None:
            # A ping, a probe, or a request to this API.
            return
        self._events.record(
            "pull",
            client=entry.client,
            method=entry.method,
            uri=entry.uri,
            status=entry.status,
            sent=entry.sent,
            seconds=round(entry.seconds, 3),
            agent=entry.agent,
            namespace=entry.namespace,
            cache=entry.outcome,
            error=entry.error,
            times=1,
        )

    def sent_by_worker(self, target: bytes, times: int) -> None:
        """Record that a worker has answered requests for *target* from memory, so many *times*.

        It does not report which of them were HEAD.
        """
        if self._followed:
            self._events.record(
                "pull",
                uri=shown(without_secrets(target)),
                status=200,
                cache="hit",
                times=times,
            )


def record_eviction(events: EventLog, evicted: Evicted) -> None:
    """Record an eviction as an event."""
    events.record("eviction", images=evicted.images, blobs=evicted.blobs, size=evicted.size)
