"""Writes replies to requests: the only module that does."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer

from oci_registry.streams.metered import Metered
from oci_registry.streams.send import Sender
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.reply import Reply, Stream
from oci_registry.web.site import RegistryRequest


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
    consumer: IConsumer = _GuardedRequest(request)
    if count is not None:
        consumer = Metered(consumer, count)
    sender = Sender(body.source, consumer, body.length)
    done = sender.start()
    if done.called:
        await done
    else:
        with watch.watch(sender, request, body.waited):
            await done
    request.finish()


@implementer(IConsumer)
class _GuardedRequest:
    """A request as a consumer, whose client may have left at any time.

    The request itself raises when a producer is registered or unregistered after that.
    """

    def __init__(self, request: RegistryRequest) -> None:
        self._request = request

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        if self._request.gone:
            producer.stopProducing()
        else:
            self._request.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if not self._request.gone:
            self._request.unregisterProducer()

    def write(self, data: bytes) -> None:
        self._request.write(data)
