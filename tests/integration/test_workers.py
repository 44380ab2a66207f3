"""A daemon with worker processes answers, stops and restarts as one without; each may die at any time."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from oci_registry.workers.leases import LEASE
from oci_registry.workers.sending import LEAST
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.workers import WorkersTestCase, children, exists

MIB = 1024 * 1024


class Answers(WorkersTestCase):
    """What clients get."""

    def requests(self, image: str, blob: str) -> list[bytes]:
        """Return what is sent on one connection each, until it is closed."""
        host, last = "Host: m\r\n", "Host: m\r\nConnection: close\r\n\r\n"
        texts = [
            *(f"{method} {path} HTTP/1.1\r\n{last}"
              for method in ("GET", "HEAD", "POST", "FETCH")
              for path in ("/", "/v2/", "/healthz", "/nothing", image, blob, "/v2/no/blobs/x")),
            *(f"GET {blob} HTTP/1.1\r\nRange: bytes={part}\r\n{last}"
              for part in ("0-0", "5-", "-7", "9-1", "9999999-", "0-1,4-5", "300000-900000", "100000-5000000")),
            f"GET {blob} HTTP/1.0\r\n\r\n",
            f"GET {image} HTTP/1.1\r\nIf-None-Match: *\r\n{last}",
            f"POST /v2/ HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n{last}abc",
            f"POST /v2/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{last}3\r\nabc\r\n0\r\n\r\n",
            (f"GET /v2/ HTTP/1.1\r\n{host}\r\nGET {blob} HTTP/1.1\r\n{host}\r\n"
             f"HEAD {blob} HTTP/1.1\r\n{host}\r\nGET {image} HTTP/1.1\r\n{last}"),
            f"\r\n\r\nGET /v2/ HTTP/1.1\r\n{last}",
            "nonsense\r\n\r\n",
            "GET /v2/ HTTP/1.1\r\n\r\n",
            f"GET /v2/ HTTP/1.1\r\n{host}{last}",
            f"GET /{'x' * 20_000} HTTP/1.1\r\n{last}",
            "\x16\x03\x01",
            # No handshake, since a request has come before.
            f"GET /v2/ HTTP/1.1\r\n{host}\r\n\x16\x03\x01",
        ]  # fmt: skip
        return [text.encode() for text in texts]

    async def record(self, requests: list[bytes], workers: int, blob: str) -> list[bytes]:
        """Return the responses of a daemon that has the blob; each was requested three times."""
        self.root = self.folder / f"root{workers}"
        daemon, _ = await self.serve(workers=workers)
        answer = b""
        while b"; hit" not in answer:
            connection = await self.connect()
            connection.ask(blob, Connection="close")
            answer = await connection.ended()
        got = []
        for _ in range(3):
            for each in requests:
                connection = await self.connect()
                # In two pieces, as it may arrive.
                connection.send(each[:30])
                await deferLater(reactor, 0.001)
                connection.send(each[30:])
                got.append(await connection.ended())
            await until(lambda: not list(self.root.glob("transfers/*")))
        await daemon.kill("TERM")
        self.assertNotIn(b"Traceback", daemon.output)
        return got

    @running
    async def test_same(self) -> None:
        """Every response is the same as without workers, byte by byte, and so is how it ends."""
        # Large enough to be sent by a worker.
        layer = noise(1, LEAST + 100_000)
        _, blobs = self.registry.add_image("library/app", "1", layer)
        blob = f"/v2/library/app/blobs/{blobs[1]}"
        requests = self.requests("/v2/library/app/manifests/1", blob)
        alone = await self.record(requests, 1, blob)
        shared = await self.record(requests, 2, blob)
        for index, (one, other) in enumerate(zip(alone, shared, strict=True)):
            request = requests[index % len(requests)]
            self.assertTrue(one == other, (request[:200], one[:400], other[:400]))

    @running
    async def test_one_connection(self) -> None:
        """A connection serves one request after the other, whichever process answers them."""
        await self.serve()
        connection = await self.connect()
        for count in range(1, 30):
            connection.ask("/v2/" if count % 3 else "/healthz", Connection="keep-alive")
            await until(lambda count=count: connection.got.count(b"HTTP/1.1 200") == count)  # type: ignore[misc]
        self.assertIsNone(connection.lost)

    @running
    async def test_lent(self) -> None:
        """Workers answer hits themselves, as the main process does; each is logged and counted once."""
        self.registry.add_image("library/app", "1")
        path = "/v2/library/app/manifests/1"
        daemon, client = await self.serve("--access-log", "json")
        connection = await self.connect()
        got: list[bytes] = []
        while not any(b'"worker": ' in line for line in daemon.output.splitlines()[-4:]):
            await deferLater(reactor, 0.005)
            begun = len(connection.got)
            connection.ask(path, User_Agent="tester")
            await until(lambda begun=begun: connection.got[begun:].endswith(b"}"))  # type: ignore[misc]
            got.append(connection.timeless[len(b"".join(got)) :])
            connection.got[:] = connection.timeless.replace(connection.timeless, b"".join(got))
        self.assertEqual({got[1]}, set(got[1:]))
        connection.leave()
        text = f'method="GET",route="manifest",status="200"}} {len(got)}.0'
        page = ""
        while text not in page or f"_client_connections {1:.1f}" not in page:
            page = (await client.get("/metrics", Connection="close")).body.decode()
        self.assertIn(f'manifest_cache_hits{{namespace="docker.io"}} {len(got) - 1}.0', page)
        # Lines of the access log are written a little later than responses are counted.
        await daemon.kill("TERM")
        events = [json.loads(line) for line in daemon.output.splitlines() if b"tester" in line]
        self.assertEqual(len(got), len(events))
        self.assertLess(0, sum("worker" in event for event in events))
        self.assertEqual({200}, {event["status"] for event in events})

    @running
    async def test_one_request_each(self) -> None:
        """Workers also answer clients that open a connection for each request, and close it as asked."""
        self.registry.add_image("library/app", "1")
        daemon, _ = await self.serve("--access-log", "json")
        got: list[bytes] = []
        while not any(b'"worker": ' in line for line in daemon.output.splitlines()[-4:]):
            connection = await self.connect()
            connection.ask("/v2/library/app/manifests/1", Connection="close")
            await connection.ended()
            got.append(connection.timeless)
        self.assertIn(b"\r\nConnection: close\r\n", got[0])
        self.assertEqual({got[1]}, set(got[1:]))

    @running
    async def test_no_longer_served(self) -> None:
        """What the main process no longer serves, no worker serves a second later."""
        self.registry.add_image("library/app", "1")
        path = "/v2/library/app/manifests/1?ns=example.com"
        daemon, client = await self.serve("--access-log=json", "--upstreams=configured")
        config = self.root.parent / f"{self.root.name}.yaml"
        before = config.read_text()
        more = f'- {{namespace: example.com, host: "{self.registry.host}", tls: false}}\n'
        for text, status in ((before + more, 200), (before, 404)):
            config.write_text(text)
            daemon.process.signalProcess("HUP")
            while (await client.get(path, Connection="close")).status != status:
                await deferLater(reactor, 0.005)
            if status == 200:
                connection = await self.connect()
                while b'"worker": ' not in daemon.output:
                    begun = len(connection.got)
                    connection.ask(path)
                    await connection.until(begun + 1)
        ended = reactor.seconds() + LEASE
        await until(lambda: reactor.seconds() > ended)
        begun = len(connection.got)
        connection.ask(path)
        await until(lambda: len(connection.got) > begun)
        self.assertIn(b"HTTP/1.1 404", connection.got[begun:])

    @running
    async def test_one_download(self) -> None:
        """Eight clients of an image that is not stored cause one download of each of its parts."""
        layers = [noise(seed, MIB) for seed in range(3)]
        _, blobs = self.registry.add_image("library/app", "1", *layers)
        _, client = await self.serve()
        paths = [f"blobs/{digest}" for digest in blobs] + ["manifests/1"]
        begun = [
            (path, await client.begin(f"/v2/library/app/{path}")) for path in paths for _ in "x" * 8
        ]
        for path, response in begun:
            await response.done
            self.assertTrue(response.complete, path)
            self.assertEqual(200, response.status, path)
        for path in paths:
            self.assertEqual(1, self.registry.count(path), path)

    @running
    async def test_unix_socket(self) -> None:
        """A UNIX socket is shared too, and removed at the end."""
        folder = mkdtemp()
        self.addCleanup(os.rmdir, folder)
        place = f"{folder}/s"
        daemon, client = await self.serve(f"--listen=unix:{place}", "--admin-listen=127.0.0.1:0")
        connection = await self.connect(place)
        connection.ask("/healthz", Connection="close")
        self.assertIn(b"oci-registry", await connection.ended())
        self.assertEqual(404, (await client.get("/metrics")).status)
        await daemon.kill("TERM")
        self.assertFalse(os.path.exists(place))

    @running
    async def test_metrics(self) -> None:
        """One page counts every process, and each response once; the log has the client's address."""
        daemon, client = await self.serve()
        opened = await self.connect_many(8)
        for _ in range(5):
            self.assertEqual(200, (await client.get("/v2/")).status)
        client.close()
        wanted = (
            b"oci_registry_workers 2.0\n",
            b"oci_registry_client_connections 9.0\n",
            b'oci_registry_requests_total{method="GET",route="base",status="200"} 5.0\n',
            *(b'oci_registry_worker_cpu_seconds_total{worker="%d"} ' % n for n in (1, 2)),
            *(b'oci_registry_worker_resident_memory_bytes{worker="%d"} ' % n for n in (1, 2)),
        )
        # One connection that stays: those of others would be counted as long as a worker has not reported
        # their end.
        asking = await self.connect()
        while not all(line in asking.got for line in wanted):
            asking.got.clear()
            asking.ask("/metrics")
            await deferLater(reactor, 0.1)
        asking.leave()
        for connection in opened:
            connection.leave()
        # Lines of the access log are written a little later than responses are counted.
        await daemon.kill("TERM")
        lines = daemon.output.decode().splitlines()
        self.assertEqual(5, len([each for each in lines if '127.0.0.1 "GET /v2/" 200 2' in each]))


