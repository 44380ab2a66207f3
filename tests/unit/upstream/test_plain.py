"""Hosts that are asked over plain HTTP, but expect TLS."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IResponse

from oci_registry.streams.body import abandon
from oci_registry.upstream.errors import WrongAnswer
from oci_registry.upstream.plain import MAX_PAGE, PAGE_TIMEOUT, check_plain
from tests.support.fake_http import FakeResponse, as_response

GO = b"Client sent an HTTP request to an HTTPS server.\n"
NGINX = (
    b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
)
APACHE = b"<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />"


class Held(FakeResponse):
    """An answer whose body does not come."""

    protocol: IProtocol

    def deliverBody(self, protocol: IProtocol) -> None:
        """Keep the protocol that waits for the body."""
        protocol.makeConnection(StringTransport())
        self.protocol = protocol


class Plain(SynchronousTestCase):
    """The body of a 400."""

    def check(self, response: FakeResponse) -> Deferred[IResponse]:
        self.clock = Clock()
        return Deferred.fromCoroutine(check_plain(as_response(response), "h", self.clock))

    def test_expects_tls(self) -> None:
        """What Go, nginx and Apache write on such a port is recognised."""
        for body in (GO, NGINX, APACHE):
            error = self.failureResultOf(self.check(FakeResponse(400, body)), WrongAnswer).value
            self.assertEqual(
                "upstream h answered 400: does it expect TLS? (remove tls: false)", str(error)
            )
            self.failureResultOf(self.check(FakeResponse(400, body, sized=False)), WrongAnswer)

    def test_others(self) -> None:
        """Any other 400 stays one, with its headers, and its body can be thrown away."""
        for response in (
            FakeResponse(400, b'{"errors":[]}', {"X-A": "b"}),
            FakeResponse(400, b"", {"X-A": "b"}),
            FakeResponse(400, b"x" * (MAX_PAGE + 1), {"X-A": "b"}),
            FakeResponse(400, b"x", {"X-A": "b"}, length=2),
        ):
            same = self.successResultOf(self.check(response))
            self.assertEqual(400, same.code)
            self.assertEqual([b"b"], same.headers.getRawHeaders(b"X-A"))
            abandon(same, self.clock)
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_in_time(self) -> None:
        """A body that does not come is not waited for."""
        checking = self.check(Held(400, sized=False))
        self.assertNoResult(checking)
        self.clock.advance(PAGE_TIMEOUT)
        self.assertEqual(400, self.successResultOf(checking).code)
