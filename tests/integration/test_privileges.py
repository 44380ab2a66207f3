"""A daemon that is started as root, and then becomes another user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from oci_registry.spec.digest import Digest
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.process import SOURCE, ListeningProcess
from tests.support.workers import WorkersTestCase, children

#: Other users may not be able to read the interpreter; this one can, but gets no other right.
READING = (
    *("--securebits=+no_setuid_fixup", "--inh-caps=+dac_read_search"),
    "--ambient-caps=+dac_read_search",
    "--bounding-set=-all,+setuid,+setgid,+net_bind_service,+dac_read_search",
)


class AnotherUser(WorkersTestCase):
    """``twistd --uid --gid``, with workers, on a low port, with sockets for admins and a store of that user."""

    def setUp(self) -> None:
        super().setUp()
        setpriv = shutil.which("setpriv")
        if setpriv is None or os.geteuid():
            raise SkipTest("another user can be become by root only, with setpriv")
        self.user = pwd.getpwnam("nobody")
        self.prefix = [setpriv, *READING]
        tried = [*self.prefix, "true"]
        if subprocess.run(tried, check=False, capture_output=True).returncode:
            raise SkipTest("root has not all rights here")
        for folder in (self.folder, self.root):
            folder.mkdir(exist_ok=True)
            # Options are checked as root, who has no more rights to files here than others.
            folder.chmod(0o777)
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.socket = self.folder / "a.sock"

    def low_port(self) -> int:
        """Return a free port that only root may have.

        A name of it is bound as well, so that no other run of this test in the same network takes it before
        the daemon does.
        """
        for number in range(1023, 600, -1):
            claim = socket.socket(socket.AF_UNIX)
            self.addCleanup(claim.close)
            with contextlib.suppress(OSError), socket.socket() as probe:
                claim.bind(f"\0oci-registry-tests-{number}")
                probe.bind(("127.0.0.1", number))
                return number
        raise SkipTest("no low port is free")

    async def begin_as_other(self) -> tuple[ListeningProcess, Client]:
        """Start it, and wait for its workers."""
        port = self.low_port()
        config = self.folder / "upstreams.yaml"
        config.write_text(f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false}}\n')
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        twistd += [
            "--nodaemon",
            "--pidfile=",
            "--uid",
            str(self.user.pw_uid),
            "--gid",
            str(self.user.pw_gid),
        ]
        options = ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"unix:{self.socket}"]
        options += ["--workers", "2", "--upstream-config-file", str(config)]
        storage = ["filesystem", "--root", str(self.root)]
        command = [*self.prefix, *twistd, "oci-registry", *options, *storage]
        daemon = ListeningProcess(reactor, command, {"PYTHONPATH": SOURCE}, path=str(self.folder))
        self.addCleanup(daemon.end)
        await daemon.listening
        await until(lambda: b"workers accept connections" in daemon.output)
        client = Client(reactor, port)
        self.addCleanup(client.close)
        return daemon, client

    def stored(self, digest: Digest) -> bool:
        """Whether there is a file of a blob."""
        return bool([*(self.root / "blobs").rglob(digest.encoded[2:])])

    def owned(self, path: Path) -> None:
        """A file belongs to that user."""
        found = path.lstat()
        self.assertEqual((self.user.pw_uid, self.user.pw_gid), (found.st_uid, found.st_gid), path)

    @running
    async def test_all(self) -> None:
        """Processes, files and sockets are of that user, a pull is stored, and nothing is left behind."""
        _, (config, layer) = self.registry.add_image("library/app", "1", b"layer")
        daemon, client = await self.begin_as_other()
        for pid in (daemon.process.pid, *children(daemon.process.pid)):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            (ids,) = (line.split()[1:] for line in lines if line.startswith("Uid:"))
            self.assertEqual({str(self.user.pw_uid)}, set(ids), pid)
        for path in (self.socket, self.root / "admin.sock"):
            self.owned(path)
            self.assertEqual(0o600, stat.S_IMODE(path.lstat().st_mode))
        for end in ("manifests/1", f"blobs/{config}", f"blobs/{layer}", "manifests/1"):
            self.assertEqual(200, (await client.get(f"/v2/library/app/{end}")).status)
        await until(lambda: [*self.root.rglob("_tags/1")] and self.stored(layer))
        await daemon.kill("TERM")
        for path in self.root.rglob("*"):
            self.owned(path)
        self.assertNotIn(b"Traceback", daemon.output)
        self.assertFalse(self.socket.exists() or (self.root / "admin.sock").exists())
        self.assertFalse(list((self.root / "transfers").iterdir()))
