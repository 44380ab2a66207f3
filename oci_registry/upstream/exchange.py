"""One API request to one host: what an operation needs to send HTTP requests and read answers."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IResponse

from oci_registry.metrics import HostMetrics
from oci_registry.spec.errors import RegistryError
from oci_registry.streams.body import BodyTooLong, abandon
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.deadline import in_time
from oci_registry.upstream.encoding import Body, read_body
from oci_registry.upstream.errors import TargetFailed, WrongAnswer
from oci_registry.upstream.failures import was_cancelled
from oci_registry.upstream.request_log import purpose
from oci_registry.upstream.requests import ApiRequest, Call
from oci_registry.upstream.session import Reply, Session

T = TypeVar("T")


class Exchange:
    """An API request and the host that it is sent to, with *within* seconds for the response.

    A request with pages has that time for each page. *idle*: seconds without progress after which
    the body of a blob fails. *after*: what happened before, for the log.
    """

    def __init__(
        self,
        session: Session,
        request: ApiRequest,
        within: float,
        idle: float,
        *,
        wait: bool,
        after: str = "",
    ) -> None:
        self.host = session.host
        self.request = request
        self._session = session
        self._within = within
        self._idle = idle
        self._wait = wait
        self._after = after
        self._elsewhere: TargetFailed | None = None

    async def send(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request; *path* is below ``/v2/``."""
        deadline = self._session.clock.seconds() + self._within
        why = purpose(self.request, headers or {}, self._after)
        call = Call(self.request, deadline, self._wait, why)
        sent = self._session.send(call, method, path, headers)
        if not self.request.kind.paged:
            # The operation as a whole has a deadline already.
            return await sent
        return await self._in_time(sent, self._within)

    async def ask(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> IResponse:
        """Send a request for a page of a list (`lists.Ask`); every failure is a `RegistryError`."""
        try:
            return (await self.send(method, path, headers)).response
        except TargetFailed as failed:
            # There may be another way to the list. If not, `run` records the failure.
            self._elsewhere = failed
            raise failed.error from None

    async def read(self, reply: Reply, limit: int) -> Body:
        """Read a body of at most *limit* bytes."""
        try:
            return await read_body(reply.response, limit, self._session.clock, self._within)
        except BodyTooLong as error:
            raise WrongAnswer(f"upstream {self.host}: {error}") from None
        except Exception as error:
            if reply.endpoint is self.request.kind or was_cancelled(error):
                raise
            raise TargetFailed(self._session.explain(error)) from None

    def blob(self, reply: Reply, size: int | None, *, inflate: bool | None) -> HttpBlob:
        """Return the blob of a response, whose body is read later; *size*: a hint at its size."""
        session = self._session
        return HttpBlob(
            reply.response,
            session.clock,
            self._idle,
            session.explain,
            reply.endpoint,
            known=size,
            inflate=inflate,
        )

    def refuse(self, reply: Reply, unknown: type[RegistryError], what: str) -> RegistryError:
        """Return the error for an unsuccessful answer; *unknown* stands for a 404."""
        return self._session.refuse(reply.response, unknown, what)

    def drop(self, reply: Reply) -> None:
        """Discard a response and its body."""
        abandon(reply.response, self._session.clock)

    async def run(self, operation: Coroutine[Any, Any, T], metrics: HostMetrics) -> T:
        """Wait for an operation.

        A failure is a `RegistryError`, a `TargetFailed`, or a CancelledError.
        """
        try:
            within = None if self.request.kind.paged else self._within
            value = await self._in_time(operation, within)
        except RegistryError as error:
            metrics.answered(str(error.status))
            self._session.reports.failed(self.request, error)
            if self._elsewhere is not None and error is self._elsewhere.error:
                raise self._elsewhere from None
            raise
        except TargetFailed as failed:
            metrics.answered(str(failed.error.status))
            self._session.reports.failed(self.request, failed.error)
            raise
        metrics.answered("ok")
        return value

    def _in_time(self, work: Coroutine[Any, Any, T], within: float | None) -> Awaitable[T]:
        """Bound *work* in time, unless it bounds itself, and explain its failure."""

        def explained(failure: Failure) -> Failure:
            if isinstance(failure.value, RegistryError | TargetFailed | CancelledError):
                return failure
            return Failure(self._session.explain(failure.value))

        done = Deferred.fromCoroutine(self._explained(work))
        return in_time(done, within, self._session.clock).addErrback(explained)

    async def _explained(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except TargetFailed:
            raise
        except Exception as error:
            if was_cancelled(error):
                # The original error: it shows whether the timeout occurred while connecting.
                raise
            raise self._session.explain(error) from None
