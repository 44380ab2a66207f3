"""What pins must be on every driver: a test case without a driver.

Bind it beside the contract of the driver.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from oci_registry.spec.image import parse_image
from oci_registry.storage.pins import Pins, TooManyPins
from tests.contract import base
from tests.support.daemon import running

HEX = "ab" * 32
NAMES = (
    "docker.io/library/alpine:3.20",
    f"docker.io/library/alpine@sha256:{HEX}",
    "hf.co/Bartowski/X:Q4_K_M",
    "localhost:5000/a/b/c:latest",
    "quay.io/team/app:latest",
)


class PinsContract(base.DriverTestCase):
    """The contract of `Pins`. A binding defines what `DriverTestCase` needs."""

    def setUp(self) -> None:
        super().setUp()
        self.pins = Pins(self.driver)

    async def names(self) -> list[str]:
        return [str(image) for image in await self.pins.all()]

    @running
    async def test_there_and_back(self) -> None:
        """Pins are listed by name until they are removed; adding or removing one again changes nothing."""
        self.assertEqual([], await self.names())
        for name in reversed(NAMES):
            self.assertTrue(await self.pins.add(parse_image(name)))
        self.assertFalse(await self.pins.add(parse_image(NAMES[0])))
        self.assertEqual(list(NAMES), await self.names())
        self.assertEqual(list(NAMES), [str(one) for one in await Pins(self.driver).all()])
        self.assertTrue(await self.pins.remove(parse_image(NAMES[2])))
        self.assertFalse(await self.pins.remove(parse_image(NAMES[2])))
        self.assertEqual([*NAMES[:2], *NAMES[3:]], await self.names())

    @running
    async def test_what_is_pinned(self) -> None:
        """A name with a digest pins that; one with nothing pins its latest tag."""
        await self.pins.add(parse_image(f"quay.io/a/b:1@sha256:{HEX}"))
        await self.pins.add(parse_image("quay.io/a/b"))
        self.assertEqual(["quay.io/a/b:latest", f"quay.io/a/b@sha256:{HEX}"], await self.names())

    @running
    async def test_two_writers(self) -> None:
        """Two that write at the same time lose none of each other's pins."""
        both = self.pins, Pins(self.driver)
        await gatherResults(
            [
                Deferred.fromCoroutine(both[number % 2].add(parse_image(f"quay.io/a/b:{number}")))
                for number in range(20)
            ]
        )
        self.assertEqual(20, len(await self.pins.all()))

    @running
    async def test_bounded(self) -> None:
        """There may be so many; others are refused, those that are there are not."""
        pins = Pins(self.driver, most=2)
        for number in range(2):
            await pins.add(parse_image(f"quay.io/a/b:{number}"))
        with self.assertRaisesRegex(TooManyPins, "2 pins"):
            await pins.add(parse_image("quay.io/a/b:2"))
        self.assertFalse(await pins.add(parse_image("quay.io/a/b:1")))
        await pins.remove(parse_image("quay.io/a/b:0"))
        self.assertTrue(await pins.add(parse_image("quay.io/a/b:2")))

    @running
    async def test_strange_objects(self) -> None:
        """Objects that are no pins are ignored, and there is a limit to how many are read."""
        for key in ("pins/x", "pins/quay.io/a/_tags/-", "pins/QUAY.io/a/_tags/1", "pins/a/b/c/d"):
            await self.driver.put(key, b"")
        self.assertEqual([], await self.names())
        for number in range(9):
            await self.driver.put(f"pins/quay.io/a/_tags/{number}", b"")
        self.assertEqual(4, len(await Pins(self.driver, most=2).all()))
