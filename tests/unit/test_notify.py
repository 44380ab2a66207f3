"""What the service manager is told."""

from __future__ import annotations

from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.notify import ServiceManager


class Telling(SynchronousTestCase):
    """Messages to a socket that is a list."""

    def setUp(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.broken: Exception | None = None

    def send(self, address: str, data: bytes) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent.append((address, data))

    def manager(self, address: str | None = "/run/notify") -> ServiceManager:
        return ServiceManager(address, self.send, lambda: 1_234_567_999)

    def test_states(self) -> None:
        """Each state is a message of its own, a reading with the time at which it begins."""
        manager = self.manager()
        manager.ready()
        manager.reloading()
        manager.stopping()
        self.assertEqual(
            [b"READY=1", b"RELOADING=1\nMONOTONIC_USEC=1234567", b"STOPPING=1"],
            [data for _, data in self.sent],
        )
        self.assertEqual({"/run/notify"}, {address for address, _ in self.sent})

    def test_abstract(self) -> None:
        """An address that begins with an @ is one in the abstract namespace."""
        self.manager("@systemd/notify@x").ready()
        self.assertEqual([("\0systemd/notify@x", b"READY=1")], self.sent)

    def test_nobody(self) -> None:
        """Without a listener nothing is sent."""
        for address in (None, ""):
            self.manager(address).ready()
        self.assertEqual([], self.sent)

    def test_failures(self) -> None:
        """A socket that cannot be sent to is logged, and nothing fails."""
        events: list[LogEvent] = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        for error in (OSError(111, "Connection refused"), ValueError("embedded null byte")):
            self.broken = error
            self.manager().reloading()
        texts = [e["log_format"].format_map(e) for e in events if "manager" in e["log_format"]]
        told = "could not send RELOADING=1 to the service manager: "
        self.assertEqual(
            [f"{told}[Errno 111] Connection refused", f"{told}embedded null byte"], texts
        )
