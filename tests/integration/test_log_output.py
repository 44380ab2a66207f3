"""The log on a pipe, with a reader that is slow, asleep or gone, and in a file."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import termios
import time

from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from oci_registry.log_output import LogPlace, PipeOutput, open_output
from tests.support.client import Client, Response
from tests.support.daemon import reactor, running, until
from tests.support.folders import short_folder
from tests.support.process import SOURCE, DaemonProcess
from tests.support.workers import exists

LINE = "x" * 99 + "\n"


def describe(lines: int) -> str:
    """Make a line of a number."""
    return f"{lines} dropped\n"


class Pipes(SynchronousTestCase):
    """A pipe, and what is read from it."""

    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(self.close_reading)
        self.addCleanup(os.close, self.writing)

    def close_reading(self) -> None:
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1

    def read(self, output: PipeOutput) -> list[str]:
        """Read until nothing is written any more."""
        data = b""
        while select.select([self.reading], [], [], 0)[0] or output._thread is not None:
            if select.select([self.reading], [], [], 0.1)[0]:
                data += os.read(self.reading, 1 << 20)
        return data.decode().splitlines(keepends=True)

    def test_at_once(self) -> None:
        """While somebody reads, a line is in the pipe when it was written, without a thread."""
        output = PipeOutput(self.writing, describe)
        for number in range(100):
            output.write(f"{number} größe\n")
            self.assertEqual(f"{number} größe\n", os.read(self.reading, 1000).decode())
        self.assertIsNone(output._thread)

    def test_full(self) -> None:
        """A full pipe delays nobody; what does not fit is counted, and everything else is kept."""
        output = PipeOutput(self.writing, describe, limit=50_000)
        for number in range(5000):
            output.write(f"{number:>8}{LINE}")
        self.assertGreater(output._dropped, 0)
        due = 0
        for line in self.read(output):
            count, _, rest = line.strip().partition(" ")
            if rest == "dropped":
                due += int(count)
            else:
                self.assertEqual(f"{due:>8}{LINE}", line)
                due += 1
        self.assertEqual(5000, due)
        output.write("again\n")
        self.assertEqual(["again\n"], self.read(output))

    def test_number_in_place(self) -> None:
        """How many were dropped stands where they would have stood."""
        output = PipeOutput(self.writing, describe, limit=1000)
        sent = 0
        while not output._dropped:
            output.write(LINE)
            sent += 1
        first = b""
        while output._thread is not None and output._waiting:
            first += os.read(self.reading, 4096)
        output.write("after\n")
        lines = (first.decode() + "".join(self.read(output))).splitlines(keepends=True)
        self.assertEqual(["1 dropped\n", "after\n"], lines[-2:])
        self.assertEqual([LINE] * (sent - 1), lines[:-2])

    def test_long_line(self) -> None:
        """A line that is longer than what the pipe holds arrives whole, once it is read."""
        output = PipeOutput(self.writing, describe)
        output.write("y" * 500_000 + "\n")
        output.write("z\n")
        self.assertEqual(["y" * 500_000 + "\n", "z\n"], self.read(output))

    def test_gone(self) -> None:
        """A reader that has gone is nobody's trouble."""
        output = PipeOutput(self.writing, describe)
        for _ in range(2000):
            output.write(LINE)
        self.close_reading()
        output.close()
        self.assertIsNone(output._thread)
        output.write(LINE)
        self.assertIsNone(output._thread)

    def test_bounded_end(self) -> None:
        """The end waits for a reader that sleeps, but not for long."""
        output = PipeOutput(self.writing, describe)
        for _ in range(2000):
            output.write(LINE)
        start = time.monotonic()
        output.close(0.2)
        self.assertLess(time.monotonic() - start, 10)
        self.read(output)

    def test_what_it_is_for(self) -> None:
        """Pipes and sockets are written to so, and anything else as before."""
        with open(os.devnull, "w", encoding="utf-8") as device:
            self.patch(sys, "stdout", device)
            self.assertIs(device, open_output(LogPlace(), describe))
        with open(self.mktemp(), "w", encoding="utf-8") as file:
            self.patch(sys, "stdout", file)
            self.assertIs(file, open_output(LogPlace(), describe))
        with os.fdopen(os.dup(self.writing), "w", encoding="utf-8") as pipe:
            self.patch(sys, "stdout", pipe)
            self.assertIsInstance(open_output(LogPlace(), describe), PipeOutput)

    def test_closed(self) -> None:
        """A standard output that is closed takes everything, and keeps nothing."""
        self.patch(sys, "stdout", None)
        output = open_output(LogPlace(), describe)
        output.write(LINE)
        output.flush()

    def test_terminal(self) -> None:
        """A terminal that is stopped delays nobody, and gets all lines when it continues."""
        master, terminal = os.openpty()
        self.addCleanup(os.close, master)
        with os.fdopen(terminal, "w", encoding="utf-8") as file:
            self.patch(sys, "stdout", file)
            output = open_output(LogPlace(), describe)
            assert isinstance(output, PipeOutput)
            termios.tcflow(terminal, termios.TCOOFF)
            for _ in range(1000):
                output.write(LINE)
            termios.tcflow(terminal, termios.TCOON)
            data = b""
            while data.count(b"\n") < 1000:
                data += os.read(master, 1 << 16)
            output.close()
        self.assertEqual(LINE * 1000, data.decode().replace("\r\n", "\n"))


