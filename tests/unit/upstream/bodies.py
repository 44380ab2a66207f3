"""A blob at two hosts, bodies that break, and who reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocol, IPushProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed
from zope.interface import implementer

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    RegistryError,
)
from tests.support.fake_http import Answer, FakeResponse, Sent
from tests.unit.upstream.support import APP, A, B, HostsTestCase, blob_of

DATA = bytes(range(256)) * 4096
BLOB = Digest.of(DATA)
CUT = ResponseFailed([Failure(ConnectionLost())])


@implementer(IConsumer)
class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.producers = 0
        self.producer: IPushProducer | None = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self.producers += 1

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        self.data += data


class Held(FakeResponse):
    """A response whose body comes as far as it was told and then stalls."""

    protocol: Any = None

    def deliverBody(self, protocol: IProtocol) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)
        protocol.dataReceived(self._body)


def short(sent: Sent, length: int) -> FakeResponse:
    """Return an honest answer whose body breaks after *length* bytes."""
    whole = cast(FakeResponse, blob_of(DATA)(sent))
    tags = {k.decode(): v[0].decode() for k, v in whole.headers.getAllRawHeaders()}
    return FakeResponse(whole.code, whole._body[:length], tags, error=CUT, length=whole.length)


class ResumeTestCase(HostsTestCase):
    """A blob of 1 MiB at two hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(A, blob_of(DATA))
        self.answer(B, blob_of(DATA))
        self.sink = Sink()

    def in_turn(self, host: str, *answers: Callable[[Sent], Answer]) -> None:
        """Let a host give these answers in turn, and the last one ever after."""
        left = list(answers)

        def answer(sent: Sent) -> Answer:
            now = left.pop(0) if len(left) > 1 else left[0]
            return now(sent)

        self.answer(host, answer)

    def pump(self) -> Deferred[int]:
        """Begin to send the blob."""
        self.body = self.successResultOf(self.start(self.upstream.blob(APP, BLOB)))
        self.assertEqual(len(DATA), self.body.size)
        sent: Deferred[int] = self.body.pump(self.sink)
        return sent

    def whole(self, sent: Deferred[int]) -> None:
        """The reader has had everything once, from one producer; nothing is left behind."""
        self.assertEqual(len(DATA), self.successResultOf(sent))
        self.assertTrue(self.sink.data == DATA)
        self.assertEqual((1, None), (self.sink.producers, self.sink.producer))
        self.over()

    def over(self) -> None:
        self.assertEqual([], self.clock.getDelayedCalls())
        for host in self.group.hosts:
            self.assertEqual(0, host._limiter.used)

    def fails(self, sent: Deferred[int], kind: type[RegistryError]) -> str:
        error = self.failureResultOf(sent, kind).value
        self.assertIsNone(self.sink.producer)
        self.over()
        return str(error)

    def ranges(self, host: str = A) -> list[str | None]:
        return [sent.headers.get("Range") for h, sent in self.asked if h == host]
