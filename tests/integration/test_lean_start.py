"""A daemon in a process of its own, which has imported neither OpenSSL nor what talks to registries."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from urllib.request import urlopen

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.support.certificates import Certified
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.patterns import noise
from tests.support.process import DaemonProcess, ProcessTestCase

# The part of cryptography that is a library.
_LIBRARY = "cryptography/hazmat/bindings/_rust"


class LeanStart(ProcessTestCase):
    """What is imported when it is needed works as if it had been there from the beginning."""

    def setUp(self) -> None:
        super().setUp()
        self.certified = Certified("127.0.0.1")
        self.secure = FakeRegistry()
        self.secure.start(reactor, self.certified.server())
        self.addCleanup(lambda: Deferred.fromCoroutine(self.secure.stop()))
        self.data = noise(1, 300_000)
        self.digest = self.secure.add_blob(self.data)
        self.path = f"/v2/library/app/blobs/{self.digest}"

    async def run_with(self, entry: str, *options: str) -> tuple[DaemonProcess, Client]:
        file = f'- {{namespace: docker.io, host: "{self.secure.host}"{entry}}}\n'
        daemon = DaemonProcess(reactor, self.root, file, *options)
        self.addCleanup(daemon.end)
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await until(lambda: b"storing in" in daemon.output)
        return daemon, client

    def has_tls(self, daemon: DaemonProcess) -> bool:
        """Whether the process has the library."""
        return _LIBRARY in Path(f"/proc/{daemon.process.pid}/maps").read_text()

    @running
    async def test_miss_over_tls(self) -> None:
        """The first miss brings TLS along; several that come together are answered nevertheless."""
        daemon, client = await self.run_with(", accept_invalid_certs: true")
        self.assertEqual(200, (await client.get("/v2/")).status)
        self.assertFalse(self.has_tls(daemon))
        begun = [await client.begin(self.path) for _ in range(3)]
        for response in begun:
            await response.done
            self.assertEqual((200, self.data), (response.status, bytes(response.body)))
        self.assertTrue(self.has_tls(daemon))
        await daemon.kill("TERM")

    @running
    async def test_authority(self) -> None:
        """An authority of one's own is looked at from the start, and verifies the registry."""
        authority = self.folder / "ca.pem"
        authority.write_bytes(self.certified.certificate)
        daemon, client = await self.run_with(f", ca_file: {authority.absolute()}")
        self.assertTrue(self.has_tls(daemon))
        response = await client.get(self.path)
        self.assertEqual((200, self.data), (response.status, bytes(response.body)))
        await daemon.kill("TERM")

    @running
    async def test_listening_with_tls(self) -> None:
        """A place to listen with TLS works beside another one."""
        key, certificate = self.folder / "key.pem", self.folder / "cert.pem"
        key.write_bytes(self.certified.key)
        certificate.write_bytes(self.certified.certificate)
        place = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        daemon, _ = await self.run_with(", accept_invalid_certs: true", "--listen", place)
        found = re.search(rb"https://127\.0\.0\.1:(\d+)", daemon.output)
        assert found is not None
        trusting = ssl.create_default_context(cafile=str(certificate))
        url = f"https://127.0.0.1:{int(found[1])}/v2/"

        def get() -> int:
            with urlopen(url, context=trusting, timeout=30) as response:
                return int(response.status)

        self.assertEqual(200, await deferToThread(get))
        await daemon.kill("TERM")
