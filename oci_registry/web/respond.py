"""Writes replies to requests: the only module that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer

from oci_registry.streams.interfaces import SocketWriter
from oci_registry.streams.sendfile import sender_for
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.site import RegistryRequest
from oci_registry.web.transports import FileTransport


async def respond(
    request: RegistryRequest,
    reply: Reply,
    watch: ClientWatch,
    count: Callable[[int], object] | None = None,
) -> None:
    """Write a reply whose body may be a stream; return when it is finished.

    For HEAD and 304 only the headers are sent. If the client has left, nothing is written. The headers are
    sent with the first byte of the body, or by *watch* after its timeout; a failure before that can still
    become an error response. Raises what the source raises, and `ConsumerGone` when the client leaves. The
    source is always closed. *count* is called with the number of bytes of each part of a stream.
    """
    if not isinstance(reply.body, Stream):
        write(request, reply)
        return
    try:
        if request.method == b"HEAD" or reply.status == 304:
            write(request, reply)
        elif not request.gone:
            _set_head(request, reply)
            await _send(request, reply.body, watch, count)
    except BaseException:
        if not request.startedWriting:
            for name in reply.headers:
                request.responseHeaders.removeHeader(name)
        raise
    finally:
        reply.body.source.close()


def write(request: RegistryRequest, reply: Reply) -> None:
    """Write a reply whose body is bytes, unless the client has left."""
    if request.gone:
        return
    _set_head(request, reply)
    if isinstance(reply.body, bytes):
        # For HEAD and 304 the request itself leaves out the body.
        request.write(reply.body)
    request.finish()


def _set_head(request: RegistryRequest, reply: Reply) -> None:
    if reply.status != request.code:
        request.setResponseCode(reply.status)
        if request.error is None:
            request.error = reply.reason
    headers = request.responseHeaders
    for name, value in reply.headers.items():
        # Some values come from upstream; Twisted removes line breaks from them.
        headers.setRawHeaders(name, [value.encode("latin-1", "replace")])


async def _send(
    request: RegistryRequest,
    body: Stream,
    watch: ClientWatch,
    count: Callable[[int], object] | None,
) -> None:
    sender = sender_for(body.source, _GuardedRequest(request, count), body.length)
    done = sender.start()
    if done.called:
        await done
    else:
        with watch.watch(sender, request, body.waited):
            await done
    request.finish()


@implementer(IConsumer)
class _GuardedRequest:
    """A request as a consumer, whose client may leave at any time.

    The request itself raises when a producer is registered or unregistered after that. *count* is
    called with the number of bytes of each part of the body.
    """

    def __init__(
        self, request: RegistryRequest, count: Callable[[int], object] | None = None
    ) -> None:
        self._request = request
        self._count = count

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._request.gone:
            producer.stopProducing()
        else:
            self._request.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if not self._request.gone:
            self._request.unregisterProducer()

    def write(self, data: bytes) -> None:
        if self._count is not None:
            self._count(len(data))
        self._request.write(data)

    def write_from(self, writer: SocketWriter | None) -> bool:
        """Let *writer* write the body to the socket, after the headers; not through TLS."""
        request = self._request
        if request.gone:
            return False
        transport: Any = request.channel.transport
        # A wrapper of a transport has the same attributes, but cannot do this.
        if not isinstance(transport, FileTransport):
            return False
        if writer is not None and not request.startedWriting:
            request.write(b"")
        if request.chunked:
            return False
        transport.write_from(writer)
        return True

    def wrote(self, count: int) -> None:
        """Count bytes that a writer has written."""
        self._request.sentLength += count
        if self._count is not None:
            self._count(count)
