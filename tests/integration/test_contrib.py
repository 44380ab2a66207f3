"""What is in contrib: units for systemd, with a socket that is there before the daemon, and a compose file."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase, TestCase

from oci_registry import __version__
from tests.support.client import Client
from tests.support.daemon import reactor, running
from tests.support.process import SOURCE, ListeningProcess

ROOT = Path(SOURCE)
UNITS = ROOT / "contrib" / "systemd"
SERVICE = UNITS / "oci-registry.service"
INSTALLED = "/opt/oci-registry/bin/oci-registry"
STATE = "/var/lib/oci-registry"
# systemd's own figure for how much a service could do: 10 is everything.
EXPOSURE = 20


def setting(name: str) -> str:
    """Return the value of one setting of the service."""
    (found,) = re.findall(rf"^{name}=(.*)$", SERVICE.read_text("utf-8"), re.M)
    return str(found)


class Activation(TestCase):
    """The daemon is handed a socket that somebody else has opened."""

    timeout = 120

    def setUp(self) -> None:
        # What the socket's unit says, but at a free port.
        self.socket = socket.socket()
        self.addCleanup(self.socket.close)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(1024)
        self.client = Client(reactor, self.socket.getsockname()[1])
        self.addCleanup(self.client.close)

    def start(self) -> ListeningProcess:
        """Start what the unit says, as systemd does; paths are below the test's own directory."""
        root = Path(self.mktemp()).absolute()
        command = shlex.split(setting("ExecStart"))
        self.assertEqual(INSTALLED, command[0])
        command[0] = str(Path(sys.executable).parent / "oci-registry")
        command = [each.replace(STATE, str(root)) for each in command]
        # Only the process itself knows its number beforehand, as systemd's child does.
        shell = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *command]
        process = ListeningProcess(
            reactor,
            shell,
            {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "oci-registry.socket"},
            childFDs={0: "w", 1: "r", 2: "r", 3: self.socket.fileno()},
        )
        self.addCleanup(process.end)
        return process

    async def stop(self, process: ListeningProcess) -> None:
        """Stop it, and check that it ends in order."""
        self.client.close()
        await process.kill("TERM")
        self.assertIn((process.status, process.signal), {(0, None), (None, 15)})

    @running
    async def test_handed_over(self) -> None:
        """It serves on the socket that it is handed, and answers a client that came while no daemon ran."""
        process = self.start()
        self.assertEqual(self.socket.getsockname()[1], await process.listening)
        for path in ("/healthz", "/readyz", "/v2/"):
            self.assertEqual(200, (await self.client.get(path)).status)
        await self.stop(process)
        waiting = await self.client.begin("/v2/")
        process = self.start()
        await process.listening
        self.assertEqual(200, (await waiting.done).status)
        await self.stop(process)

    @running
    async def test_no_socket(self) -> None:
        """Without a socket it says what is missing, and ends."""
        command = [sys.executable, "-m", "oci_registry", "--listen", "systemd:domain=INET:index=0"]
        command += ["filesystem", "--root", self.mktemp()]
        process = ListeningProcess(reactor, command, {"PYTHONPATH": SOURCE}, forked=True)
        await self.assertFailure(process.listening, RuntimeError)
        self.assertEqual(1, process.status)
        self.assertIn(b"no such socket was passed to this process", process.output)


class Units(SynchronousTestCase):
    """The files for systemd."""

    def analyze(self, *arguments: str) -> str:
        """Run systemd-analyze on copies whose command is there; it must find nothing."""
        program = shutil.which("systemd-analyze")
        if program is None:
            self.skipTest("there is no systemd-analyze")
        directory = Path(self.mktemp())
        directory.mkdir()
        for unit in UNITS.iterdir():
            text = unit.read_text("utf-8").replace(INSTALLED, sys.executable)
            (directory / unit.name).write_text(text, "utf-8")
        paths = [str(directory.absolute() / unit.name) for unit in UNITS.iterdir()]
        chosen = paths if arguments[0] == "verify" else [p for p in paths if p.endswith("service")]
        done = subprocess.run(
            [program, *arguments, *chosen], check=False, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return done.stderr

    def test_verify(self) -> None:
        """systemd knows every setting of the units."""
        self.assertEqual("", self.analyze("verify", "--man=no"))

    def test_exposure(self) -> None:
        """systemd thinks that the service can do little."""
        self.analyze("security", "--offline=true", f"--threshold={EXPOSURE}")

    def test_port(self) -> None:
        """The socket is of the kind that the service asks for."""
        unit = (UNITS / "oci-registry.socket").read_text("utf-8")
        self.assertIn("ListenStream=0.0.0.0:8080\n", unit)
        self.assertIn("domain=INET:", setting("ExecStart"))

    def test_directory(self) -> None:
        """The directory that systemd makes is the one that the daemon is told."""
        self.assertIn(f"--root /var/lib/{setting('StateDirectory')}", setting("ExecStart"))

    def test_time_to_stop(self) -> None:
        """systemd waits longer than the daemon does."""
        self.assertGreater(int(setting("TimeoutStopSec")), 30)


class Compose(SynchronousTestCase):
    """The compose file."""

    def test_as_the_image_has_it(self) -> None:
        """It says what the image expects: its port, its volume, its variables."""
        file: Any = yaml.safe_load((ROOT / "contrib" / "compose.yaml").read_text("utf-8"))
        service = file["services"]["oci-registry"]
        image = (ROOT / "Dockerfile").read_text("utf-8")
        self.assertEqual(f"oci-registry:{__version__}", service["image"])
        (port,) = service["ports"]
        self.assertIn(f"EXPOSE {port.rpartition(':')[2]}\n", image)
        (volume,) = service["volumes"]
        name, _, path = volume.partition(":")
        self.assertIn(name, file["volumes"])
        self.assertIn(f'VOLUME ["{path}"]', image)
        page = (ROOT / "docs" / "reference" / "command-line.md").read_text("utf-8")
        for variable in service["environment"]:
            self.assertIn(f"`{variable}`", page)
        build = ROOT / "contrib" / service["build"]["context"]
        self.assertTrue((build / "Dockerfile").is_file())
