"""``python -m tests.e2e``: real clients pull through the daemon from real registries.

Each check prints a line; the last line sums up, and the exit status is 1 if any failed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from tests.e2e.checks import Checks
from tests.e2e.images import BUSYBOX
from tests.e2e.scenario import Scenario
from tests.e2e.servers import Processes

NEEDED = ("docker-registry", "skopeo", "containerd", "ctr", "runc")


def missing() -> list[str]:
    """Return what this machine lacks to run anything at all."""
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    if not BUSYBOX.exists():
        lacking.append("busybox-static")
    if os.geteuid():
        lacking.append("root")
    return lacking


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that everything is stopped."""
    raise KeyboardInterrupt


def main() -> int:
    """Run everything; return the exit status."""
    checks = Checks()
    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGHUP, interrupt)
    lacking = missing()
    if lacking:
        checks.skip("everything", f"this needs {', '.join(lacking)}")
    else:
        with tempfile.TemporaryDirectory(
            prefix="oci-registry-e2e-", ignore_cleanup_errors=True
        ) as folder:
            processes = Processes(Path(folder))
            try:
                # Whatever is raised outside a check is one that failed, and ends the run.
                checks.check("the run comes to its end", Scenario(processes, checks).play)
                if checks.failed:
                    print("the daemon's log ends with\n" + processes.tail("mirror"))
            finally:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                processes.stop_all()
    print(f"e2e: {checks.summary()}")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
