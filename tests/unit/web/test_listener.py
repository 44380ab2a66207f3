"""A service that listens while it runs."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.web.listener import Listener


class Port:
    """A port that notes when it is closed."""

    closed = False

    def stopListening(self) -> Deferred[None]:
        self.closed = True
        return succeed(None)


class Endpoint:
    """An endpoint whose port is what it is given."""

    def __init__(self, port: Deferred[Any]) -> None:
        self.port = port
        self.calls = 0

    def listen(self, factory: object) -> Deferred[Any]:
        self.calls += 1
        return self.port


class Listening(SynchronousTestCase):
    """From the start to the stop."""

    def listener(self, port: Deferred[Any]) -> Listener:
        self.endpoint = Endpoint(port)
        return Listener("tcp:80", self.endpoint, Factory())

    def test_all(self) -> None:
        """It listens once, before privileges are dropped, and stops with the service."""
        port = Port()
        listener = self.listener(succeed(port))
        listener.privilegedStartService()
        listener.startService()
        self.assertEqual(1, self.endpoint.calls)
        self.successResultOf(listener.stopService())
        self.assertTrue(port.closed)
        self.assertFalse(listener.running)

    def test_without_privileges(self) -> None:
        """It listens at the start if it did not before."""
        listener = self.listener(succeed(Port()))
        listener.startService()
        self.assertEqual(1, self.endpoint.calls)

    def test_refused(self) -> None:
        """What is refused at once is raised, and there is nothing to stop."""
        listener = self.listener(fail(CannotListenError("", 80, OSError("in use"))))
        self.assertRaises(CannotListenError, listener.privilegedStartService)
        self.successResultOf(listener.stopService())

    def test_refused_later(self) -> None:
        """What is refused later is logged."""
        listener = self.listener(Deferred())
        listener.startService()
        self.endpoint.port.errback(CannotListenError("", 80, OSError("in use")))
        self.assertEqual(1, len(self.flushLoggedErrors(CannotListenError)))

    def test_stopped_early(self) -> None:
        """What has not begun to listen when it is stopped no longer tries to."""
        cancelled: list[object] = []
        listener = self.listener(Deferred(cancelled.append))
        listener.startService()
        self.successResultOf(listener.stopService())
        self.assertEqual(1, len(cancelled))
        self.assertEqual([], self.flushLoggedErrors(CancelledError))
