"""Commands on tags, and the scrub, that a running daemon carries out."""

from __future__ import annotations

import json
import time
from threading import Event
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import deferToThread

from tests.integration.test_moving_tags import HOUR, TagsTestCase
from tests.support.bundles import Ran, command
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.scrubbing import ScrubTestCase, flip

IMAGE = "docker.io/library/app:1"


class ByDaemon(MirrorTestCase):
    """Commands are run in threads, while the daemon runs in this one."""

    async def ran(self, name: str, *args: object, status: int = 0, **environ: str) -> Ran:
        """Run a command for the store, which ends with this status."""
        ran: Ran = await deferToThread(command, name, *args, "--root", self.root, **environ)
        self.assertEqual(status, ran.status, (name, args, ran))
        return ran


class Tags(ByDaemon, TagsTestCase):
    """Tags that the daemon serves."""

    @running
    async def test_rollback(self) -> None:
        """A tag is rolled back, held elsewhere and released, and the daemon serves each at once."""
        one = str(self.one)
        await self.start(self.upstream("docker.io", manifest_invalidation_time=HOUR))
        await self.digest()
        two = str(self.move())
        await self.later(HOUR)
        self.assertEqual(two, await self.digest())
        ran = await self.ran("rollback", "app:1")
        self.assertIn(f"serves {one}\nheld since 20", ran.out)
        self.assertEqual(one, await self.digest())
        self.assertIn(
            f"the tag is held at {one}, which is served", (await self.ran("why", "app:1")).out
        )
        await self.ran("hold", f"app:1@{two}")
        self.assertEqual(two, await self.digest())
        lines = (await self.ran("history", "app:1")).out.splitlines()
        self.assertEqual(f"serves {two}", lines[0])
        self.assertEqual([two, one], [line.split()[0] for line in lines[2:]])
        told: dict[str, Any] = json.loads((await self.ran("release", "app:1", "--json")).out)
        self.assertEqual(
            (IMAGE, two, None, []), (told["name"], told["digest"], told["hold"], told["problems"])
        )

    @running
    async def test_adopt(self) -> None:
        """What waits is fetched if it is not stored, and served at once."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        two = str(self.move())
        self.assertEqual(str(self.one), await self.digest())
        ran = await self.ran("history", "app:1")
        self.assertIn(f"waiting {two} since 20", ran.out)
        self.assertIn(f"serves {two}\n", (await self.ran("adopt", "app:1")).out)
        self.assertEqual(two, await self.digest())

    @running
    async def test_refused(self) -> None:
        """What cannot be done is said as without a daemon, with the same statuses."""
        await self.start()
        await self.digest()
        for name in ("history", "hold", "release", "rollback", "adopt"):
            ran = await self.ran(name, "app:2", status=1)
            self.assertTrue(
                ran.err.startswith(f"oci-registry {name}: the tag 2 of docker.io/library/app was"),
                ran.err,
            )
        for args, text in (
            (("release", "app:1"), "release: the tag 1 of docker.io/library/app is not held"),
            (("hold", f"app:1@sha256:{'0' * 64}"), "has never been sha256:0"),
            (("adopt", "app:1"), "no new digest"),
        ):
            self.assertIn(text, (await self.ran(*args, status=1)).err)
        await self.ran("hold", "x y:1", status=2)
        await self.ran("adopt", f"app:1@{self.one}", status=2)

    @running
    async def test_elsewhere(self) -> None:
        """A daemon is named by the URL of its API, in place of its store."""
        await self.start()
        await self.digest()
        where = f"unix:{self.root / 'admin.sock'}"
        ran = await deferToThread(command, "hold", "app:1", "--admin", where)
        self.assertEqual((0, ""), (ran.status, ran.err))
        self.assertEqual(1, len(list((self.root / "holds").rglob("sha256"))))


class Scrubs(ByDaemon, ScrubTestCase):
    """A scrub by the daemon."""

    async def checking(self) -> None:
        """Start a daemon that has begun to check its store, slowly."""
        daemon = await self.filled(scrub_rate=self.rate(1))
        self.assertTrue(daemon.parts.scrub.start())

    @running
    async def test_nothing(self) -> None:
        """The command waits for the end of the pass, each time."""
        await self.filled()
        for _ in range(2):
            ran = await self.ran("scrub")
            self.assertEqual("", ran.err)
            self.assertRegex(ran.out, r"^4 objects \(.*\) checked, 0 corrupt: ")

    @running
    async def test_corrupt(self) -> None:
        """If something was corrupt, the status is 3; lines and JSON say how much."""
        await self.filled()
        flip(self.file)
        ran = await self.ran("scrub", status=3)
        self.assertIn("4 objects", ran.out)
        self.assertIn("1 corrupt: 1 in quarantine, 0 removed", ran.out)
        self.assertIn("scrub: 1 corrupt object, 1 stored again: the log of the daemon", ran.err)
        flip(self.file)
        told = json.loads((await self.ran("scrub", "--json", status=3)).out)
        self.assertEqual(
            (False, 4, 2, 1, 1, 0, 1, 0, 1),
            (
                told["running"],
                told["objects"],
                told["blobs"],
                told["corrupt"],
                told["quarantined"],
                told["removed"],
                told["refetched"],
                told["dangling_tags"],
                len(told["problems"]),
            ),
        )
        self.assertEqual(0, json.loads((await self.ran("scrub", "--json")).out)["corrupt"])

    @running
    async def test_no_wait(self) -> None:
        """With --no-wait the daemon continues alone, at the rate that was given."""
        daemon = await self.filled()
        told = json.loads((await self.ran("scrub", "--no-wait", "--rate", "1kB", "--json")).out)
        self.assertTrue(told["running"])
        self.assertEqual((True, 1000), (daemon.parts.scrub.status.running, self.scrub_rate()))
        again = await self.ran("scrub", "--no-wait", "--rate", "2kB")
        self.assertIn("already checking the store; --rate has no effect on that", again.err)
        self.assertEqual(1000, self.scrub_rate())

    def scrub_rate(self) -> float:
        return self.daemons[-1].parts.scrub.status.rate

    @running
    async def test_usual_rate(self) -> None:
        """Without --rate the daemon reads as fast as it usually does, whatever the variable is."""
        await self.filled(scrub_rate=self.rate(5000))
        await self.ran("scrub", "--no-wait", SCRUB_RATE="1kB")
        self.assertEqual(5000, self.scrub_rate())

    @running
    async def test_interrupted(self) -> None:
        """Ctrl-C stops a pass that the command has started, and the next one continues."""
        daemon = await self.filled()

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        patched = self.patch(time, "sleep", interrupt)
        ran = await self.ran("scrub", "--rate", "1kB", status=130)
        patched.restore()
        self.assertIn("the check is stopped; run the command again to go on", ran.err)
        self.assertFalse(daemon.parts.scrub.status.running)
        await self.ran("scrub", "--rate", "0")

    @running
    async def test_leaving(self) -> None:
        """Ctrl-C only leaves a pass that was running before."""
        await self.checking()

        def interrupt(seconds: float) -> None:
            raise KeyboardInterrupt

        self.patch(time, "sleep", interrupt)
        ran = await self.ran("scrub", status=130)
        self.assertIn("the daemon goes on with the check", ran.err)
        self.assertTrue(self.daemons[-1].parts.scrub.status.running)

    @running
    async def test_stopped(self) -> None:
        """A pass that is stopped meanwhile is not finished, and the status is 1."""
        await self.checking()
        looking = Event()
        sleep = time.sleep

        def pause(seconds: float) -> None:
            looking.set()
            sleep(seconds)

        self.patch(time, "sleep", pause)
        ended = ensureDeferred(self.ran("scrub", status=1))
        await until(looking.is_set)
        await self.daemons[-1].parts.scrub.stop()
        self.assertIn("the check is not finished: it was stopped", (await ended).err)

    @running
    async def test_wrong_usage(self) -> None:
        """What a daemon does not do is refused; without one there is nothing to wait for."""
        await self.filled()
        for flag in ("--remove", "--restart"):
            ran = await self.ran("scrub", flag, status=2)
            self.assertIn(f"{flag} is for a store on which no daemon runs", ran.err)
        self.assertIsNone(self.daemons[-1].parts.scrub.status.since)
        await self.stop()
        ran = await self.ran("scrub", "--no-wait", status=2)
        self.assertIn("--no-wait is for a running daemon", ran.err)
