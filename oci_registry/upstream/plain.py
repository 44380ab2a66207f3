"""Detects a host that expects TLS and got a request over plain HTTP."""

from __future__ import annotations

from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.iweb import IResponse

from oci_registry.streams.body import BodyError, collect
from oci_registry.upstream.errors import WrongAnswer
from oci_registry.upstream.failures import EXPECTS_TLS

MAX_PAGE = 4096
"""Bytes of the body of a 400 that are looked at."""
PAGE_TIMEOUT = 1.0
"""Seconds in which it must arrive."""
_WORDS = (
    # Go, and so most registries; nginx; Apache.
    b"sent an http request to an https server",
    b"plain http request was sent to https port",
    b"speaking plain http to an ssl-enabled server port",
)


class _Read(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body has been read already."""

    length = 0

    def deliverBody(self, protocol: IProtocol) -> None:
        """End at once."""
        protocol.makeConnection(None)  # type: ignore[arg-type]
        protocol.connectionLost(Failure(ResponseDone()))


async def check_plain(response: IResponse, host: str, clock: IReactorTime) -> IResponse:
    """Return a 400 of a host that was asked over plain HTTP, without its body.

    Raises `WrongAnswer` if the body says that the host expects TLS.
    """
    try:
        page = await collect(response, MAX_PAGE, clock, PAGE_TIMEOUT)
    except BodyError:
        page = b""
    if any(words in page.lower() for words in _WORDS):
        raise WrongAnswer(f"upstream {host} answered 400: {EXPECTS_TLS}")
    return _Read(response)
