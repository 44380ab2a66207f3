"""What every response has in common, and how bodies are sent."""

from __future__ import annotations

from twisted.internet.interfaces import IConsumer, IProducer
from zope.interface import implementer

from oci_registry.spec.digest import Digest
from oci_registry.spec.routes import NamedRoute
from oci_registry.streams.interfaces import Source
from oci_registry.streams.send import Sender
from oci_registry.upstream.table import Target, UpstreamTable
from oci_registry.web.patience import Patience
from oci_registry.web.site import RegistryRequest


def set_content(
    request: RegistryRequest, media_type: str, length: int | None, digest: Digest | None = None
) -> None:
    """Set the headers that say what the body is. Without *length* it will be sent in chunks."""
    headers = request.responseHeaders
    headers.setRawHeaders(b"Content-Type", [media_type.encode("latin-1", "replace")])
    if length is not None:
        headers.setRawHeaders(b"Content-Length", [b"%d" % length])
    if digest is not None:
        text = str(digest).encode("ascii")
        headers.setRawHeaders(b"Docker-Content-Digest", [text])
        headers.setRawHeaders(b"ETag", [b'"' + text + b'"'])


def resolve(table: UpstreamTable, request: RegistryRequest, route: NamedRoute) -> Target:
    """Return what a request means, and note that for the access log and the client.

    The response says which registry it is about, an error too: the client's ``ns`` where it gave one
    (OCI-Namespace). Raises `NameUnknown`.
    """
    target = table.resolve(route.name, route.ns)
    request.namespace = target.upstream.namespace
    request.setHeader(b"OCI-Namespace", (route.ns or request.namespace).encode())
    return target


def not_modified(request: RegistryRequest, digest: Digest, *, exists: bool = True) -> bool:
    """Whether the client says that it has this content already (RFC 9110 section 13.1.2).

    Then the response is made a 304. *exists*: there is such content, which is all that ``*`` asks.
    """
    header = request.getHeader("if-none-match")
    if header is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    if f'"{digest}"' not in tags and not (exists and "*" in tags):
        return False
    request.setResponseCode(304)
    request.responseHeaders.removeHeader(b"Content-Length")
    request.responseHeaders.removeHeader(b"Content-Type")
    request.setHeader(b"ETag", f'"{digest}"'.encode("ascii"))
    request.finish()
    return True


def redirect(request: RegistryRequest, url: str, digest: Digest) -> None:
    """Send the client elsewhere for this one time (RFC 9110 section 15.4.8)."""
    request.setResponseCode(307)
    request.setHeader(b"Location", url.encode("ascii"))
    request.setHeader(b"Docker-Content-Digest", str(digest).encode("ascii"))
    # The link holds a signature, which is good for some minutes only.
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Content-Length", b"0")
    request.responseHeaders.removeHeader(b"Content-Type")
    request.finish()


def send_bytes(request: RegistryRequest, body: bytes) -> None:
    """Send a body that is at hand; headers only for a HEAD."""
    request.write(body)
    request.finish()


@implementer(IConsumer)
class _GuardedRequest:
    """A request as a consumer, which may have lost its client at any time.

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


async def send_source(
    request: RegistryRequest, source: Source, count: int | None, patience: Patience
) -> None:
    """Send *count* bytes of *source* as the response's body and finish it.

    Raises what the source raises, and `ConsumerGone` when the client leaves; the source is closed.
    """
    sender = Sender(source, _GuardedRequest(request), count)
    done = sender.start()
    if not done.called:
        with patience.watching(sender, request):
            await done
    else:
        await done
    request.finish()
