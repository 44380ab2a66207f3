"""The daemon raises its limit of open files, whatever it was started with."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from tests.support.daemon import reactor, running, until
from tests.support.process import SOURCE, ListeningProcess, ProcessTestCase


class FileLimit(ProcessTestCase):
    """One or two open files are needed per client."""

    @running
    async def test_raised(self) -> None:
        """A soft limit below the hard one is raised to it by the time the daemon serves."""
        command = [sys.executable, "-m", "oci_registry", "--listen", "127.0.0.1:0"]
        command += ["filesystem", "--root", str(self.root)]
        limited = f"ulimit -Sn 256 && ulimit -Hn 512 && exec {shlex.join(command)}"
        daemon = ListeningProcess(reactor, ["/bin/sh", "-c", limited], {"PYTHONPATH": SOURCE})
        self.addCleanup(daemon.end)
        await daemon.listening
        await until(lambda: b"storing in" in daemon.output)
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
        found = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.MULTILINE)
        assert found is not None
        self.assertEqual(("512", "512"), found.groups())
