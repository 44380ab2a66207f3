"""The commands on tags, on a store and by its daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.test_moving_tags import DAY, HOUR, TagsTestCase
from tests.support import s3
from tests.support.bundles import Ran, command
from tests.support.daemon import running
from tests.support.s3_daemon import BucketTestCase

IMAGE = "docker.io/library/app:1"


class CommandsTestCase(TagsTestCase):
    """A tag that has moved, in a store whose daemon is stopped."""

    async def prepare(self) -> tuple[str, str]:
        """Return the digests that were served, in order."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=HOUR))
        await self.digest()
        two = self.move()
        await self.later(HOUR)
        self.assertEqual(str(two), await self.digest())
        await self.stop()
        return str(self.one), str(two)

    def ran(self, name: str, *args: str) -> Ran:
        return command(name, *args, "--root", self.root)

    def done(self, name: str, *args: str) -> Ran:
        """Run a command that does what it was asked for."""
        ran = self.ran(name, *args)
        self.assertEqual(0, ran.status, ran.err)
        return ran

    def refused(self, name: str, *args: str) -> str:
        """Run a command that cannot."""
        ran = self.ran(name, *args)
        self.assertEqual((1, ""), (ran.status, ran.out))
        return ran.err

    async def serves(self, digest: str) -> None:
        """The daemon serves this, without asking upstream."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=DAY))
        self.assertEqual(digest, await self.digest())
        await self.stop()


class Directory(CommandsTestCase):
    """In a directory."""

    @running
    async def test_rollback(self) -> None:
        """A tag is rolled back, held elsewhere and released, and each holds for the next daemon."""
        one, two = await self.prepare()
        self.assertIn(f"serves {one}\nheld since 20", self.done("rollback", "app:1").out)
        await self.serves(one)
        self.done("hold", f"app:1@{two}")
        await self.serves(two)
        self.done("hold", IMAGE + f"@{one}")
        self.assertIn(f"serves {two}\n", self.done("release", IMAGE).out)
        await self.serves(two)

    @running
    async def test_history(self) -> None:
        """The history is shown, as lines and as JSON."""
        one, two = await self.prepare()
        lines = self.done("history", "app:1").out.splitlines()
        self.assertEqual(f"serves {two}", lines[0])
        self.assertEqual([two, one], [line.split()[0] for line in lines[1:]])
        told: dict[str, Any] = json.loads(self.done("history", "app:1", "--json").out)
        self.assertEqual((IMAGE, two, []), (told["name"], told["digest"], told["problems"]))
        self.assertEqual([two, one], [each["digest"] for each in told["history"]])

    @running
    async def test_no_socket(self) -> None:
        """Beside a daemon without an admin API, the history is shown, and nothing is changed."""
        _, two = await self.prepare()
        await self.start(admin_socket=False)
        self.assertIn(f"serves {two}\n", self.done("history", "app:1").out)
        self.assertIn("stop the daemon", self.refused("rollback", "app:1"))

    @running
    async def test_adopt(self) -> None:
        """What waits is adopted."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        two = str(self.move())
        await self.digest()
        await self.pull(f"/v2/library/app/manifests/{two}")
        await self.stop()
        self.assertIn(f"waiting {two} since", self.done("history", "app:1").out)
        self.assertIn(f"serves {two}\n", self.done("adopt", "app:1").out)
        await self.serves(two)
        self.assertIn("no new digest", self.refused("adopt", "app:1"))

    @running
    async def test_adopt_later(self) -> None:
        """What waits and is not stored is adopted with the next pull."""
        await self.start(self.aged())
        await self.digest()
        await self.later(HOUR)
        two = str(self.move())
        self.assertEqual(str(self.one), await self.digest())
        await self.stop()
        for _ in range(2):
            self.assertIn(
                f"waiting {two} is adopted with the next pull", self.done("adopt", "app:1").out
            )
        await self.start(self.aged())
        self.assertEqual(two, await self.digest())

    @running
    async def test_refused(self) -> None:
        """What cannot be done is said, and nothing is changed."""
        one, _ = await self.prepare()
        for name in ("history", "hold", "release", "rollback", "adopt"):
            self.assertIn("never pulled here", self.refused(name, "app:2"))
        self.assertIn("is not held", self.refused("release", "app:1"))
        unseen = "sha256:" + "0" * 64
        self.assertIn(f"has never been {unseen}", self.refused("hold", f"app:1@{unseen}"))
        (manifest,) = (self.root / "repositories").glob(f"**/{one[9:]}")
        manifest.unlink()
        self.assertIn("is not stored any more", self.refused("rollback", "app:1"))
        for args in (
            ("hold", f"app@{one}"),
            ("adopt", f"app:1@{one}"),
            ("hold", "x y:1"),
            ("hold",),
        ):
            ran = self.ran(*args)
            self.assertEqual((2, ""), (ran.status, ran.out), args)
        ran = command("history", "app:1", "--root", Path(self.mktemp()))
        self.assertEqual(1, ran.status)


class Bucket(BucketTestCase, CommandsTestCase):
    """In a bucket, whose daemons may run meanwhile."""

    @running
    async def test_rollback(self) -> None:
        """A rollback holds for a daemon that starts, and ends with the release."""
        await self.start(self.upstream("docker.io", manifest_invalidation_time=HOUR))
        await self.digest()
        two = str(self.move())
        self.clock.ahead += HOUR
        self.assertEqual(two, await self.digest())
        await self.stop()
        where = ("s3", "--bucket", self.direct.bucket, "--host", s3.endpoint())
        keys = {"S3_ACCESS_KEY": self.direct.access_key, "S3_SECRET_KEY": self.direct.secret_key}
        for name, digest in (("rollback", str(self.one)), ("release", two)):
            ran = command(name, IMAGE, *where, "--spool", self.mktemp(), **keys)
            self.assertEqual(0, ran.status, ran.err)
            self.assertIn(f"serves {digest}\n", ran.out)
            await self.start(self.upstream("docker.io", manifest_invalidation_time=DAY))
            self.assertEqual(digest, await self.digest())
            await self.stop()
