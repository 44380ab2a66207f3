"""A directory whose calls hang, or take seconds: nobody waits for it for long."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from oci_registry.makers import Makers
from oci_registry.pullthrough.store_health import StoreHealth
from oci_registry.pullthrough.transfer import Phase, TransferLimits
from oci_registry.storage.guard import StoreLimits
from oci_registry.streams.limits import GrowingLimits
from tests.support.client import Client
from tests.support.daemon import PATIENT, MirrorTestCase, running, until
from tests.support.disk import failing
from tests.support.process import DaemonProcess, ProcessTestCase, reactor

HANGS = 60.0
"""Seconds that a call of the store hangs if the test does not end it."""
DEADLINE = 20.0
"""Seconds that a client waits for the store: many more than a pull takes on a busy machine."""
APPEND = 20.0
"""Seconds that an append may take: many more than it does on a busy machine."""

HANGING = """
import os, sys, time
root, real = sys.argv.pop(1), os.open
def hang(path, *args, **more):
    if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(root + "/blobs"):
        time.sleep(1000)
    return real(path, *args, **more)
os.open = hang
from oci_registry.__main__ import main
sys.exit(main())
"""


class SlowDisk(MirrorTestCase):
    """Eight commits whose fsync takes as long as the test."""

    @running
    async def test_commits_delay_nobody(self) -> None:
        """Readiness, a tag's revalidation, a cold manifest and a cold blob do not wait for them."""
        self.registry.add_image("library/app", "known", b"layer")
        self.registry.add_image("library/app", "cold", b"another layer")
        await self.start(self.upstream("docker.io", manifest_invalidation_time=0.0))
        await self.client.get("/v2/library/app/manifests/known")
        gate, syncing = Event(), []
        self.addCleanup(gate.set)

        def sync(descriptor: int, *_: object) -> None:
            syncing.append(descriptor)
            gate.wait(HANGS)

        digests = [self.registry.add_blob(b"%d" % n * 1000) for n in range(9)]
        with failing(self.root, fsync=sync):
            for digest in digests[:8]:
                await self.client.get(f"/v2/library/app/blobs/{digest}")
            await until(lambda: len(syncing) == 4)
            asked = self.registry.count("/manifests/known", "HEAD")
            began = monotonic()
            for path in (
                "/readyz",
                "/v2/library/app/manifests/known",
                "/v2/library/app/manifests/cold",
                f"/v2/library/app/blobs/{digests[8]}",
            ):
                response = await self.client.get(path)
                self.assertEqual(response.status, 200, path)
            self.assertLess(monotonic() - began, HANGS / 2)
            self.assertGreater(self.registry.count("/manifests/known", "HEAD"), asked)
            self.assertEqual(len(syncing), 4)
            gate.set()
            await self.idle()


class DeadDirectory(MirrorTestCase):
    """A directory on a server that is gone: whatever touches it hangs."""

    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        self.gate = Event()
        self.logged: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.logged.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.logged.append)
        self.addCleanup(self.gate.set)

    def hang(self, *_: object) -> None:
        """Wait until the server is back."""
        self.gate.wait(HANGS)

    def lines(self) -> list[str]:
        """Return what was logged."""
        return [formatEvent(e) for e in self.logged]

    def errors(self) -> list[str]:
        """Return what was logged as an error."""
        return [formatEvent(e) for e in self.logged if e.get("log_level") is LogLevel.error]

    @running
    async def test_pulls_go_on(self) -> None:
        """What is stored and what is not come from upstream, and each direction is logged once."""
        limits = StoreLimits(lookup=DEADLINE, begin=DEADLINE)
        await self.start(makers=Makers(store_limits=limits))
        cached, *cold = [self.registry.add_blob(b"%d" % n * 1000) for n in range(8)]
        await self.client.get(f"/v2/library/app/blobs/{cached}")
        await self.idle()
        with failing(self.root, open=self.hang, lstat=self.hang, scandir=self.hang):
            for digest in (cached, *cold):
                pull = self.client.get(f"/v2/library/app/blobs/{digest}")
                self.assertEqual((await self.time.hurry(pull)).status, 200)
            # The circuits are open by now: nobody waits for the store any more.
            began = monotonic()
            for digest in (cached, *cold):
                response = await self.client.get(f"/v2/library/app/blobs/{digest}")
                self.assertEqual(response.status, 200)
            self.assertLess(monotonic() - began, DEADLINE)
            ready = await self.client.get("/readyz")
            self.assertEqual(ready.status, 503)
            said = [line for line in self.errors() if "pulls go on uncached" in line]
            self.assertLessEqual(len(said), 2, said)
            self.assertIn(f"the store at {self.root} did not answer within {DEADLINE:g} s", said[0])
            self.gate.set()
        await self.idle()


