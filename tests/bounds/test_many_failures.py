"""Hundreds of requests that fail at one instant, and other requests meanwhile."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from subprocess import PIPE, Popen

from twisted.internet.defer import Deferred

from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import FakeRegistry, Reply
from tests.support.process import DaemonProcess, ProcessTestCase

MIB = 1024 * 1024
FAILURES = 700
BUSY = 1.5
"""Seconds of the processor that the daemon may take for others before it answers anybody else,"""
SLOWEST = 30.0
"""and seconds that the answer may take; on a busy machine most of them are other processes'."""
GROWTH = 45 * MIB
FILES = 2 * FAILURES + 500
IMPATIENT = {"RES_OPTIONS": "timeout:1 attempts:1"}
"""Where no name can be resolved, a look-up takes a second instead of many (resolv.conf(5))."""


WATCH = """
import select, socket, sys, time
slowest, busiest, begun, statuses = 0.0, 0.0, False, set()
def cpu():
    with open(f"/proc/{sys.argv[2]}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    while True:
        for path in sys.argv[3:]:
            began, before = time.monotonic(), cpu()
            connection.sendall(f"GET {path} HTTP/1.1\\r\\nHost: m\\r\\n\\r\\n".encode())
            statuses.add(int(connection.recv(65536)[9:12]))
            slowest = max(slowest, time.monotonic() - began)
            busiest = max(busiest, cpu() - before)
        if not begun:
            print("begun", flush=True)
            begun = True
        if select.select([sys.stdin], [], [], 0.01)[0]:
            break
print(slowest, busiest, *statuses)
"""


class Watch:
    """A process that asks a daemon for small things again and again, and measures what that takes.

    It has been answered once when it is made.
    """

    def __init__(self, port: int, daemon: int, *paths: str) -> None:
        command = [sys.executable, "-c", WATCH, str(port), str(daemon), *paths]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"

    def stop(self) -> tuple[float, float, list[str]]:
        """Return the most seconds, and the most of the daemon's CPU, that an answer took; the statuses."""
        slowest, busiest, *statuses = self._process.communicate("\n", timeout=60)[0].split()
        return float(slowest), float(busiest), statuses


class ManyFailures(ProcessTestCase):
    """The real daemon as a process, an upstream that is silent, and names that nobody has."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < FILES:
            self.skipTest("this takes more open files than are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    async def start_with_silent(self) -> tuple[DaemonProcess, Client, str]:
        """Start a daemon with a silent upstream, and return the path of a manifest that it has."""
        silent = FakeRegistry()
        silent.start(reactor)
        silent.script("", Reply(silent=True))
        self.addCleanup(lambda: Deferred.fromCoroutine(silent.stop()))
        upstreams = (
            f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false}}\n'
            f'- {{namespace: silent.test, host: "{silent.host}", tls: false, response_timeout: 4s}}\n'
        )
        digest, _ = self.registry.add_image("library/app", "1")
        daemon = DaemonProcess(reactor, self.root, upstreams, environment=IMPATIENT, forked=True)
        self.addCleanup(daemon.end)
        self.port = await daemon.listening
        client = Client(reactor, self.port)
        self.addCleanup(client.close)
        await until(lambda: b"storing in" in daemon.output)
        cached = f"/v2/library/app/manifests/{digest}"
        self.assertEqual(200, (await client.get(cached)).status)
        return daemon, client, cached

    async def check(self, path: str) -> Counter[int]:
        """Ask for *path*, which has a number in it, by many at once; return how they are answered."""
        daemon, client, cached = await self.start_with_silent()
        before = daemon.memory("VmHWM")
        watch = Watch(self.port, daemon.process.pid, "/healthz", cached)
        asked = [await client.begin(path.format(n=number)) for number in range(FAILURES)]
        answers = Counter([(await response.done).status for response in asked])
        slowest, busiest, watched = watch.stop()
        grown = daemon.memory("VmHWM") - before
        client.close()
        await daemon.kill("TERM")
        self.assertEqual(["200"], watched)
        self.assertLess(busiest, BUSY)
        self.assertLess(slowest, SLOWEST)
        self.assertLess(grown, GROWTH, f"{grown / MIB:.1f} MiB")
        return answers

    @running
    async def test_timeouts(self) -> None:
        """700 requests that wait for one silent host and give up together keep nobody else waiting."""
        answers = await self.check("/v2/silent.test/r{n}/manifests/1")
        self.assertEqual(FAILURES, answers[503] + answers[504])

    @running
    async def test_names(self) -> None:
        """As many names that nobody has are refused, but for the few that are looked up."""
        answers = await self.check("/v2/n{n}.invalid/app/manifests/1")
        self.assertGreater(answers[502], FAILURES * 0.8)
        self.assertEqual(FAILURES, answers[502] + answers[504])

    @running
    async def test_addresses(self) -> None:
        """As many addresses of the private network are refused."""
        answers = await self.check("/v2/[fd00::{n}]:80/app/manifests/1")
        self.assertEqual({502: FAILURES}, answers)
