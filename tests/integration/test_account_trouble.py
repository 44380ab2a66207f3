"""The account of a running daemon whose file is damaged: pulls go on, and the sums are right afterwards."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

from twisted.internet.task import deferLater

from oci_registry.account.account import AccountLimits
from oci_registry.account.schema import FILE
from oci_registry.makers import Makers
from oci_registry.service import Daemon
from tests.integration.test_account import AccountTestCase
from tests.support.daemon import PATIENT, reactor, running, until
from tests.support.patterns import noise

Damage = Callable[[Path], None]
CHANCE = random.Random(1)


def truncated(share: float) -> Damage:
    """Leave a share of the file."""

    def damage(path: Path) -> None:
        os.truncate(path, int(path.stat().st_size * share) // 4096 * 4096)

    return damage


def garbage(path: Path) -> None:
    """Overwrite pages here and there, but not the first one."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(4096, size, 3 * 4096):
            file.seek(place)
            file.write(noise(CHANCE.getrandbits(64), 4096))


def all_garbage(path: Path) -> None:
    """Overwrite everything."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(noise(CHANCE.getrandbits(64), size))


class Trouble(AccountTestCase):
    """The file is damaged while clients pull."""

    makers = Makers(account_limits=AccountLimits(interval=0.01, again=0.05), store_limits=PATIENT)

    async def checked(self, daemon: Daemon) -> None:
        """Wait until the account is right again."""
        await self.recovered(daemon, 60)
        self.assertEqual(self.stored(), self.told(daemon))

    async def damaged(self, *damages: Damage, name: str = FILE) -> None:
        """Damage a file again and again, and look at the sums each time."""
        daemon, number = await self.start(), 0
        await self.checked(daemon)
        # More than the first page: until then, all others are in the write-ahead log.
        while (self.root / FILE).stat().st_size <= 4096:
            number += 1
            await self.pull(number)
            await self.settled(daemon)
        for damage in damages:
            path = self.root / name
            if path.exists():
                damage(path)
            for _ in range(3):
                number += 1
                await self.pull(number)
            await self.idle()
            await until(lambda: not len(daemon.parts.records))
            # Then everything is compared: some damage is found only when it is read.
            await self.later(86400)
            await deferLater(reactor, 0.05)
            await self.checked(daemon)
        self.assertEqual(3 * number, self.stored()[0])

    @running
    async def test_truncated(self) -> None:
        """Cut off at any place."""
        await self.damaged(*(truncated(share) for share in (0.0, 0.1, 0.5, 0.9)))

    @running
    async def test_garbage(self) -> None:
        """With garbage in it."""
        await self.damaged(garbage, all_garbage, garbage)

    @running
    async def test_log(self) -> None:
        """The write-ahead log is damaged."""
        await self.damaged(truncated(0.5), all_garbage, truncated(0.0), name=f"{FILE}-wal")

    @running
    async def test_older_version(self) -> None:
        """A file of an older version is replaced at the start."""
        daemon = await self.start()
        await self.pull(1)
        await self.checked(daemon)
        await self.stop()
        with sqlite3.connect(self.root / FILE) as old:
            old.execute("PRAGMA user_version=1")
            old.execute("DROP TABLE blobs")
        old.close()
        await self.checked(await self.start())

    @running
    async def test_two_daemons(self) -> None:
        """A second daemon on the directory serves, without an account, and takes it over later."""
        first = await self.start()
        await self.pull(1)
        await self.checked(first)
        second = await self.start(admin_socket=False)
        account = second.parts.account
        assert account is not None
        await until(lambda: account.is_off)
        await self.pull(2)
        await self.pull(1)
        self.daemons.remove(first)
        await first.stopService()
        await self.checked(second)