class Processes(TestCase):
    """Real daemons."""

    timeout = 90

    def setUp(self) -> None:
        self.folder = short_folder(self)
        self.root = self.folder / "root"

    def start(self, *options: str) -> DaemonProcess:
        """Start a daemon whose upstream does not exist."""
        daemon = DaemonProcess(reactor, self.root, "127.0.0.1:1", *options, forked=True)
        self.addCleanup(daemon.end)
        return daemon

    @running
    async def test_nobody_reads(self) -> None:
        """A daemon whose output nobody reads answers, ends, and says later what was dropped."""
        daemon = self.start("--log-format", "json")
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await until(lambda: b" mirroring " in daemon.output)
        daemon.process.pauseProducing()
        # Nearly 4 kB a line, as JSON has six bytes for each of these letters: more than the pipe and what waits
        # beside it can hold.
        path, agent = f"/v2/{'x' * 500}", "é" * 500
        sent = 360
        for _ in range(sent // 20):
            waiting = [await client.begin(path, User_Agent=agent) for _ in range(20)]
            for response in waiting:
                await response.done
        self.assertEqual(200, (await client.get("/healthz")).status)
        daemon.process.resumeProducing()
        await until(lambda: b"lines of the log were dropped" in daemon.output)
        client.close()
        await daemon.kill("TERM")
        events = [json.loads(line) for line in daemon.output.decode().splitlines()]
        self.assertEqual("stopped", events[-1]["message"])
        dropped = sum(event.get("lines", 0) for event in events)
        answered = sum(event.get("source") == "access" for event in events)
        self.assertEqual(sent + 1, answered + dropped)
        self.assertGreater(dropped, 0)

    @running
    async def test_ends_unread(self) -> None:
        """A daemon that is stopped while nobody reads ends nevertheless."""
        daemon = self.start()
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await until(lambda: b" mirroring " in daemon.output)
        daemon.process.pauseProducing()
        for _ in range(200):
            await client.get(f"/v2/{'x' * 500}", User_Agent="x" * 500)
        client.close()
        daemon.process.signalProcess("TERM")
        await until(lambda: not exists(daemon.process.pid))
        daemon.process.resumeProducing()
        await daemon.ended
        self.assertEqual(signal.SIGTERM, daemon.signal)

    @running
    async def test_stopped_twice(self) -> None:
        """A second signal while the daemon stops is a line, and no error."""
        daemon = self.start("--shutdown-grace", "60s")
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await client.send(b"GET /v2/ HTTP/1.1\r\n")
        await until(lambda: b" mirroring " in daemon.output)
        daemon.process.signalProcess("TERM")
        await until(lambda: b"info stopping" in daemon.output)
        for name in ("TERM", "INT"):
            daemon.process.signalProcess(name)
        await until(lambda: b"info stopping already" in daemon.output)
        client.close()
        await daemon.ended
        self.assertEqual(signal.SIGTERM, daemon.signal)
        self.assertNotIn(b"critical", daemon.output)
        self.assertTrue(daemon.output.endswith(b"info stopped\n"))

    @running
    async def test_plugin_cache(self) -> None:
        """Where Twisted may not write its cache of plugins, as in what root has installed, nothing is said."""
        plugins = self.folder / "twisted" / "plugins"
        (plugins / "dropin.cache").mkdir(parents=True)
        (plugins / "another.py").write_text("")
        path = {"PYTHONPATH": f"{self.folder}:{SOURCE}"}
        daemon = DaemonProcess(reactor, self.root, "127.0.0.1:1", environment=path)
        self.addCleanup(daemon.end)
        await daemon.listening
        await until(lambda: b" mirroring " in daemon.output)
        await daemon.kill("TERM")
        self.assertNotIn(b"plugin cache", daemon.output)

    def run_twistd(self, *options: str, **kept: str) -> subprocess.CompletedProcess[str]:
        """Run ``twistd`` in the folder, which ends when the daemon listens."""
        script = "from twisted.scripts.twistd import run; run()"
        return subprocess.run(
            [
                *(sys.executable, "-c", script, *options, "oci-registry"),
                *("--listen", kept.get("listen", "unix:http.sock")),
                *("filesystem", "--root", "root"),
            ],
            cwd=self.folder,
            env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
            text=True,
            timeout=60,
        )

    async def ask(self) -> int:
        """Return the status of an answer that the daemon gives at its socket."""
        response = Response()
        endpoint = UNIXClientEndpoint(reactor, str(self.folder / "http.sock"))
        await connectProtocol(endpoint, response)
        response.transport.write(b"GET /v2/ HTTP/1.1\r\nHost: m\r\n\r\n")
        await response.done
        response.close()
        return response.status

    @running
    async def test_daemonized(self) -> None:
        """In the background everything is in one file: events, responses, and the end."""
        for options, name in (([], "twistd.log"), (["--logfile", "ours.log"], "ours.log")):
            done = await deferToThread(self.run_twistd, *options)
            self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))
            log, pid = self.folder / name, int((self.folder / "twistd.pid").read_text())
            await until(lambda log=log: " mirroring " in log.read_text())
            self.assertEqual(200, await self.ask())
            os.kill(pid, 15)
            await until(lambda log=log: " info stopped" in log.read_text())
            await until(lambda: not (self.folder / "twistd.pid").exists())
            text = log.read_text()
            self.assertIn('info - "GET /v2/" 200', text)
            self.assertNotIn("plugin cache", text)

    @running
    async def test_daemonizing_fails(self) -> None:
        """What keeps it from starting is in the file too, and the command fails."""
        done = await deferToThread(self.run_twistd, listen="unix:no/where.sock")
        self.assertEqual(1, done.returncode)
        self.assertIn("cannot listen at unix:no/where.sock", done.stderr)
        # The command ends before its child in the background does.
        log = self.folder / "twistd.log"
        reason = "cannot listen at unix:no/where.sock (--listen): No such file"
        await until(lambda: reason in log.read_text())
        await until(lambda: not (self.folder / "twistd.pid").exists())
        self.assertNotIn("Traceback", log.read_text() + done.stderr)
