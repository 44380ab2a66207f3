"""The pins of the operator, as far as they are known without a look into the store."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName, parse_image
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.storage.pins import Pins
from tests.unit.storage.support import StoreTestCase

ONE = parse_image("example.com/a:1")
OTHER = ImageName("example.com", "b", digest=Digest.of(b"b"))


class Known(StoreTestCase):
    """Pins of two processes that share a store."""

    def setUp(self) -> None:
        super().setUp()
        self.pins, self.elsewhere = Pins(self.driver), Pins(self.driver)

    def test_here(self) -> None:
        """What is added and removed here is known at once."""
        self.result(self.pins.add(ONE))
        self.result(self.pins.add(OTHER))
        self.assertEqual({ONE, OTHER}, self.pins.known)
        self.result(self.pins.remove(ONE))
        self.assertEqual({OTHER}, self.pins.known)

    def test_elsewhere(self) -> None:
        """What is added and removed elsewhere is known from the next listing on."""
        self.result(self.elsewhere.add(ONE))
        self.assertEqual(set(), self.pins.known)
        self.result(self.pins.all())
        self.assertEqual({ONE}, self.pins.known)
        self.result(self.elsewhere.remove(ONE))
        self.result(self.pins.all())
        self.assertEqual(set(), self.pins.known)

    def test_changes(self) -> None:
        """A listing with nothing new is no change."""
        self.result(self.pins.add(ONE))
        before = self.pins.changes
        self.result(self.pins.all())
        self.assertEqual(before, self.pins.changes)
        self.result(self.elsewhere.add(OTHER))
        self.result(self.pins.all())
        self.assertEqual(before + 1, self.pins.changes)

    def test_names(self) -> None:
        """A pin is of a digest, or else of a tag, or else of latest, as when it is listed."""
        digest = Digest.of(b"b")
        for image in (
            ImageName("example.com", "a"),
            ImageName("example.com", "b", ONE.tag, digest),
        ):
            self.result(self.pins.add(image))
            known = set(self.pins.known)
            self.assertEqual(known, set(self.result(self.pins.all())))
            self.result(self.pins.remove(image))
            self.assertEqual(set(), self.pins.known)

    def test_added_during_a_listing(self) -> None:
        """A pin that is added while the pins are listed is known, though the listing lacks it."""
        self.result(self.elsewhere.add(ONE))
        real = self.driver.list

        async def list_and_add(prefix: str) -> AsyncIterator[ObjectInfo]:
            found = [info async for info in real(prefix)]
            self.patch(self.driver, "list", real)
            await Deferred.fromCoroutine(self.pins.add(OTHER))
            for info in found:
                yield info

        self.patch(self.driver, "list", list_and_add)
        self.assertEqual([ONE], self.result(self.pins.all()))
        self.assertEqual({ONE, OTHER}, self.pins.known)
