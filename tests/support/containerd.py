"""The real containerd, with an empty store, and its ``ctr``."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SkipTest, SynchronousTestCase


def require_containerd() -> None:
    """Skip the test unless containerd can be run here."""
    for program in ("containerd", "ctr"):
        if shutil.which(program) is None:
            raise SkipTest(f"{program} is not installed")
    if os.geteuid() != 0:
        raise SkipTest("containerd takes root")


class Containerd:
    """A containerd that ends with its test; it blocks, so it is used from a thread."""

    def __init__(self, test: SynchronousTestCase) -> None:
        # A path of a socket has to be short.
        self._folder = Path(mkdtemp(prefix="ctr-", dir="/tmp"))
        self._socket = str(self._folder / "socket")
        self._test = test
        test.addCleanup(shutil.rmtree, self._folder, ignore_errors=True)

    def begin(self) -> None:
        """Start it and wait until it answers."""
        folder = self._folder
        config = folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self._socket}"\n'
        )
        log = (folder / "log").open("wb")
        self._test.addCleanup(log.close)
        process = subprocess.Popen(["containerd", "-c", str(config)], stdout=log, stderr=log)
        self._test.addCleanup(process.wait)
        self._test.addCleanup(process.terminate)
        for _ in range(300):
            if not self.ctr("version")[0]:
                return
            time.sleep(0.1)
        self._test.fail(f"containerd does not start: {(folder / 'log').read_text()[-2000:]}")

    def ctr(self, *arguments: str) -> tuple[int, str]:
        """Run ctr; return its status and what it says."""
        done = subprocess.run(
            ["ctr", "--address", self._socket, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout
