"""``oci-registry setup --check``, with mirrors that are there, and with what else may be."""

from __future__ import annotations

import socket
from io import StringIO
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from oci_registry.setup.checking import Asking, CheckFailed
from oci_registry.setup.command import run
from oci_registry.setup.nouns import Mirror
from tests.support.certificates import Certified
from tests.support.daemon import MirrorTestCase, reactor, running
from tests.support.fake_registry import Reply


class Check(MirrorTestCase):
    """The command, in a thread beside the daemon."""

    async def check(self, url: str, *options: str) -> tuple[int, str]:
        """Return the status and what is said."""
        errors = StringIO()
        args = ["--check", "--mirror", url, *options]
        status = await deferToThread(run, args, {}, StringIO(), errors)
        return status, errors.getvalue()

    @running
    async def test_pull(self) -> None:
        """A mirror that works is known, and an image is pulled through it."""
        digest, _ = self.registry.add_image("library/app", "1", b"layer")
        await self.start()
        url = f"http://127.0.0.1:{self.client._port}"
        status, said = await self.check(url, "--image", "app:1")
        self.assertEqual(0, status, said)
        self.assertIn(f"{url} is oci-registry\n", said)
        self.assertIn(f"pulled docker.io/library/app:1: the manifest {digest} and the blob", said)

    @running
    async def test_no_image(self) -> None:
        """An image that cannot be had is told in the words of the mirror."""
        await self.start()
        self.registry.script("/manifests/", Reply(403))
        url = f"http://127.0.0.1:{self.client._port}"
        status, said = await self.check(url, "--image", "app:1")
        self.assertEqual(1, status)
        self.assertIn("the mirror answers 403: ", said)
        self.assertIn("denied access", said)

    @running
    async def test_plain(self) -> None:
        """https where there is plain HTTP is told as such."""
        await self.start()
        status, said = await self.check(f"127.0.0.1:{self.client._port}")
        self.assertEqual(1, status)
        self.assertIn("so https is assumed", said)
        self.assertIn("wrong version number: is it plain HTTP? Use http://", said)

    @running
    async def test_tls(self) -> None:
        """A certificate that is not trusted is told as such, and TLS where http was meant."""
        certified = Certified("127.0.0.1").server()
        port = reactor.listenSSL(0, Site(Resource()), certified, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        host = f"127.0.0.1:{port.getHost().port}"
        status, said = await self.check(f"https://{host}")
        self.assertEqual(1, status)
        self.assertIn("its certificate is not trusted here: self-signed certificate", said)
        status, said = await self.check(f"http://{host}")
        self.assertEqual(1, status)
        self.assertIn(f"is it https? Use https://{host}", said)

    @running
    async def test_authority(self) -> None:
        """A certificate is trusted with its authority."""
        certified = Certified("127.0.0.1")
        page = Resource()
        page.putChild(b"healthz", Data(b"oci-registry\n", "text/plain"))
        page.putChild(b"v2", versions := Resource())
        versions.putChild(b"", Data(b"{}", "application/json"))
        port = reactor.listenSSL(0, Site(page), certified.server(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        path = Path(self.mktemp())
        path.write_bytes(certified.certificate)
        url = f"https://127.0.0.1:{port.getHost().port}"
        status, said = await self.check(url, "--ca-file", str(path))
        self.assertEqual((0, f"oci-registry setup: {url} is oci-registry\n"), (status, said))

    @running
    async def test_unreachable(self) -> None:
        """Nobody, a name that does not exist, and silence have words of their own."""
        for url, words in (
            ("http://127.0.0.1:1", "connection refused: is the daemon running"),
            ("http://does-not-exist.invalid", "its name cannot be resolved"),
        ):
            status, said = await self.check(url)
            self.assertEqual(1, status)
            self.assertIn(words, said)
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            asking = Asking(Mirror(f"http://127.0.0.1:{silent.getsockname()[1]}"), 0.2)
            with self.assertRaises(CheckFailed) as failed:
                await deferToThread(asking, "/v2/")
        self.assertIn("no answer within 0.2 s", str(failed.exception))
