"""What the daemon's process holds in memory does not grow with blobs, nor much with clients."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from tests.support.daemon import running, until
from tests.support.fake_registry import Reply
from tests.support.process import DaemonProcess, ProcessTestCase

MIB = 1024 * 1024
SIZE = 64 * MIB
CLIENTS = 50
ALLOWED = 64 * MIB
"""By how much 50 clients of one cold blob of 64 MiB may make the process grow."""


class Memory(ProcessTestCase):
    """The real daemon as a process, and many clients of one cold blob."""

    timeout = 120

    def peak(self, daemon: DaemonProcess) -> int:
        """Return the most bytes of memory that the process has used so far."""
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    @running
    async def test_fifty_clients_of_a_cold_blob(self) -> None:
        """50 clients of a cold 64 MiB blob, five of which do not read, cost the process under 64 MiB."""
        data = Random(8).randbytes(SIZE)
        digest = self.registry.add_blob(data)
        path = f"/v2/library/app/blobs/{digest}"
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=SIZE // 2))
        daemon, client = await self.start()
        await client.get("/v2/")
        before = self.peak(daemon)

        slow = [await client.begin_hashed(path) for _ in range(5)]
        for response in slow:
            await response.got_headers
            response.pause()
        early = [await client.begin_hashed(path) for _ in range(CLIENTS - 15)]
        await until(lambda: all(len(r.body) >= SIZE // 4 for r in early))
        late = [await client.begin_hashed(path) for _ in range(10)]
        gate.callback(None)
        for response in (*early, *late):
            await response.done
        self.assertFalse(any(response.complete for response in slow))
        for response in slow:
            response.resume()
            await response.done
        for response in (*early, *late, *slow):
            body: Any = response.body
            self.assertEqual((200, SIZE), (response.status, len(body)))
            self.assertEqual(digest.encoded, body.sha256.hexdigest())
        grown = self.peak(daemon) - before
        client.close()
        await daemon.kill("TERM")
        self.assertEqual(1, self.registry.count("/blobs/"))
        self.assertLess(grown, ALLOWED, f"{grown / MIB:.1f} MiB")
