"""Who may use the admin API on a listener."""

from __future__ import annotations

from typing import Protocol

from twisted.web.http_headers import Headers

from oci_registry.admin.problems import Forbidden, TokenNotSet, unauthorized
from oci_registry.admin.token import AdminToken


class Gate(Protocol):
    """Decides whether a request may use the API."""

    def check(self, headers: Headers) -> None:
        """Raise unless the request with these headers may use the API."""


class LocalGate:
    """Admits everyone: the permissions of the UNIX socket decide who may connect to it."""

    def check(self, headers: Headers) -> None:
        """Raise `Forbidden` for the page of another site: a proxy in front may let browsers in."""
        _check_origin(headers)


class TokenGate:
    """Admits requests with the token; *token* None: nobody is admitted."""

    def __init__(self, token: AdminToken | None) -> None:
        self._token = token

    def check(self, headers: Headers) -> None:
        """Raise `TokenRequired`, or `Forbidden` without a token or for the page of another site."""
        _check_origin(headers)
        if self._token is None:
            raise TokenNotSet("the admin API needs --admin-token-file on this listener")
        sent = headers.getRawHeaders(b"authorization", ())
        if len(sent) != 1:
            raise unauthorized("send the token of --admin-token-file as Authorization: Bearer")
        if not self._token.accepts(sent[0]):
            raise unauthorized("the token is wrong")


def _check_origin(headers: Headers) -> None:
    """Refuse requests that a browser sends for a page of another site (CSRF).

    A page whose host name an attacker has pointed at this listener (DNS rebinding) is on the same site,
    but does not have the token.
    """
    hosts = headers.getRawHeaders(b"host", ())
    host = hosts[0].strip().lower() if hosts else b""
    for origin in headers.getRawHeaders(b"origin", ()):
        scheme, mark, authority = origin.strip().lower().partition(b"://")
        if not (mark and scheme in (b"http", b"https") and authority == host):
            raise Forbidden("requests of pages from other sites are refused")
    for site in headers.getRawHeaders(b"sec-fetch-site", ()):
        if site.strip().lower() in (b"cross-site", b"same-site"):
            raise Forbidden("requests of pages from other sites are refused")
