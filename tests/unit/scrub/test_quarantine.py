"""The quarantine is bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from oci_registry.account.nouns import BLOCK
from oci_registry.eviction.other_use import OtherUse
from oci_registry.eviction.store_use import Limits, StoreUse
from oci_registry.metrics import Metrics
from oci_registry.scrub.quarantine import Quarantine, QuarantineLimits
from oci_registry.spec.sizes import parse_size
from oci_registry.storage.keys import QUARANTINE
from tests.support.iterating import collect
from tests.unit.storage.support import StoreTestCase


class Bounds(StoreTestCase):
    """A quarantine of three objects and ten bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.quarantine = Quarantine(self.driver, QuarantineLimits(3, 10))

    def put(self, key: str, size: int) -> bool:
        """Put an object there, a second after the last one; return whether there was room."""
        self.clock.advance(1)
        target = self.result(self.quarantine.admit(key, size))
        if target is not None:
            self.driver.place(target, b"x" * size, sealed=False)
        return target is not None

    def kept(self) -> list[str]:
        found = self.result(collect(self.driver.list(QUARANTINE)))
        return [info.key.removeprefix(f"{QUARANTINE}/") for info in found]

    def test_number(self) -> None:
        """The oldest make room for a new one."""
        for key in "dcba":
            self.assertTrue(self.put(key, 1))
        self.assertEqual(["a", "b", "c"], self.kept())

    def test_size(self) -> None:
        """So many go that the bytes of the rest and the new one are within the limit."""
        for key, size in (("d", 4), ("c", 4), ("b", 2), ("a", 6)):
            self.assertTrue(self.put(key, size))
        self.assertEqual(["a", "b"], self.kept())

    def test_too_large(self) -> None:
        """For what is larger than all of it nothing goes."""
        self.assertTrue(self.put("a", 10))
        self.assertFalse(self.put("b", 11))
        self.assertEqual(["a"], self.kept())

    def test_again(self) -> None:
        """What is put there again takes its own place."""
        for _ in range(2):
            self.assertTrue(self.put("a", 6))
        self.assertTrue(self.put("b", 4))
        self.assertEqual(["a", "b"], self.kept())

    def test_counted(self) -> None:
        """The limit of the store counts what is kept, in blocks, and leaves a hundredth of it for that."""
        limit: Any = SimpleNamespace(is_complete=True, state=None)
        other = OtherUse(self.driver, self.clock.seconds)
        limits = Limits(parse_size("10000B"))
        use = StoreUse(limit, self.driver, Metrics(), limits, other)
        self.quarantine = Quarantine(self.driver, QuarantineLimits(3), use)
        self.assertFalse(self.put("a", 101))
        self.assertIsNone(other.quarantine)
        for key, size, blocks in (("a", 40, 1), ("b", 60, 2), ("c", 1, 2)):
            self.assertTrue(self.put(key, size))
            self.assertEqual(blocks * BLOCK, other.quarantine)
        self.assertEqual(["b", "c"], self.kept())

    def test_none(self) -> None:
        """A limit of 0 means that nothing is kept."""
        self.quarantine = Quarantine(self.driver, QuarantineLimits(0))
        self.assertFalse(self.put("a", 0))
