"""Access to the page: as for the API, but browsers ask for the token, and links from other sites work."""

from __future__ import annotations

from twisted.web.http_headers import Headers

from oci_registry.admin.gate import Gate
from oci_registry.admin.problems import Forbidden, TokenRequired

_BASIC = 'Basic realm="oci-registry admin", charset="UTF-8"'
_READS = frozenset({b"GET", b"HEAD"})


class PageGate:
    """Admits the same clients as *gate*."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def check(self, method: bytes, headers: Headers) -> None:
        """Raise as the gate does; `TokenRequired` makes a browser ask for the token (RFC 7617)."""
        if method in _READS:
            headers = _without_way(headers)
        elif not (headers.hasHeader(b"origin") or headers.hasHeader(b"sec-fetch-site")):
            # All browsers send one of them with a form; without it, the origin of the form is unknown.
            raise Forbidden(
                "the form was sent without Origin, so it cannot be seen where it came from"
            )
        try:
            self._gate.check(headers)
        except TokenRequired as error:
            raise TokenRequired(error.message, headers={"WWW-Authenticate": _BASIC}) from None


def _without_way(headers: Headers) -> Headers:
    """Return the headers of a request from a link as if the address had been typed.

    The page with the link cannot read the response.
    """
    mode, place = (
        headers.getRawHeaders(name, ()) for name in (b"sec-fetch-mode", b"sec-fetch-dest")
    )
    if [*mode, *place] != [b"navigate", b"document"]:
        return headers
    copied = headers.copy()
    copied.removeHeader(b"sec-fetch-site")
    return copied
