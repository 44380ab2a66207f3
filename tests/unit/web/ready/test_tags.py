"""Ready answers of tags that wait for a minimum age, or are held."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import AgeRule, MinAges
from oci_registry.spec.patterns import parse_pattern
from tests.unit.web.ready.support import RAW, Mirror

PATH = "/v2/library/app/manifests/1"
MAX_AGE = 3600.0
AGE = 10_000.0
NAMES = ("docker.io", "library/app", "1")


class Tags(SynchronousTestCase):
    """A tag that has moved, whose new digest waits."""

    def setUp(self) -> None:
        self.mirror = Mirror(ready=True)
        self.addCleanup(self.mirror.leave)
        self.mirror.upstream.change(min_age=MinAges((AgeRule(parse_pattern("*"), AGE),)))
        self.mirror.warm()
        self.mirror.clock.advance(MAX_AGE)
        self.mirror.upstream.add(RAW + b"\n", "1")
        self.begun = self.mirror.clock.seconds()

    def test_until_due(self) -> None:
        """The answer is ready until the instant at which the new digest is due, and counts down to it."""
        for _ in range(2):
            self.mirror.warm()
            self.assertTrue(self.mirror.at_once())
            self.mirror.clock.advance(MAX_AGE)
        self.mirror.warm()
        self.mirror.clock.advance(AGE - 2 * MAX_AGE - 0.25)
        got = self.mirror.ask(PATH)
        self.assertIn(b"; hit; detail=min-age; ttl=0\r\n", got)
        self.assertTrue(got.endswith(RAW))
        self.assertTrue(self.mirror.at_once())
        self.mirror.clock.advance(0.25)
        self.assertFalse(self.mirror.at_once())
        self.assertTrue(self.mirror.ask(PATH).endswith(RAW + b"\n"))

    def test_same(self) -> None:
        """It is what would be answered without ready answers."""
        self.mirror.warm()
        ready = self.mirror.ask(PATH)
        self.mirror.answers = None
        self.assertEqual(ready, self.mirror.ask(PATH))

    def test_adopted(self) -> None:
        """It is not ready any more once the new digest was adopted."""
        self.mirror.warm()
        self.mirror.now(self.mirror.control.adopt(*NAMES))
        self.assertFalse(self.mirror.at_once())
        self.assertTrue(self.mirror.ask(PATH).endswith(RAW + b"\n"))

    def test_held(self) -> None:
        """A tag is not ready once a hold was set, nor while there is one, nor as before when it was lifted."""
        self.mirror.warm()
        self.assertTrue(self.mirror.at_once())
        self.mirror.now(self.mirror.control.hold(*NAMES))
        for _ in range(3):
            self.assertFalse(self.mirror.at_once())
            self.assertIn(b"detail=hold\r\n", self.mirror.ask(PATH))
        self.mirror.now(self.mirror.control.release(*NAMES))
        self.assertFalse(self.mirror.at_once())
        self.assertIn(b"detail=min-age;", self.mirror.ask(PATH))
        self.assertTrue(self.mirror.at_once())

    def test_lent(self) -> None:
        """It is lent to no worker from that moment on."""
        self.mirror.warm()
        assert self.mirror.answers is not None
        self.assertIsNotNone(self.mirror.answers.lend(PATH.encode()))
        self.mirror.now(self.mirror.control.hold(*NAMES))
        self.assertIsNone(self.mirror.answers.lend(PATH.encode()))
