"""oci-registry warm, and the port for clients of a daemon that it asks."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.interfaces import StoreError
from tests.integration import warm_command_case
from tests.integration.test_warming import BASE, RUNTIME
from tests.support.bundles import Ran, command
from tests.support.daemon import running, until
from tests.support.fake_registry import Reply


class ByUrl(warm_command_case.WarmCommandTests):
    """``oci-registry warm --url``."""

    def where(self) -> tuple[str, ...]:
        return ("--url", f"http://127.0.0.1:{self.client._port}")

    @running
    async def test_waits(self) -> None:
        """It waits until a layer is stored, and gets one byte of it."""
        self.registry.add_image("library/app", "1", BASE)
        gate: Deferred[None] = Deferred()
        path = f"/blobs/{Digest.of(BASE)}"
        self.registry.script(path, Reply(body=BASE, hold=gate, hold_at=150_000))
        daemon = await self.start()
        warming = self.run_in_background("library/app:1")
        await until(lambda: self.registry.count(path) == 1)
        counted = daemon.parts.metrics._responses.counted
        await until(lambda: counted.get(("blob", "GET", "206"), 0) >= 4)
        self.assertFalse(warming.called)
        gate.callback(None)
        ran = await warming
        self.assertEqual((0, 1), (ran.status, self.registry.count(path)))
        sent = daemon.parts.metrics.client_bytes.labels("blob")._value.get()  # type: ignore[no-untyped-call]
        self.assertLess(sent, 100)

    @running
    async def test_not_stored(self) -> None:
        """A blob that the mirror cannot store is missing."""
        self.registry.add_image("library/app", "1", RUNTIME)
        daemon = await self.start()
        await self.run_warm("library/app:1")
        self.registry.add_image("library/app", "2", BASE)

        store = daemon.parts.transfers._store
        self.patch(store, "create", lambda *args: _broken())
        ran = await self.run_warm("library/app:2")
        self.assertEqual(1, ran.status)
        self.assertIn("the mirror does not store it", ran.err)

    @running
    async def test_too_large(self) -> None:
        """A layer that the limit of the store does not allow is requested once, and missing."""
        large = bytes(3 * 1024 * 1024)
        self.registry.add_image("library/app", "1", large)
        await self.start(max_size=parse_size("8MiB"))
        await until(lambda: self.daemons[-1].parts.account.is_complete)  # type: ignore[union-attr]
        ran = await self.run_warm("library/app:1")
        self.assertIn(f"blob {Digest.of(large)}: the mirror does not store it", ran.err)
        self.assertEqual(1, self.registry.count(f"/blobs/{Digest.of(large)}"))

    @running
    async def test_no_mirror(self) -> None:
        """Whatever else answers there, or nothing, is an error that says so."""
        await self.start()
        url = f"http://{self.registry.host}"
        self.registry.add_image("library/app", "1", b"x")
        ran: Ran = await deferToThread(command, "warm", "library/app:1", "--url", url)
        self.assertEqual(1, ran.status)
        self.assertIn("but not oci-registry", ran.err)
        await self.registry.stop()
        ran = await deferToThread(command, "warm", "x", "--url", url)
        self.assertIn("connection refused", ran.err)


def _broken() -> Deferred[None]:
    broken: Deferred[None] = Deferred()
    broken.errback(StoreError("it is broken"))
    return broken
