"""What the daemon's process holds in memory does not grow with blobs, nor much with clients."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import Reply
from tests.support.patterns import noise
from tests.support.process import ProcessTestCase

MIB = 1024 * 1024
SIZE = 24 * MIB
CLIENTS = 50
ALLOWED = 36 * MIB
"""By how much 50 clients of one cold blob may make the process grow: 27 MiB, most of it what a miss imports."""
BUSY = 2.0
"""Seconds of the processor that the daemon may take for many before it answers anybody else."""
PAUSE = 0.02
"""Seconds between the requests of others."""


class Memory(ProcessTestCase):
    """The real daemon as a process, and many clients of one cold blob."""

    timeout = 120

    @running
    async def test_slow_clients(self) -> None:
        """100 clients of a stored blob that stop reading cost the process less than 6 MiB."""
        data = noise(10, 20 * MIB)
        digest = self.registry.add_blob(data)
        path = f"/v2/library/app/blobs/{digest}"
        daemon, client = await self.start()
        for _ in range(2):
            first = await client.begin_compared(path, data)
            await first.done
        await until(lambda: b"stored sha256" in daemon.output)
        before = daemon.memory()
        slow = [await client.begin_compared(path, data) for _ in range(100)]
        for response in slow:
            await until(lambda response=response: len(response.body) > MIB)
            response.pause()
        grown = daemon.memory() - before
        # What most of them have not read would only be compared.
        for response in slow[::10]:
            response.resume()
            await response.done
            self.assertTrue(response.body.right)
        client.close()
        await daemon.kill("TERM")
        self.assertEqual(1, self.registry.count("/blobs/"))
        self.assertLess(grown, 6 * MIB, f"{grown / MIB:.1f} MiB")

    @running
    async def test_fifty_clients_of_a_cold_blob(self) -> None:
        """50 clients of a cold 24 MiB blob, five of which do not read, cost the process under 36 MiB."""
        data = noise(8, SIZE)
        digest = self.registry.add_blob(data)
        path = f"/v2/library/app/blobs/{digest}"
        gate: Deferred[None] = Deferred()
        self.registry.script("/blobs/", Reply(body=data, hold=gate, hold_at=SIZE // 2))
        # What it imports for its first miss is a part of what is measured.
        self.forked = False
        daemon, client = await self.start()
        await client.get("/v2/")
        before = daemon.memory("VmHWM")

        slow = [await client.begin_compared(path, data) for _ in range(5)]
        for response in slow:
            await response.got_headers
            response.pause()
        early = [await client.begin_compared(path, data) for _ in range(CLIENTS - 15)]
        await until(lambda: all(len(r.body) >= SIZE // 4 for r in early))
        late = [await client.begin_compared(path, data) for _ in range(10)]
        gate.callback(None)
        for response in (*early, *late):
            await response.done
        self.assertFalse(any(response.complete for response in slow))
        for response in slow:
            response.resume()
            await response.done
        for response in (*early, *late, *slow):
            self.assertEqual((200, SIZE), (response.status, len(response.body)))
            self.assertTrue(response.body.right)
        grown = daemon.memory("VmHWM") - before
        client.close()
        await daemon.kill("TERM")
        self.assertEqual(1, self.registry.count("/blobs/"))
        self.assertLess(grown, ALLOWED, f"{grown / MIB:.1f} MiB")

    @running
    async def test_three_hundred_clients_of_unknown_length(self) -> None:
        """300 clients of a cold blob of unknown length are served in a minute, and others meanwhile.

        How long these wait is measured in what the daemon does before it answers them: on a busy machine
        most of the time is that of other processes.
        """
        data = noise(9, 2 * MIB)
        digest = self.registry.add_blob(data)
        self.registry.add_image("library/app", "1")
        self.registry.script("/blobs/", Reply(body=data, chunked=True))
        daemon, client = await self.start()
        await client.get("/v2/library/app/manifests/1")
        before = daemon.memory("VmHWM")

        began = reactor.seconds()
        path = f"/v2/library/app/blobs/{digest}"
        many = [await client.begin_compared(path, data) for _ in range(300)]
        longest, last = 0.0, daemon.cpu()
        while not all(response.done.called for response in many):
            for other in ("/healthz", "/v2/library/app/manifests/1"):
                self.assertEqual(200, (await client.get(other)).status)
                # Since the answer before: what it does in the pause counts as well.
                now = daemon.cpu()
                longest, last = max(longest, now - last), now
            await deferLater(reactor, PAUSE)
        self.assertTrue(all(response.complete and response.body.right for response in many))
        self.assertLess(reactor.seconds() - began, 60)
        self.assertLess(longest, BUSY)
        grown = daemon.memory("VmHWM") - before
        client.close()
        await daemon.kill("TERM")
        self.assertEqual(1, self.registry.count("/blobs/"))
        # 256 KiB for each, and as much in the socket's buffer of the slow.
        self.assertLess(grown, 200 * MIB, f"{grown / MIB:.1f} MiB")
