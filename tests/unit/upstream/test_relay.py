"""What lies between the connections of a resumed body and its consumer."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.pipe import Pipe
from oci_registry.upstream.relay import Relay
from tests.support.streams import FakeProducer


class Stopping(SynchronousTestCase):
    """The consumer may stop the transfer at any time."""

    def test_before_a_body(self) -> None:
        """A body that begins after the consumer has stopped is stopped at once, not received for nobody."""
        pipe = Pipe()
        pipe.close()
        relay = Relay(pipe, 0, None)
        pipe.registerProducer(relay, True)
        self.assertTrue(relay.stopped)
        body = FakeProducer(relay)
        relay.registerProducer(body, True)
        self.assertTrue(body.stopped)

    def test_during_a_body(self) -> None:
        """The body under way is stopped."""
        pipe = Pipe()
        relay = Relay(pipe, 0, None)
        pipe.registerProducer(relay, True)
        body = FakeProducer(relay)
        relay.registerProducer(body, True)
        self.assertFalse(body.stopped)
        pipe.close()
        self.assertTrue(body.stopped)
