"""The account beside a directory, while clients pull."""

from __future__ import annotations

from twisted.internet.task import deferLater

from oci_registry.account.account import AccountLimits
from oci_registry.account.schema import FILE
from oci_registry.makers import Makers
from oci_registry.service import Daemon
from oci_registry.spec.digest import Digest
from tests.support.daemon import PATIENT, MirrorTestCase, reactor, running, until

MAKERS = Makers(account_limits=AccountLimits(interval=0.01), store_limits=PATIENT)


class AccountTestCase(MirrorTestCase):
    """A daemon with a directory, and clients that pull images by number."""

    makers = MAKERS

    def setUp(self) -> None:
        super().setUp()
        self.images: dict[int, tuple[Digest, list[Digest]]] = {}

    async def pull(self, number: int) -> None:
        """Pull an image with a blob of its own."""
        image = self.images.get(number)
        if image is None:
            image = self.registry.add_image("library/app", str(number), b"%d" % number * 1000)
            self.images[number] = image
        digest, blobs = image
        paths = [f"manifests/{number}", f"manifests/{digest}", *(f"blobs/{blob}" for blob in blobs)]
        for path in paths:
            got = await self.client.get(f"/v2/library/app/{path}")
            self.assertEqual((200, True), (got.status, got.complete))

    def stored(self) -> tuple[int, int]:
        """Return how many objects the directory has, and their bytes."""
        names = [name for name in self.files() if "blobs/" in name or "/_manifests/" in name]
        return len(names), sum((self.root / name).stat().st_size for name in names)

    async def settled(self, daemon: Daemon) -> None:
        """Wait until everything is written, in the store and in the account."""
        account = daemon.parts.account
        assert account is not None
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        await until(lambda: account.is_complete)
        await account.flush()

    async def recovered(self, daemon: Daemon, pause: float) -> None:
        """Wait until all is written, and the account complete again after its file was removed or damaged.

        After some errors it is opened again when *pause* seconds have passed.
        """
        account = daemon.parts.account
        assert account is not None
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        complete = False
        while not complete:
            await self.later(pause)
            await deferLater(reactor, 0.02)
            # What is written now may show what has happened to the file.
            await account.flush()
            complete = (self.root / FILE).exists() and account.is_complete

    def told(self, daemon: Daemon) -> tuple[float | None, float | None]:
        """Return what the metrics say is stored."""
        value = daemon.parts.metrics.registry.get_sample_value
        return value("oci_registry_store_objects"), value("oci_registry_store_bytes")


class Account(AccountTestCase):
    """The account while all is well, or its file goes."""

    @running
    async def test_counted(self) -> None:
        """What clients pull is in the account, and in the metrics."""
        daemon = await self.start()
        for number in range(3):
            await self.pull(number)
        await self.settled(daemon)
        self.assertEqual(9, self.stored()[0])
        self.assertEqual(self.stored(), self.told(daemon))

    @running
    async def test_removed(self) -> None:
        """While it is removed again and again, pulls continue, and afterwards the sums are right."""
        daemon = await self.start()
        for number in range(20):
            await self.pull(number)
            await self.pull(0)
            if number % 4 == 0:
                for name in (FILE, f"{FILE}-wal"):
                    (self.root / name).unlink(missing_ok=True)
        await self.recovered(daemon, 10)
        self.assertEqual(60, self.stored()[0])
        self.assertEqual(self.stored(), self.told(daemon))

    @running
    async def test_no_account(self) -> None:
        """Where there can be no account, pulls are stored, and the sweep walks."""
        (self.root / FILE / "folder").mkdir(parents=True)
        daemon = await self.start()
        account = daemon.parts.account
        assert account is not None
        await self.pull(1)
        await until(lambda: account.is_off)
        await self.pull(1)
        self.assertEqual(1, self.registry.count("/blobs/.*", "GET") // 2)
        await self.idle()
        await until(lambda: not len(daemon.parts.records))
        await self.later(15 * 86400)
        await daemon.parts.sweep.run()
        await daemon.parts.sweep.run()
        self.assertEqual(0, self.stored()[0])

    @running
    async def test_swept(self) -> None:
        """The sweep removes what nobody has used, and a restart changes nothing about that."""
        daemon = await self.start()
        for number in range(3):
            await self.pull(number)
        await self.settled(daemon)
        await self.stop()
        self.assertEqual([FILE], [path.name for path in self.root.glob("account*")])
        daemon = await self.start()
        await self.later(10 * 86400)
        await self.pull(1)
        await self.settled(daemon)
        await self.later(5 * 86400)
        # The first one may have begun before.
        await daemon.parts.sweep.run()
        await daemon.parts.sweep.run()
        await self.settled(daemon)
        self.assertEqual(3, self.stored()[0])
        self.assertEqual(self.stored(), self.told(daemon))
        self.registry.asked.clear()
        await self.pull(1)
        self.assertEqual(0, self.registry.count("/blobs/.*"))
