"""Why the daemon cannot listen at a place, and what to do about it."""

from __future__ import annotations

import errno

from twisted.internet.error import CannotListenError

from oci_registry.config.listen import address_of
from oci_registry.spec.errors import system_reason

_PRIVILEGED = 1024


def explain_refusal(error: CannotListenError | OSError, endpoint: str, flag: str) -> str:
    """Return a message for the operator: why the daemon cannot listen at an endpoint of *flag*."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    code = cause.errno if isinstance(cause, OSError) else None
    reason = system_reason(cause) if isinstance(cause, OSError) else str(cause)
    kind, port, interface = address_of(endpoint) or ("", "", "")
    if kind == "unix":
        return _unix(port, code, reason, flag)
    if kind != "port":
        return f"cannot listen at {endpoint} ({flag}): {reason}"
    host = f"[{interface}]" if ":" in interface else interface
    place = f"{host}:{port}"
    if code == errno.EADDRINUSE:
        other = f"{host}:{_other(int(port))}"
        make = f" (make run LISTEN={other})" if flag == "--listen" else ""
        return f"{place} is in use: choose another address, such as {flag} {other}{make}"
    if code in (errno.EACCES, errno.EPERM) and int(port) < _PRIVILEGED:
        return (
            f"{place}: this user may not use ports below {_PRIVILEGED}: choose another port, such "
            f"as {flag} {host}:{_other(int(port))}, or grant CAP_NET_BIND_SERVICE (systemd: "
            "AmbientCapabilities=CAP_NET_BIND_SERVICE; containers: --cap-add NET_BIND_SERVICE), or "
            f"run sysctl net.ipv4.ip_unprivileged_port_start={port}"
        )
    if code == errno.EADDRNOTAVAIL:
        everywhere = "[::]" if ":" in interface else "0.0.0.0"  # noqa: S104 - nothing is bound here
        return (
            f"{place} is not an address of this machine: choose one that is, or all of them with "
            f"{flag} {everywhere}:{port}"
        )
    return f"cannot listen at {place} ({flag}): {reason}"


def _other(port: int) -> int:
    """Return another port, which a user without privileges can listen on."""
    return port + 8000 if port < _PRIVILEGED else port + 1 if port < 65535 else port - 1


def _unix(path: str, code: int | None, reason: str, flag: str) -> str:
    # Twisted uses a lock file beside the socket, and raises no system error if it is held.
    if code in (None, errno.EADDRINUSE):
        return f"unix:{path} is in use: choose another path with {flag}"
    return f"cannot listen at unix:{path} ({flag}): {reason}"
