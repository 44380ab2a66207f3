"""oci-registry warm, and the admin API of a daemon that it asks."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from oci_registry.spec.digest import Digest
from oci_registry.spec.sizes import parse_size
from tests.integration import warm_command_case
from tests.integration.test_warming import BASE
from tests.support.bundles import Ran, command
from tests.support.daemon import running, until
from tests.support.fake_registry import Asked, Reply

TOKEN = "0123456789-abcdefghij"


class BySocket(warm_command_case.WarmCommandTests):
    """``oci-registry warm`` for the daemon of a store."""

    def where(self) -> tuple[str, ...]:
        return ("--root", str(self.root))

    @running
    async def test_by_admin(self) -> None:
        """A daemon elsewhere fetches images if its token is given."""
        self.registry.add_image("library/app", "1", BASE)
        file = self.root.parent / "token"
        file.write_text(TOKEN)
        file.chmod(0o600)
        listen = ("tcp:0:interface=127.0.0.1",)
        daemon = await self.start(admin_listen=listen, admin_token=TOKEN)
        port = await daemon.parts.ports.services[1]._waitingForPort  # type: ignore[attr-defined]
        where = ("--admin", f"http://127.0.0.1:{port.getHost().port}")
        for more, status in (((), 1), (("--admin-token-file", file), 0)):
            ran: Ran = await deferToThread(command, "warm", "library/app:1", *where, *more)
            self.assertEqual(status, ran.status, ran.err)

    @running
    async def test_no_daemon(self) -> None:
        """Without a daemon nothing is fetched, and it is said how one is named."""
        self.root.mkdir(exist_ok=True)
        ran = await self.run_warm("library/app:1")
        self.assertEqual((1, ""), (ran.status, ran.out))
        self.assertIn("no daemon runs on", ran.err)
        self.assertIn("--admin URL or --url URL", ran.err)

    @running
    async def test_cancelled(self) -> None:
        """Ctrl-C cancels what the daemon does, so that the next command begins at once."""
        for number in range(20):
            self.registry.add_image("library/app", f"v{number}", b"layer %d" % number)
        gate: Deferred[None] = Deferred()

        def hold(asked: Asked) -> Reply:
            honest = self.registry.honest(asked)
            honest.hold = gate
            return honest

        self.registry.script("/manifests/v3", hold)
        daemon = await self.start()
        names = [f"library/app:v{number}" for number in range(20)]
        status, output = await self.interrupted(*names, "--jobs", "1", at="/manifests/v3")
        self.assertEqual(130, status)
        self.assertIn(b"cancelled; run the command again to go on", output)
        latest = daemon.parts.warmer.latest
        assert latest is not None
        self.assertTrue(latest.cancelled)
        again = self.run_in_background(*names)
        await until(lambda: daemon.parts.warmer.latest is not latest)
        gate.callback(None)
        ran = await again
        self.assertEqual(0, ran.status, ran.err)
        self.assertEqual(len(set(self.gets())), len(self.gets()))

    @running
    async def test_cancelled_by_others(self) -> None:
        """What others have cancelled is left, and a second warming at the same time is refused."""
        self.registry.add_image("library/app", "1", BASE)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 100_000)
        await self.start()
        running = self.run_in_background("library/app:1", "library/app:2")
        await until(lambda: self.registry.count(f"/blobs/{Digest.of(BASE)}") == 1)
        refused = await self.run_warm("library/app:1")
        self.assertEqual(1, refused.status)
        self.assertIn("already warming images (run 1, 0 of 2 done)", refused.err)
        cancelled = await self.run_warm("--cancel")
        self.assertEqual(
            (0, "cancelled: 0 of 2 images stored completely\n"), (cancelled.status, cancelled.out)
        )
        again = json.loads((await self.run_warm("--cancel", "--json")).out)
        self.assertEqual((1, "cancelled"), (again["run"], again["state"]))
        ran = await running
        self.assertEqual(1, ran.status)
        self.assertIn("it was cancelled by someone else", ran.err)
        gate.callback(None)

    @running
    async def test_long_list(self) -> None:
        """A list that is too long for one request is fetched in parts."""
        self.registry.add_image("library/app", "1", BASE)
        await self.start()
        names = Path(self.mktemp())
        lines = [f"library/{'x' * 200}:{'x' * 100}{number}" for number in range(220)]
        names.write_text(
            "\n".join(["library/app:1", *lines, "library/app@" + "sha256:" + "0" * 64])
        )
        self.registry.guard = lambda asked: None if asked.path.endswith("/1") else NOTHING
        ran = await self.run_warm("--from-file", names, "--jobs", 32, "--json")
        document = json.loads(ran.out)
        self.assertEqual((1, 222), (ran.status, len(document["images"])))
        states = {image["state"] for image in document["images"][1:]}
        self.assertEqual({"failed"}, states)
        latest = self.daemons[-1].parts.warmer.latest
        assert latest is not None
        self.assertEqual(2, latest.number)

    @running
    async def test_restarted(self) -> None:
        """A daemon that stops meanwhile ends the command, which can be run again."""
        self.registry.add_image("library/app", "1", BASE)
        gate = self.registry.hold(f"/blobs/{Digest.of(BASE)}", BASE, 100_000)
        await self.start()
        running = self.run_in_background("library/app:1")
        await until(lambda: self.registry.count(f"/blobs/{Digest.of(BASE)}") == 1)
        await self.stop()
        ran = await running
        self.assertEqual(1, ran.status)
        gate.callback(None)
        self.registry.unscript()
        await self.start()
        self.assertEqual(0, (await self.run_warm("library/app:1")).status)

    @running
    async def test_no_room(self) -> None:
        """A layer that finds no room is requested once, and missing."""
        large = bytes(3 * 1024 * 1024)
        self.registry.add_image("library/app", "1", large)
        await self.start(max_size=parse_size("8MiB"))
        await until(lambda: self.daemons[-1].parts.account.is_complete)  # type: ignore[union-attr]
        ran = await self.run_warm("library/app:1")
        self.assertIn(f"the blob {Digest.of(large)} is not stored: ", ran.err)
        self.assertEqual(1, self.registry.count(f"/blobs/{Digest.of(large)}"))


NOTHING = Reply(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}')
