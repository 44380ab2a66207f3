"""The health check of the image, at every kind of place where a daemon can listen."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from io import StringIO
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from oci_registry.config.health_check import main
from tests.support.certificates import Certified
from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess


class HealthCheck(TestCase):
    """A daemon that listens in all forms."""

    timeout = 60

    def setUp(self) -> None:
        # The path of a socket has to be short.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        certified = Certified("images.example.com")
        (self.folder / "tls.pem").write_bytes(certified.certificate + certified.key)
        self.said = StringIO()
        self.patch(sys, "stdout", self.said)

    async def check(self, **environ: str) -> int:
        """Run the check with variables and return its status."""
        return await deferToThread(main, environ)

    @running
    async def test_forms(self) -> None:
        """It finds the daemon wherever it listens, and says so when it is gone."""
        pem = self.folder / "tls.pem"
        path = f"unix:{self.folder}/a-socket"
        more = ("[::]:0", f"ssl:0:privateKey={pem}", "haproxy:tcp:0:interface=127.0.0.1", path)
        options = [each for place in more for each in ("--listen", place)]
        daemon = DaemonProcess(reactor, self.folder / "root", "registry.example", *options)
        self.addCleanup(daemon.end)
        await until(lambda: b"storing in" in daemon.output)
        ports = re.findall(rb"https?://\S+?:(\d+)\b", daemon.output)
        plain, six, tls, proxied = map(int, ports)
        forms = (
            {"LISTEN": f"127.0.0.1:{plain}"},
            {"LISTEN": f"localhost:{plain} 127.0.0.1:1"},
            {"LISTEN": f"{plain}"},
            {"LISTEN": f":{plain}"},
            {"LISTEN": f"0.0.0.0:{plain}"},
            {"LISTEN": f"tcp:{plain}"},
            {"LISTEN": f"tcp:port={plain}:interface=127.0.0.1:backlog=5"},
            {"LISTEN": f"tcp:{plain}:127.0.0.1"},
            {"LISTEN": "", "PORT": str(plain)},
            {"LISTEN": f"[::]:{six}"},
            {"LISTEN": f"[::1]:{six}"},
            {"LISTEN": f"tcp6:{six}"},
            {"LISTEN": f"tcp6:{six}:interface=\\:\\:1"},
            {"LISTEN": f"ssl:{tls}:privateKey={pem}:certKey={pem}"},
            {"LISTEN": f"ssl:port={tls}:privateKey={pem}:interface=127.0.0.1"},
            {"LISTEN": f"haproxy:tcp:{proxied}:interface=127.0.0.1"},
            {"LISTEN": path},
            {"LISTEN": f"unix:address={self.folder}/a-socket:mode=660"},
        )
        for environ in forms:
            self.assertEqual(0, await self.check(**environ), f"{environ}: {self.said.getvalue()}")
        await daemon.kill("TERM")
        for environ in forms:
            self.assertEqual(1, await self.check(**environ), environ)
        self.assertIn("Connection refused", self.said.getvalue())

    @running
    async def test_wrong(self) -> None:
        """What is no place is not well; what is nowhere in it is not asked."""
        for place in ("nonsense", "tcp:", "unix:"):
            self.assertEqual(1, await self.check(LISTEN=place))
        self.assertEqual(0, await self.check(LISTEN="systemd:domain=INET:index=0"))
        self.assertIn("not asked", self.said.getvalue())
