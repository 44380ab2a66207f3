"""The sites of the admin listeners: the API beside health and metrics."""

from __future__ import annotations

from typing import Any

from attrs import evolve, frozen
from twisted.web.resource import IResource

from oci_registry.admin.problems import BodyTooLarge
from oci_registry.admin.requests import MAX_BODY, AdminRequest
from oci_registry.admin.stream import EventStreams
from oci_registry.logs import AccessLog
from oci_registry.repeats import RepeatLog
from oci_registry.web.refusals import BODY_TOO_LARGE
from oci_registry.web.site import RegistrySite

_TOO_LARGE = BodyTooLarge.than(MAX_BODY)


class AdminSite(RegistrySite):
    """A site whose requests may have a body. Its connections are not those of clients."""

    # A body of more than a MiB is refused before it has been read, but with the same words.
    body_too_large = evolve(
        BODY_TOO_LARGE, reason=_TOO_LARGE.message, document=_TOO_LARGE.as_json()
    )

    def __init__(
        self, resource: IResource, reactor: Any, access_log: AccessLog, repeats: RepeatLog
    ) -> None:
        super().__init__(resource, reactor, access_log, repeats)
        self.requestFactory = AdminRequest  # type: ignore[assignment]


@frozen
class Admin:
    """The admin sites of a daemon.

    *local* is for UNIX sockets, *guarded* for all other endpoints, where the API needs the token.
    *streams*: the event streams, which end when the daemon stops.
    """

    local: AdminSite
    guarded: AdminSite
    streams: EventStreams
