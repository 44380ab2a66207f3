"""Tags with a minimum age, above a store that cannot be read."""

from __future__ import annotations

from unittest.mock import patch

from oci_registry.pullthrough.served import OlderReason
from oci_registry.spec.errors import Unavailable
from oci_registry.storage.keys import history_key, tag_key
from oci_registry.storage.tags import TagRecord
from tests.unit.pullthrough.test_min_age import AGE, NAMES, MinAgeTestCase


class Unreadable(MinAgeTestCase):
    """A tag that was pulled before a restart, above a store that cannot be read for a while."""

    def setUp(self) -> None:
        super().setUp()
        self.two = self.move()
        self.restart()
        self.driver.broken = "503 Slow Down"

    def test_refused(self) -> None:
        """While nothing is known of the tag, a new digest is refused, and nothing is recorded."""
        before = dict(self.driver._objects)
        self.refused(Unavailable)
        self.driver.broken = None
        for key in (tag_key(*NAMES), history_key(*NAMES)):
            self.assertIs(before[key], self.driver._objects[key])
        served = self.get()
        self.assertEqual((self.one, OlderReason.MIN_AGE), (served.manifest, served.older_reason))
        self.clock.advance(AGE)
        self.assertEqual(self.two, self.served())

    def test_first_read_only(self) -> None:
        """A failure of the first read alone changes nothing."""
        get = self.tag_store.get

        async def recovers(*names: str) -> TagRecord | None:
            try:
                return await get(*names)
            finally:
                self.driver.broken = None

        with patch.object(self.tag_store, "get", recovers):
            self.assertEqual(self.one, self.served())

    def test_without_min_age(self) -> None:
        """Tags without a minimum age are served from upstream."""
        self.set_age(0.0)
        self.assertEqual(self.two, self.served())

    def test_history_in_memory(self) -> None:
        """What is in memory of the history is enough."""
        self.driver.broken = None
        self.served()
        self.tag_store.drop(*NAMES)
        self.driver.broken = "503 Slow Down"
        self.assertEqual(self.one, self.served())
