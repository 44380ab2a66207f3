"""The real containerd reads files that ``setup containerd`` has added the mirror to."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from oci_registry.setup.command import run
from tests.support.certificates import Certified
from tests.support.containerd import Containerd, require_containerd
from tests.support.daemon import reactor, running
from tests.support.fake_registry import FakeRegistry

CERTS = "etc/containerd/certs.d"
NAME = "nowhere.invalid"
IMAGE = f"{NAME}/team/app:1"


class Merged(TestCase):
    """A registry, or a mirror, that has a certificate of its own authority."""

    timeout = 120

    def setUp(self) -> None:
        require_containerd()
        self.root = Path(self.mktemp()).absolute()
        self.file = self.root / CERTS / NAME / "hosts.toml"
        self.file.parent.mkdir(parents=True)
        certified = Certified("127.0.0.1")
        self.authority = self.root / "ca.pem"
        self.authority.write_bytes(certified.certificate)
        self.registry = FakeRegistry()
        self.registry.start(reactor, certified.server())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.registry.stop()))
        self.registry.add_image("team/app", "1", b"layer of the image")

    def set_up(self, mirror: str, *options: str) -> None:
        """Write the files of containerd."""
        errors = StringIO()
        args = ["containerd", "--mirror", mirror, "--namespace", NAME, *options]
        status = run([*args, "--write", str(self.root)], {}, StringIO(), errors)
        self.assertEqual(0, status, errors.getvalue())

    async def fetch(self) -> tuple[int, str]:
        """Let containerd fetch the image."""
        containerd = Containerd(self)
        await deferToThread(containerd.begin)
        hosts = ("--hosts-dir", str(self.root / CERTS))
        return await deferToThread(containerd.ctr, "content", "fetch", *hosts, IMAGE)

    @running
    async def test_fallback(self) -> None:
        """A private registry is trusted as its file says when the mirror is down."""
        text = f'server = "https://{self.registry.host}"\nca = "{self.authority}"\n'
        self.file.write_text(text)
        self.set_up("http://127.0.0.1:1")
        self.assertIn("127.0.0.1:1", self.file.read_text())
        status, said = await self.fetch()
        self.assertEqual(0, status, said)
        run(["containerd", "--remove", str(self.root)], {}, StringIO(), StringIO())
        self.assertEqual(text, self.file.read_text())

    @running
    async def test_order(self) -> None:
        """The mirror is asked before the other hosts of the file."""
        self.file.write_text('server = "http://127.0.0.1:1"\n\n[host."http://127.0.0.1:2"]\n')
        self.set_up(f"https://{self.registry.host}", "--ca-file", str(self.authority))
        status, said = await self.fetch()
        self.assertEqual(0, status, said)
        self.assertIn(f"https://{self.registry.host}", self.file.read_text())

    @running
    async def test_authority(self) -> None:
        """A mirror with its own authority is trusted with --ca-file, and not without."""
        for options, trusted in (((), False), (("--ca-file", str(self.authority)), True)):
            self.set_up(f"https://{self.registry.host}", "--no-fallback", *options)
            status, said = await self.fetch()
            self.assertEqual(trusted, status == 0, said)