class HangingAppends(DeadDirectory):
    """A directory that can be looked at, but whose files cannot be written."""

    def setUp(self) -> None:
        super().setUp()
        self.makers = Makers(
            transfer_limits=TransferLimits(growing=GrowingLimits(append=APPEND)),
            store_health=partial(StoreHealth, recovery=0.0),
            store_limits=PATIENT,
        )

    @running
    async def test_pulls_go_on(self) -> None:
        """Running downloads continue without the store, that is logged once, and it is used again."""
        daemon = await self.start()
        await until(lambda: daemon.parts.tag_control._holds.loaded)
        digests = [self.registry.add_blob(b"%d" % n * 100_000) for n in range(8)]
        hanging: list[int] = []

        def hang(descriptor: int, *_: object) -> None:
            hanging.append(descriptor)
            self.hang()

        def all_wait() -> bool:
            phases = [one.phase for one in daemon.parts.transfers._all]
            most = PATIENT.hanging
            return phases == [Phase.VERIFYING] * len(digests) and len(hanging) == most

        with failing(self.root, write=hang):
            responses = [
                await self.client.begin_hashed(f"/v2/library/app/blobs/{digest}")
                for digest in digests
            ]
            await until(all_wait)
            self.time.forward(APPEND)
            for digest, response in zip(digests, responses, strict=True):
                await response.done
                self.assertEqual((200, True), (response.status, response.complete))
                self.assertEqual(digest.encoded, response.body.sha256.hexdigest())
            await self.idle()
            said = [line for line in self.errors() if "pulls go on uncached" in line]
            self.assertEqual(1, len(said), said)
            self.assertIn(f"the store at {self.root} did not append within {APPEND:g} s", said[0])
            self.assertEqual(set(), self.files())
            ready = await self.client.get("/readyz")
            self.assertEqual(200, ready.status)
            self.assertIn(b"ready, but nothing new is stored: the store at", bytes(ready.body))
            self.gate.set()
        self.time.forward(1)
        await until(lambda: any("circuit breaker closed" in line for line in self.lines()))
        for digest in digests:
            await self.client.get(f"/v2/library/app/blobs/{digest}")
        await until(lambda: len(self.files("blobs")) == len(digests))


class Ending(ProcessTestCase):
    """A daemon whose threads hang."""

    @running
    async def test_ends(self) -> None:
        """SIGTERM ends it nevertheless, within a few seconds."""
        script = self.folder / "hanging.py"
        Path(script).write_text(HANGING)
        config = self.folder / "upstream.yaml"
        config.write_text(f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false}}\n')
        daemon = _Hanging(reactor, script, self.root, config)
        self.addCleanup(daemon.end)
        client = Client(reactor, await daemon.listening)
        self.addCleanup(client.close)
        await until(lambda: b"storing in" in daemon.output)
        digest = self.registry.add_blob(b"data")
        response = await client.get(f"/v2/library/app/blobs/{digest}")
        self.assertEqual(response.status, 200)
        began = monotonic()
        daemon.process.signalProcess(signal.SIGTERM)
        await daemon.ended
        self.assertLess(monotonic() - began, 20)
        self.assertIn(b"stopped", daemon.output)
        self.assertEqual(daemon.signal, signal.SIGTERM)


class _Hanging(DaemonProcess):
    """A daemon that is started by a script which makes its store hang."""

    def __init__(self, reactor: Any, script: Path, root: Path, config: Path) -> None:
        command = [sys.executable, str(script), os.path.abspath(root), "--listen", "127.0.0.1:0"]
        command += ["--upstream-config-file", str(config), "--shutdown-grace", "1s"]
        command += ["filesystem", "--root", os.path.abspath(root)]
        super(DaemonProcess, self).__init__(
            reactor, command, {"PYTHONPATH": str(Path(__file__).parents[2])}
        )
