"""Notifications to the service manager (sd_notify): ready, reloading, stopping."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

Send = Callable[[str, bytes], None]
"""Sends a datagram to the socket at an address; raises OSError or ValueError."""


def send_datagram(address: str, data: bytes) -> None:
    """Send to a UNIX socket without waiting; an address in the abstract namespace begins with a NUL."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(data, address)


class ServiceManager:
    """The service manager, if it listens at *address* as systemd does (sd_notify(3)).

    *address* is the value of ``NOTIFY_SOCKET``, or None.
    *monotonic*: nanoseconds of the system's monotonic clock. A failure to send is logged and ignored.
    """

    _log = Logger()

    def __init__(
        self,
        address: str | None,
        send: Send = send_datagram,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        # An abstract address is written with an @ in place of its NUL.
        self._address = address and (f"\0{address[1:]}" if address.startswith("@") else address)
        self._send = send
        self._monotonic = monotonic

    def ready(self) -> None:
        """The daemon serves with the configuration that is current now."""
        self._send_state("READY=1")

    def reloading(self) -> None:
        """The daemon begins to read its files again; `ready` follows."""
        self._send_state(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic() // 1000}")

    def stopping(self) -> None:
        """The daemon begins to stop."""
        self._send_state("STOPPING=1")

    def _send_state(self, state: str) -> None:
        if not self._address:
            return
        try:
            self._send(self._address, state.encode("ascii"))
        except (OSError, ValueError) as error:
            self._log.warn(
                "could not send {state} to the service manager: {error}",
                state=state.partition("\n")[0],
                error=str(error),
            )


class Announcement:
    """Notifies the service manager when the reactor runs and the daemon serves, and when it stops.

    Not before the reactor runs, since only then signals stop the daemon in order.
    """

    def __init__(self, manager: ServiceManager, clock: IReactorTime) -> None:
        self._manager = manager
        self._clock = clock
        self._ready: IDelayedCall | None = None

    def start(self) -> None:
        """The daemon has been started."""
        self._ready = self._clock.callLater(0, self._manager.ready)

    def stop(self) -> None:
        """The daemon is being stopped."""
        if self._ready is not None and self._ready.active():
            self._ready.cancel()
        self._manager.stopping()
