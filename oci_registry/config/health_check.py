"""The health check of the image: ``python -m oci_registry.config.health_check``.

It requests ``/healthz`` at the first endpoint in ``LISTEN``, in any of its forms. The status is 0 after
a 200, and 1 otherwise. An endpoint that only the daemon knows, such as an inherited socket, is not
checked, and the status is 0.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

from attrs import evolve, frozen

from oci_registry.config.listen import address_of, default_place, parse_listen, split_places

TIMEOUT = 4.0
"""Seconds that connecting, and each read, may take."""
_HERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound to it here


@frozen
class _Place:
    """An address to connect to, with a path if it has one, and the protocol before HTTP."""

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
            # The certificate is for the names that clients use, so it is not verified here.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        return connection


def _place(endpoint: str) -> _Place | None:
    """Return where an endpoint listens; None if its description does not say."""
    if endpoint.startswith("haproxy:"):
        inner = _place(endpoint.removeprefix("haproxy:"))
        return None if inner is None else evolve(inner, proxied=True)
    address = address_of(endpoint)
    if address is None:
        return None
    kind, where, interface = address
    if kind == "unix":
        return _Place(where)
    return _Place((_HERE.get(interface, interface), int(where)), tls=endpoint.startswith("ssl:"))


def main(environ: Mapping[str, str]) -> int:
    """Check the daemon that these variables configure; print any error, and return the status."""
    try:
        places = split_places(environ.get("LISTEN", "")) or [default_place(environ)[1]]
        place = _place(parse_listen(places[0]))
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
