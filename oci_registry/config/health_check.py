"""Whether the daemon answers where ``LISTEN`` says: ``python -m oci_registry.config.health_check``.

It is the health check of the image.  The status is 0 after a 200 of ``/healthz`` at the first place,
whatever its form, and 1 after anything else.  A place that only the daemon knows, such as a socket passed to
it, is not asked, and the status is 0.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

from attrs import frozen

from oci_registry.config.listen import parse_listen, split_places

TIMEOUT = 4.0
"""Seconds that connecting, and each read, may take."""
_SEPARATOR = re.compile(r"(?<!\\):")
_HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it here


@frozen
class _Place:
    """An address to connect to, a path if it has one, and the protocol before HTTP."""

    address: tuple[str, int] | str
    tls: bool = False
    proxied: bool = False

    def connect(self) -> socket.socket:
        """Return a connection for HTTP."""
        if isinstance(self.address, str):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(TIMEOUT)
            connection.connect(self.address)
        else:
            connection = socket.create_connection(self.address, TIMEOUT)
        if self.proxied:
            connection.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n")
        if self.tls:
            # The certificate is for clients, by the names that they use.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        return connection


def _first(environ: Mapping[str, str]) -> str:
    """The first place where the daemon listens, as the options have it."""
    places = split_places(environ.get("LISTEN", ""))
    return places[0] if places else environ.get("PORT", "").strip() or "80"


def _place(endpoint: str) -> _Place | None:
    """Where an endpoint description listens; None if that is not in it."""
    kind, *arguments = _SEPARATOR.split(endpoint)
    if kind == "haproxy":
        inner = _place(":".join(arguments))
        return None if inner is None else _Place(inner.address, inner.tls, proxied=True)
    arguments = [re.sub(r"\\(.)", r"\1", argument) for argument in arguments]
    named = dict(each.split("=", 1) for each in arguments if re.match(r"[A-Za-z]+=", each))
    plain = [each for each in arguments if not re.match(r"[A-Za-z]+=", each)]
    if kind == "unix":
        return _Place(named.get("address") or plain[0])
    if kind not in ("tcp", "tcp6", "ssl"):
        return None
    port = int(named.get("port") or plain[0])
    # Behind the port of an ssl endpoint there are its certificates.
    second = plain[1] if kind != "ssl" and len(plain) > 1 else ""
    interface = named.get("interface") or second or ("::" if kind == "tcp6" else "")
    return _Place((_HERE.get(interface, interface), port), tls=kind == "ssl")


def main(environ: Mapping[str, str]) -> int:
    """Check the daemon that these variables configure; print any error, and return the status."""
    try:
        place = _place(parse_listen(_first(environ)))
        if place is None:
            print("not asked: where it listens is not in LISTEN")  # noqa: T201
            return 0
        connection = HTTPConnection("localhost")
        connection.sock = place.connect()
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError, LookupError) as error:
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return 1
    if status != 200:
        print(f"/healthz is answered with {status}")  # noqa: T201
    return int(status != 200)


if __name__ == "__main__":
    sys.exit(main(os.environ))
