"""A service manager that starts the real daemon and listens for what it has to say."""

from __future__ import annotations

import os
import time
from pathlib import Path

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess

NOBODY = "127.0.0.1:1"


class _Listener(DatagramProtocol):
    """Collects the messages to the service manager."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.heard.append(datagram.decode())


class Notifying(TestCase):
    """NOTIFY_SOCKET."""

    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def listen(self, address: str) -> list[str]:
        """Listen at an address; return what will have been heard there."""
        listener = _Listener()
        self.addCleanup(reactor.listenUNIXDatagram(address, listener).stopListening)
        return listener.heard

    def start(self, address: str, *, forked: bool = True) -> DaemonProcess:
        environment, root = {"NOTIFY_SOCKET": address}, self.folder / "root"
        daemon = DaemonProcess(reactor, root, NOBODY, environment=environment, forked=forked)
        self.addCleanup(daemon.end)
        return daemon

    @running
    async def test_life(self) -> None:
        """It notifies once it listens, before and after a reload even if that fails, and when it stops."""
        # The address of a UNIX socket is short, and the paths of tests are not.
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        heard = self.listen("notify")
        daemon = self.start(f"/proc/{os.getpid()}/cwd/notify", forked=False)
        await until(lambda: bool(heard))
        self.assertEqual(["READY=1"], heard)
        # What it has said before arrives later than this.
        await daemon.listening
        for expected, text in ((3, "[]"), (5, "nonsense")):
            (self.folder / "root.yaml").write_text(text)
            before = time.monotonic_ns() // 1000
            daemon.process.signalProcess("HUP")
            await until(lambda expected=expected: len(heard) >= expected)
            reloading, ready = heard[-2:]
            self.assertEqual("READY=1", ready)
            state, _, moment = reloading.partition("\nMONOTONIC_USEC=")
            self.assertEqual("RELOADING=1", state)
            self.assertTrue(before <= int(moment) <= time.monotonic_ns() // 1000)
        await daemon.kill("TERM")
        await until(lambda: len(heard) == 6)
        self.assertEqual("STOPPING=1", heard[-1])

    @running
    async def test_abstract(self) -> None:
        """The socket may be in the abstract namespace."""
        name = f"oci-registry-test-{os.getpid()}"
        heard = self.listen(f"\0{name}")
        daemon = self.start(f"@{name}")
        await until(lambda: bool(heard))
        # It may have more to log before it is stopped.
        await daemon.listening
        await daemon.kill("TERM")
        await until(lambda: len(heard) == 2)
        self.assertEqual(["READY=1", "STOPPING=1"], heard)

    @running
    async def test_nobody_listens(self) -> None:
        """A socket that is not there keeps the daemon from nothing."""
        daemon = self.start(str(self.folder / "nobody"))
        await daemon.listening
        await until(lambda: b"could not send READY=1" in daemon.output)
        await daemon.kill("TERM")
        self.assertIn(b"stopped", daemon.output)
