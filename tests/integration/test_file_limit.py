"""The daemon raises its limit of open files, whatever it was started with."""

from __future__ import annotations

import resource

from tests.support.daemon import running, until
from tests.support.process import ProcessTestCase


class FileLimit(ProcessTestCase):
    """One or two open files are needed per client."""

    @running
    async def test_raised(self) -> None:
        """A soft limit below the hard one is raised to it by the time the daemon serves."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # A process is started with the limits of the one that starts it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft // 2, hard))
        try:
            daemon = self.begin()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await daemon.listening
        await until(lambda: b"storing in" in daemon.output)
        found = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
        self.assertEqual((hard, hard), found)