class Lives(WorkersTestCase):
    """Processes that end."""

    def sends(self, pid: int) -> bool:
        """Whether a worker has a stored blob open, which it does as long as it sends a part of it."""
        links = Path(f"/proc/{pid}/fd").iterdir()
        return any("/blobs/sha256/" in os.path.realpath(link) for link in links)

    def began(self, pid: int) -> float:
        """Return when a process was started, in seconds since the system was."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")

    @running
    async def test_worker_killed(self) -> None:
        """Kill -9 of a worker ends its own connections only, and it is replaced at once."""
        data = noise(2, 2 * MIB)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=MIB))
        daemon, client = await self.serve()
        opened = await self.connect_many(16)
        download = await client.begin(f"/v2/library/app/blobs/{digest}")
        await download.got_headers
        victim = self.workers(daemon)[1]
        self.kill(victim)
        await until(lambda: b"was ended by SIGKILL; it is started again at once" in daemon.output)
        await until(lambda: any(each.lost for each in opened))
        await until(lambda: len(self.workers(daemon)) == 2)
        self.assertNotIn(victim, self.workers(daemon).values())
        left = [each for each in opened if each.lost is None]
        self.assertTrue(left)
        for connection in left:
            connection.ask("/healthz")
            await until(lambda it=connection: it.got.count(b"HTTP/1.1 200") == 2)  # type: ignore[misc]
        gate.callback(None)
        await download.done
        self.assertTrue(bytes(download.body) == data)

    @running
    async def test_sending_worker_killed(self) -> None:
        """Workers send stored blobs; the download that one was sending breaks with it, and only that."""
        data = noise(8, 24 * MIB)
        path = f"/v2/library/app/blobs/{self.registry.add_blob(data)}"
        daemon, client = await self.serve()
        await client.get(path)
        await until(lambda: not list(self.root.glob("transfers/*")))
        fast = await client.get(path)
        self.assertTrue(bytes(fast.body) == data)
        slow = [await client.begin(path) for _ in range(8)]
        for response in slow:
            await response.got_headers
            response.pause()
        workers = self.workers(daemon)
        await until(lambda: all(self.sends(pid) for pid in workers.values()))
        self.kill(workers[1])
        await until(lambda: b"was ended by SIGKILL" in daemon.output)
        for response in slow:
            response.resume()
        for response in slow:
            await response.done
        complete = sum(each.complete for each in slow)
        self.assertTrue(0 < complete < 8, complete)
        self.assertTrue(all(bytes(each.body) == data for each in slow if each.complete))
        self.assertTrue(all(data.startswith(bytes(each.body)) for each in slow))
        client.close()
        await daemon.kill("TERM")
        lines = daemon.output.decode().splitlines()
        [failed] = [each for each in lines if " error " in each or " critical " in each]
        self.assertIn("was ended by SIGKILL", failed)
        self.assertNotIn(b"Traceback", daemon.output)

    @running
    async def test_repeated_crashes(self) -> None:
        """A worker that ends again soon is started later, and until then others accept."""
        daemon, client = await self.serve()
        self.kill(self.workers(daemon)[1])
        await until(lambda: b"it is started again at once" in daemon.output)
        await until(lambda: len(self.workers(daemon)) == 2)
        killed = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.kill(self.workers(daemon)[1])
        await until(lambda: b"it is started again in 1.0 s" in daemon.output)
        self.kill(self.workers(daemon)[2])
        for _ in range(10):
            self.assertEqual(200, (await client.get("/v2/")).status)
        await until(lambda: len(self.workers(daemon)) == 2)
        # The system counts in hundredths of a second.
        self.assertGreater(self.began(self.workers(daemon)[1]), killed + 0.98)

    @running
    async def test_forking_process_killed(self) -> None:
        """Without the forking process, its workers end, and both are started again."""
        daemon, client = await self.serve()
        before = set(children(daemon.process.pid))
        forking = before - set(self.workers(daemon).values())
        self.assertEqual(1, len(forking))
        self.kill(forking.pop())
        await until(lambda: daemon.output.count(b"2 workers accept connections") == 2)
        await until(lambda: not any(exists(pid) for pid in before))
        self.assertEqual(200, (await client.get("/v2/")).status)

    @running
    async def test_main_process_killed(self) -> None:
        """Kill -9 of the main process leaves no process behind, and nothing after the next start."""
        never: Deferred[None] = Deferred()
        data = noise(3, MIB)
        digest = self.registry.add_blob(data)
        self.registry.script("/blobs/", Reply(body=data, hold=never, hold_at=MIB // 2))
        daemon, client = await self.serve()
        await self.connect_many(4)
        response = await client.begin(f"/v2/library/app/blobs/{digest}")
        await response.got_headers
        pids = children(daemon.process.pid)
        self.assertEqual(3, len(pids))
        await daemon.kill("KILL")
        await until(lambda: not any(exists(pid) for pid in pids))
        await response.done
        self.assertFalse(response.complete)
        daemon, _ = await self.serve()
        await until(lambda: not [*self.root.glob("transfers/*"), *self.root.glob("blobs/*/*/*")])

    @running
    async def test_term(self) -> None:
        """SIGTERM: idle connections are closed, responses finish, no process is left."""
        data = noise(4, 2 * MIB)
        digest = self.registry.add_blob(data)
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=MIB))
        daemon, client = await self.serve()
        idle = await self.connect_many(8)
        response = await client.begin(f"/v2/library/app/blobs/{digest}")
        await response.got_headers
        pids = children(daemon.process.pid)
        for pid in pids:
            # As systemd does, and a terminal with Ctrl-C: only the main process acts on it.
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        daemon.process.signalProcess("TERM")
        await until(lambda: all(each.lost for each in idle))
        with self.assertRaises(Exception):  # noqa: B017 - refused, whatever the platform calls it
            await client.get("/v2/")
        gate.callback(None)
        await response.done
        self.assertTrue(bytes(response.body) == data)
        await daemon.ended
        self.assertFalse([pid for pid in pids if exists(pid)])
        self.assertNotIn(b"Traceback", daemon.output)
        self.assertIn(b"stopped", daemon.output.splitlines()[-1])
        self.assertEqual(
            (None, "SIGTERM"), (daemon.status, signal.Signals(daemon.signal or 0).name)
        )

    @running
    async def test_reload(self) -> None:
        """SIGHUP reads the configuration again, and the workers stay."""
        daemon, client = await self.serve()
        before = self.workers(daemon)
        config = self.root.parent / f"{self.root.name}.yaml"
        config.write_text(f'- {{namespace: quay.io, host: "{self.registry.host}", tls: false}}\n')
        self.registry.add_image("a/b", "1")
        daemon.process.signalProcess("HUP")
        await until(lambda: b"quay.io" in daemon.output)
        self.assertEqual(200, (await client.get("/v2/a/b/manifests/1?ns=quay.io")).status)
        self.assertEqual(before, self.workers(daemon))
