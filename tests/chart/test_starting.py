"""The real daemon, started with what the chart says: command, arguments, environment and files."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chart.running import Container
from tests.chart.support import SETS, ChartTestCase
from tests.support import s3
from tests.support.certificates import Certified
from tests.support.client import Client
from tests.support.daemon import reactor, running
from tests.support.fake_registry import FakeRegistry
from tests.support.process import ListeningProcess

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

    @running
    async def test_default(self) -> None:
        """With the default values it is alive, ready and a registry, and complains of nothing."""
        process = await self.start()
        for path in ("/healthz", "/readyz", "/v2/", "/metrics"):
            self.assertEqual(200, await self.status(path), path)
        self.assertTrue(list(self.container.path("/data").iterdir()))
        await self.stop(process)
        for level in (b" warn ", b" error ", b" critical "):
            self.assertNotIn(level, process.output)

    @running
    async def test_every_set(self) -> None:
        """With each set of values it starts, answers, and stops."""
        for path in sorted(SETS.glob("*-values.yaml")):
            name = path.name.removesuffix("-values.yaml")
            # Above this level the port is not told.
            process = await self.start(name, registry__logLevel="info")
            for asked in ("/healthz", "/v2/"):
                self.assertEqual(200, await self.status(asked), name)
            if "s3" not in name:
                self.assertEqual(200, await self.status("/readyz"), name)
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
