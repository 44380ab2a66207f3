"""The daemon as those see it who run it: metrics, readiness, logs, ports."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.trial.unittest import SkipTest

from tests.support.client import Client, Response
from tests.support.daemon import MirrorTestCase, reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.process import SOURCE, DaemonProcess, ListeningProcess, ProcessTestCase


class Watching(MirrorTestCase):
    """What can be asked beside images."""

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """Return the samples by name and values of labels."""
        page = await self.client.get("/metrics")
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page.body.decode())
            for sample in family.samples
        }

    @running
    async def test_metrics_of_pulls(self) -> None:
        """A cold and a warm pull are misses and hits of their namespace, in requests and bytes."""
        _, blobs = self.registry.add_image("library/app", "1", b"layer" * 10_000)
        await self.start()
        for _ in range(2):
            await self.client.get("/v2/library/app/manifests/1")
            await self.client.get(f"/v2/library/app/blobs/{blobs[1]}")
            # Another request for the blob would join the transfer while it is not over.
            await self.idle()
        await self.client.get("/v2/library/app/manifests/2")
        got = await self.metrics()
        # The parser adds _total to the names of all counters.
        for sample, expected in (
            (("manifest_cache_misses_total", "docker.io"), 1),
            (("manifest_cache_hits_total", "docker.io"), 1),
            (("blob_cache_misses_total", "docker.io"), 1),
            (("blob_cache_hits_total", "docker.io"), 1),
            (("oci_registry_requests_total", "GET", "manifest", "200"), 2),
            (("oci_registry_requests_total", "GET", "manifest", "404"), 1),
            (("oci_registry_requests_total", "GET", "blob", "200"), 2),
            (("oci_registry_client_bytes_total", "blob"), 100_000),
            (("oci_registry_upstream_bytes_total", "docker.io"), 50_000),
            (("oci_registry_transfers_in_flight",), 0),
        ):
            self.assertEqual(expected, got.get(sample), sample)
        self.assertGreater(got["process_resident_memory_bytes",], 0)

    @running
    async def test_transfers_in_flight(self) -> None:
        """A download that is under way can be seen, and a failed one is an error."""
        digest = self.registry.add_blob(bytes(200_000))
        gate: Deferred[None] = Deferred()
        broken = Reply(body=bytes(200_000), hold=gate, hold_at=100_000, cut=150_000)
        self.registry.script("/blobs/", broken)
        await self.start(self.upstream("docker.io", retries=1))
        response = await self.client.begin(f"/v2/library/app/blobs/{digest}")
        await until(lambda: self.registry.count("/blobs/") == 1)
        self.assertEqual(1, (await self.metrics())["oci_registry_transfers_in_flight",])
        gate.callback(None)
        await response.done
        while (got := await self.metrics())["oci_registry_transfers_in_flight",]:
            pass
        self.assertEqual(1, got["oci_registry_errors_total", "transfer"])

    @running
    async def test_ready(self) -> None:
        """Readiness follows the store: made at the first need, and gone when something is in its place."""
        await self.start()
        self.assertEqual(200, (await self.client.get("/readyz")).status)
        self.assertEqual(set(), self.files())
        self.root.rename(self.root.with_suffix(".moved"))
        self.root.write_text("in the way")
        response = await self.client.get("/readyz")
        self.assertEqual(503, response.status)
        self.assertNotIn(str(self.root).encode(), bytes(response.body))
        self.assertEqual(200, (await self.client.get("/healthz")).status)
        self.root.unlink()
        self.assertEqual(200, (await self.client.get("/readyz")).status)


class Running(ProcessTestCase):
    """The real daemon as a process."""

    async def stop(self, daemon: DaemonProcess, client: Client) -> list[str]:
        """End the daemon and return the lines of its log."""
        client.close()
        await daemon.kill("TERM")
        lines = daemon.output.decode().splitlines()
        self.assertIn("stopped", lines[-1])
        return lines

    @running
    async def test_text_log(self) -> None:
        """A pull is a line for each response; where it listens is said, secrets are not."""
        self.registry.add_image("library/app", "1")
        secrets = self.folder / "credentials.json"
        secrets.write_text('{"docker.io": {"username": "u", "password": "hunter2"}}')
        daemon, client = await self.start("--upstream-credentials-file", str(secrets))
        await client.get("/v2/library/app/manifests/1", User_Agent="podman/4")
        lines = await self.stop(daemon, client)
        access = [line for line in lines if '"GET /v2/library/app/manifests/1" 200' in line]
        self.assertEqual(1, len(access), lines)
        self.assertTrue(access[0].endswith('"podman/4" cache=miss'))
        self.assertNotIn("hunter2", "\n".join(lines))
        self.assertEqual(
            1, sum(" info oci-registry " in line and " on http://" in line for line in lines)
        )

    @running
    async def test_json_log(self) -> None:
        """With JSON every line is an object, of events, responses and what twistd itself says."""
        daemon, client = await self.start("--log-format", "json")
        await client.get("/v2/library/none/manifests/1")
        lines = await self.stop(daemon, client)
        events: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for event in events:
            self.assertLessEqual({"time", "level", "source"}, event.keys())
        access = [event for event in events if event["source"] == "access"]
        self.assertEqual([404], [event["status"] for event in access])

    @running
    async def test_access_log(self) -> None:
        """A log of its own form tells of each response whose it is and what the cache was good for."""
        self.registry.add_image("library/app", "1")
        daemon, client = await self.start("--access-log", "combined", "--log-format", "json")
        for _ in range(2):
            await client.get("/v2/library/app/manifests/1", Authorization="Bearer Tr0ub4dor")
        output = await self.stop(daemon, client)
        lines = [line for line in output if "/manifests/1 HTTP/1.1" in line]
        self.assertEqual(["miss", "hit"], [line.split()[-2] for line in lines])
        self.assertEqual({"docker.io"}, {line.split()[-3] for line in lines})
        self.assertNotIn("Tr0ub4dor", "".join(output))

    async def fail(self, *options: str) -> str:
        """Start a daemon that cannot start, and return what it says."""
        daemon = self.begin(*options)
        daemon.listening.addErrback(lambda _: None)
        await daemon.ended
        output = daemon.output.decode()
        self.assertEqual(1, daemon.status, output)
        self.assertNotIn("Traceback", output)
        return output

    @running
    async def test_port_that_is_taken(self) -> None:
        """A port that is taken ends the start, with a line that names it, the flag and another one."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            place = f"127.0.0.1:{taken.getsockname()[1]}"
            for flag in ("--listen", "--admin-listen"):
                words = f"{place} is in use: choose another address, such as {flag} 127.0.0.1:"
                self.assertIn(words, await self.fail(flag, place))

    @running
    async def test_port_without_rights(self) -> None:
        """A port that this user may not have ends it with a line that says what can be done."""
        setpriv = shutil.which("setpriv")
        if setpriv is None or os.geteuid():
            raise SkipTest("rights can be given up by root only, with setpriv")
        command = [
            setpriv,
            "--bounding-set=-net_bind_service",
            sys.executable,
            "-m",
            "oci_registry",
        ]
        command += ["--listen", "127.0.0.1:81", "filesystem", "--root", str(self.root)]
        daemon = ListeningProcess(reactor, command, {"PYTHONPATH": SOURCE})
        daemon.listening.addErrback(lambda _: None)
        await daemon.ended
        output = daemon.output.decode()
        self.assertEqual(1, daemon.status, output)
        self.assertIn("127.0.0.1:81: this user may not use ports below 1024", output)
        self.assertNotIn("Traceback", output)

    @running
    async def test_address_of_another(self) -> None:
        """An address that this machine does not have ends it with a line that says what can be done."""
        output = await self.fail("--listen", "192.0.2.1:8080")
        self.assertIn("192.0.2.1:8080 is not an address of this machine", output)

    async def get_by_socket(self, place: Path, path: str) -> Response:
        """Ask for something at a unix socket."""
        response = Response()
        await connectProtocol(UNIXClientEndpoint(reactor, str(place)), response)
        response.transport.write(f"GET {path} HTTP/1.1\r\nHost: m\r\n\r\n".encode())
        await response.done
        response.close()
        return response

    @running
    async def test_admin_listen(self) -> None:
        """Those who watch have a place of their own, and clients get no metrics."""
        place = self.folder / "admin.sock"
        daemon, client = await self.start("--admin-listen", f"unix:{place}")
        self.assertEqual(404, (await client.get("/metrics")).status)
        self.assertEqual(200, (await client.get("/readyz")).status)
        for path, status in (("/metrics", 200), ("/readyz", 200), ("/v2/", 404)):
            self.assertEqual(status, (await self.get_by_socket(place, path)).status, path)
        await self.stop(daemon, client)
        self.assertFalse(place.exists())

    @running
    async def test_unix_socket(self) -> None:
        """The daemon listens on a unix socket as well, and logs who has no address."""
        place = self.folder / "mirror.sock"
        daemon, client = await self.start("--listen", f"unix:{place}")
        self.assertEqual(200, (await self.get_by_socket(place, "/v2/")).status)
        lines = await self.stop(daemon, client)
        self.assertTrue([line for line in lines if ' - "GET /v2/" 200' in line], lines)
        self.assertFalse(place.exists())

    @running
    async def test_bad_options(self) -> None:
        """Whatever is wrong is said at once, a line each, and nothing is started."""
        output = await self.fail("--log-level", "loud", "--upstreams", "some")
        self.assertIn("loud", output)
        self.assertIn("some", output)
        self.assertFalse((self.folder / "root").exists())
