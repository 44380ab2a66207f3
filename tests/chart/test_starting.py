"""The real daemon, started with what the chart says: command, arguments, environment and files."""

from __future__ import annotations

import json
import re
import ssl
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.chart.running import Container
from tests.chart.support import SETS, ChartTestCase
from tests.support import s3
from tests.support.certificates import Certified
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.process import ListeningProcess

ROOT = Certified("an authority")
BETWEEN = Certified("an authority below it", issuer=ROOT)
SERVER = Certified("images.example.com", issuer=BETWEEN, authority=False)
CREDENTIALS = {"docker.io": {"username": "robot", "password": "hunter2"}}


class Starting(ChartTestCase):
    """One daemon after the other."""

    def setUp(self) -> None:
        super().setUp()
        self.existing = {
            "existing-upstream": {
                "registries.yaml": "- {namespace: docker.io, host: registry.example.com}\n"
            },
            "existing-credentials": {"all.json": json.dumps(CREDENTIALS)},
            "existing-ca": {"ca.pem": Certified("minio.storage.svc").certificate.decode()},
            "existing-company-ca": {},
            "existing-admin-token": {"api": "a-token-of-some-length-for-the-admin-api"},
            "existing-files": {
                "ca.crt": Certified("registry.example.com").certificate.decode(),
                "password": "hunter2",
            },
            "existing-tls": {
                "tls.crt": (SERVER.certificate + BETWEEN.certificate).decode(),
                "tls.key": SERVER.key.decode(),
            },
            "existing-bucket": {
                "AWS_ACCESS_KEY_ID": "testkey",
                "AWS_SECRET_ACCESS_KEY": "testsecret",
            },
        }

    async def start(self, *sets: str, **values: object) -> ListeningProcess:
        """Start what the chart makes of values; `client` talks to it."""
        directory = Path(self.mktemp()).absolute()
        self.container = Container(directory, self.render(*sets, **values), self.existing)
        process = self.container.start(reactor)
        self.addCleanup(process.end)
        self.client = Client(reactor, await process.listening)
        self.addCleanup(self.client.close)
        return process

    async def stop(self, process: ListeningProcess) -> None:
        """Stop it as a kubelet does, and check that it ends by itself and in order."""
        self.client.close()
        await process.kill("TERM")
        # twistd ends itself by the signal that ended it.
        self.assertIn((process.status, process.signal), {(0, None), (None, 15)})

    async def status(self, path: str) -> int:
        """Ask for something and return the status."""
        response = await self.client.get(path)
        assert response.status is not None
        return response.status

    async def blocking(self, connection: HTTPConnection, path: str = "/v2/") -> int:
        """Ask on a connection of its own and return the status."""

        def ask() -> int:
            with closing(connection):
                connection.request("GET", path)
                return connection.getresponse().status

        return await deferToThread(ask)

    @running
    async def test_default(self) -> None:
        """With the default values it is alive, ready and a registry, and complains of nothing."""
        process = await self.start()
        for path in ("/healthz", "/readyz", "/v2/"):
            self.assertEqual(200, await self.status(path), path)
        self.assertTrue(list(self.container.path("/data").iterdir()))
        await self.stop(process)
        for level in (b" warn ", b" error ", b" critical "):
            self.assertNotIn(level, process.output)

    @running
    async def test_every_set(self) -> None:
        """With each set of values it starts, answers, and stops."""
        names = sorted(
            path.name.removesuffix("-values.yaml") for path in SETS.glob("*-values.yaml")
        )
        self.assertGreater(len(names), 9)
        for name in names:
            # Above this level the port is not told.
            process = await self.start(name, registry__logLevel="info")
            asked = ["/healthz", "/v2/", *(() if "s3" in name else ("/readyz",))]
            for path_asked in asked if "tls" not in name else ():
                self.assertEqual(200, await self.status(path_asked), name)
            await self.stop(process)

    # A daemon for each set.
    test_every_set.timeout = 600  # type: ignore[attr-defined]

    @running
    async def test_metrics(self) -> None:
        """Metrics are at their own port, and clients do not get them."""
        process = await self.start()
        self.assertEqual(404, await self.status("/metrics"))
        await until(lambda: b"metrics are served on " in process.output)
        (port,) = re.findall(rb"metrics are served on \S+:(\d+) only", process.output)
        for path, status in (("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/v2/", 404)):
            admin = HTTPConnection("127.0.0.1", int(port))
            self.assertEqual(status, await self.blocking(admin, path), path)
        await self.stop(process)

    @running
    async def test_for_the_node_alone(self) -> None:
        """A DaemonSet listens at 127.0.0.1 and at no other address of the node."""
        process = await self.start("daemonset")
        port = await process.listening
        self.assertEqual(200, await self.blocking(HTTPConnection("127.0.0.1", port)))
        # All of 127.0.0.0/8 is this machine.
        with self.assertRaises(ConnectionRefusedError):
            await self.blocking(HTTPConnection("127.0.0.2", port))
        await self.stop(process)

    @running
    async def test_tls(self) -> None:
        """With a certificate it speaks TLS, and sends the certificates of its issuers too."""
        for values, address in (("tls", "127.0.0.1"), ("tls-one-port", "::1")):
            process = await self.start(values)
            context = ssl.create_default_context(cadata=ROOT.certificate.decode())
            context.check_hostname = False
            port = await process.listening
            for path in ("/v2/", "/readyz"):
                connection = HTTPSConnection(address, port, context=context)
                self.assertEqual(200, await self.blocking(connection, path), values)
            await self.stop(process)

    @running
    async def test_upstream_file(self) -> None:
        """It pulls from the registry that the values name, as who they say."""
        registry = FakeRegistry()
        registry.start(reactor)
        digest, _ = registry.add_image("team/app", "1", b"layer")
        entry = {"namespace": "example.com", "host": registry.host, "tls": False}
        process = await self.start(
            registry__upstream__config__contents=[entry],
            registry__defaultNamespace="example.com",
            registry__upstreams="configured",
        )
        response = await self.client.get("/v2/team/app/manifests/1")
        self.assertEqual(
            (200, str(digest)), (response.status, response.headers["docker-content-digest"])
        )
        self.assertEqual(404, await self.status("/v2/docker.io/library/busybox/manifests/1"))
        await self.stop(process)
        await registry.stop()

    @running
    async def test_bucket(self) -> None:
        """It is ready on a bucket whose keys are in a Secret."""
        bucket = s3.new_bucket(self.mktemp())
        process = await self.start(
            "s3-existing-secret",
            registry__storage__s3__host=bucket.endpoint,
            registry__storage__s3__bucket=bucket.bucket,
        )
        self.assertEqual(200, await self.status("/readyz"))
        self.assertTrue(self.container.path("/spool/oci-registry").is_dir())
        await self.stop(process)

    @running
    async def test_arguments(self) -> None:
        """Arguments that are added win over what the chart says by variables."""
        process = await self.start("extras", registry__logFormat="text")
        await self.stop(process)
        lines = process.output.decode().splitlines()
        self.assertTrue(lines)
        for line in lines:
            self.assertIn("message", json.loads(line))
