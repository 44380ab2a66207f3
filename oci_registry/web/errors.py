"""Error responses: the one place where exceptions become OCI JSON."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from oci_registry.spec.errors import InternalError, RegistryError
from oci_registry.streams.follower import TransferFailed
from oci_registry.streams.garbage import release_frames
from oci_registry.streams.send import ConsumerGone
from oci_registry.web.cache_status import of_error
from oci_registry.web.reply import error_reply
from oci_registry.web.respond import write
from oci_registry.web.shown import reason_of, shown, without_secrets
from oci_registry.web.site import RegistryRequest

_log = Logger()


def respond_error(request: RegistryRequest, error: Exception) -> None:
    """Respond with an error, whose traceback is dropped then, unless it is an internal error.

    Before the headers are sent, the response is `error_reply`. After that, the connection is closed
    before the announced end of the body. An internal error is logged, and its details are not shown to
    the client. The reason is in the access log.
    """
    try:
        _respond(request, error)
    finally:
        # An internal error may also be that of other requests, which log it too.
        if isinstance(error, RegistryError | CancelledError | ConsumerGone):
            release_frames(error)


def _respond(request: RegistryRequest, error: Exception) -> None:
    if isinstance(error, CancelledError | ConsumerGone) or request.gone:
        return
    request.error = reason_of(error)
    if request.startedWriting:
        if not isinstance(error, TransferFailed):
            # A failed transfer is logged once for all of its readers.
            request.warn_of_cut()
        request.close_short()
        return
    if not isinstance(error, RegistryError):
        _log.failure(
            "{method} {uri} failed",
            method=shown(request.method),
            uri=shown(without_secrets(request.target)),
        )
        error = InternalError("internal error of the mirror; see its log")
    # Until the request has been parsed, no cache is involved.
    cache_status = {} if request.namespace is None else of_error(error)
    write(request, error_reply(error, cache_status=cache_status))
