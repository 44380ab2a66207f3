"""An HTTP client whose answers are made up: for what talks to upstreams, without a socket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse

from oci_registry.upstream.agent import UpstreamHttp


class FakeResponse:
    """An answer whose body arrives at once, *error* after it; `taken` says whether anybody read it.

    *length*: what is announced, where that is not the length of what arrives.
    """

    def __init__(
        self,
        code: int = 200,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        sized: bool = True,
        error: Exception | None = None,
        length: int | None = None,
    ) -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in (headers or {}).items()})
        self.length: Any = (length or len(body)) if sized else UNKNOWN_LENGTH
        self.taken = False
        self._body = body
        self._error = error

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body out."""
        self.taken = True
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(self._body)
        protocol.connectionLost(Failure(self._error or ResponseDone()))


def as_response(response: FakeResponse) -> IResponse:
    """Pass for the real thing."""
    return cast(IResponse, response)


@frozen
class Sent:
    """A request that was sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    data: bytes | None


Answer = FakeResponse | Exception | Deferred[FakeResponse]


class FakeHttp:
    """Answers by *answer*, or by what is put into `answer` later; a Deferred is waited for."""

    def __init__(self, answer: Callable[[Sent], Answer]) -> None:
        self.answer = answer
        self.sent: list[Sent] = []

    async def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        why: str = "",
    ) -> FakeResponse:
        """Record the request and return its answer."""
        sent = Sent(method, url, dict(headers), data)
        self.sent.append(sent)
        answer = self.answer(sent)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Deferred):
            return await answer
        return answer

    @property
    def as_http(self) -> UpstreamHttp:
        """Pass for the real thing."""
        return cast(UpstreamHttp, self)
