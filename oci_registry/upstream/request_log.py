"""Logs each HTTP request to an upstream at level debug."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping

from OpenSSL import SSL
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.iweb import IResponse

from oci_registry.spec.texts import cut
from oci_registry.spec.urls import BadAddress, Url
from oci_registry.upstream.failures import root_cause
from oci_registry.upstream.requests import ApiRequest, Kind

LONGEST = 300
"""The maximum length in characters of a path in the log."""


_PURPOSES = {
    Kind.MANIFEST: "manifest",
    Kind.DIGEST: "revalidation of tag",
    Kind.TAGS: "tag list",
    Kind.REFERRERS: "referrers of",
    Kind.SIZE: "size of a blob",
    Kind.BLOB: "blob for clients",
}
_NAMED = (Kind.MANIFEST, Kind.DIGEST, Kind.REFERRERS)


def purpose(request: ApiRequest, headers: Mapping[str, str], after: str) -> str:
    """Return why a request is sent; *headers* are its own, *after* is what happened before."""
    what = _PURPOSES[request.kind]
    if request.kind in _NAMED:
        what = f"{what} {request.subject}"
    first, dash, last = headers.get("Range", "").removeprefix("bytes=").partition("-")
    if last:
        what = f"bytes {first} to {last} of a blob, ahead of its download"
    elif dash:
        what = f"blob for clients, resumed from byte {first}"
    return f"{what}; {after}" if after else what


class RequestLog:
    """Logs method, host, path, status and duration of requests, and why they were sent.

    The query is left out: that of a signed URL is a secret.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    async def watch(
        self, method: str, url: str, why: str, answer: Awaitable[IResponse]
    ) -> IResponse:
        """Wait for the head of a response; log its status or the error."""
        began = self._clock.seconds()
        try:
            response = await answer
        except BaseException as error:
            self._emit(method, url, why, f"failed ({_kind(error)})", began)
            raise
        self._emit(method, url, why, str(response.code), began)
        return response

    def _emit(self, method: str, url: str, why: str, outcome: str, began: float) -> None:
        self._log.debug(
            "{method} {where}: {outcome} after {seconds:.3f} s ({why})",
            method=method,
            where=_without_query(url),
            outcome=outcome,
            seconds=self._clock.seconds() - began,
            why=why,
        )


def _kind(error: BaseException) -> str:
    cause = root_cause(error)
    return "TLS" if isinstance(cause, SSL.Error) else type(cause).__name__


def _without_query(url: str) -> str:
    try:
        at = Url.parse(url)
    except BadAddress:
        return "an invalid URL"
    path = cut(at.path, LONGEST)
    return f"{at.scheme}://{at.authority}{path}"
