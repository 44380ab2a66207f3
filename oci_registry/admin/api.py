"""The admin API as a resource: a request is checked, read, handled and answered with JSON."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from oci_registry.admin.gate import Gate
from oci_registry.admin.problems import Busy, NotFound, Unavailable, as_api_error
from oci_registry.admin.requests import AdminRequest, read_body, read_query
from oci_registry.admin.routes import AnyRoute, Route, RouteTable, Served, allowed
from oci_registry.management.as_json import Answer, encode, is_long
from oci_registry.metrics import Metrics
from oci_registry.spec.errors import Unsupported, shown
from oci_registry.streams.threads import RunInThread
from oci_registry.web.answering import Answering
from oci_registry.web.client_watch import ClientWatch
from oci_registry.web.errors import respond_error
from oci_registry.web.reply import Reply, content, paced
from oci_registry.web.respond import respond
from oci_registry.web.site import RegistryRequest

T = TypeVar("T")

SAFE = ((b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"no-store"))
"""Headers of every response."""
_LABEL = "admin"
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE"})


@frozen
class ApiLimits:
    """*seconds*: the deadline of a request that changes nothing; *at_once*: the most concurrent requests.

    *long*: the deadline of requests that go through the whole store; commands wait for 300 s.
    """

    seconds: float = 60.0
    long: float = 290.0
    at_once: int = 64


@frozen
class ApiParts:
    """The objects that all resources of the API share.

    *run*: the threads that encode long answers. *changed*: is called after each change, before its response.
    """

    watch: ClientWatch
    clock: IReactorTime
    metrics: Metrics
    limits: ApiLimits = ApiLimits()
    run: RunInThread | None = None
    changed: Callable[[], None] = lambda: None


class Guarded(Answering):
    """A leaf that a *gate* protects, which handles a limited number of requests at once."""

    _log = Logger()

    def __init__(self, gate: Gate, parts: ApiParts) -> None:
        super().__init__()
        self._gate = gate
        self._parts = parts
        self._handling = 0

    async def answer(self, request: RegistryRequest) -> None:
        """Respond to a request with an answer or an error, and count it."""
        for name, value in SAFE:
            request.setHeader(name, value)
        self._handling += 1
        try:
            if self._handling > self._parts.limits.at_once:
                raise Busy.retry_after("too many requests are handled at present", 1)
            self.admit(request)
            assert isinstance(request, AdminRequest)
            request.check_again = self.admit
            await self.handle(request)
        except Exception as error:
            await self.refuse(request, as_api_error(error))
        finally:
            self._handling -= 1
            self._count(request)

    def admit(self, request: RegistryRequest) -> None:
        """Raise unless the request may be handled."""
        self._gate.check(request.requestHeaders)

    async def handle(self, request: AdminRequest) -> None:
        """Respond to an admitted request, or raise."""
        raise NotImplementedError

    async def refuse(self, request: RegistryRequest, error: Exception) -> None:
        """Respond with an error. Never fails."""
        respond_error(request, error)

    async def send(self, request: AdminRequest, answer: Answer, status: int = 200) -> None:
        """Respond with an answer."""
        run = self._parts.run if is_long(answer) else None
        body = encode(answer) if run is None else await run(encode, answer)
        reply = Reply(status, content("application/json", len(body)), paced(body))
        await respond(request, reply, self._parts.watch)

    async def ask(self, work: Coroutine[Any, Any, T], *, large: bool = False) -> T:
        """Return the result of *work*, which is cancelled after a while, or when the client has left."""
        asked = Deferred.fromCoroutine(work)
        limits = self._parts.limits
        seconds = limits.long if large else limits.seconds
        try:
            return await asked.addTimeout(seconds, self._parts.clock)
        except DeferredTimeout:
            raise Unavailable(f"there was no answer within {seconds:g} s") from None

    async def change(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of *work*, which continues when the client has left."""
        done: Deferred[T] = Deferred()

        def ended(result: T | Failure) -> None:
            # What has failed may have changed something too.
            self._parts.changed()
            if not done.called:
                done.callback(result)
            elif isinstance(result, Failure):
                self._log.failure("a change that nobody waits for has failed", result)

        Deferred.fromCoroutine(work).addBoth(ended)
        return await done

    def _count(self, request: RegistryRequest) -> None:
        method = request.method.decode() if request.method in _METHODS else "other"
        status = str(request.code) if request.finished else "gone"
        seconds = self._parts.clock.seconds() - request.began
        self._parts.metrics.response(_LABEL, method, status, seconds)


class Api(Guarded):
    """The routes of the API."""

    def __init__(self, routes: RouteTable, gate: Gate, parts: ApiParts) -> None:
        super().__init__(gate, parts)
        self._routes = routes

    async def handle(self, request: AdminRequest) -> None:
        """Find the route, read the parameters, and respond with the handler's answer."""
        path, _, query = request.uri.partition(b"?")
        route = self._find(request.method.decode("latin-1"), path.decode("latin-1"))
        values = read_query(query, route.query)
        if isinstance(route, Served):
            await route.serve(request, values)
            return
        if route.method == "GET":
            answer = await self.ask(_coroutine(route, values), large=route.large)
        else:
            media_type = request.getHeader("content-type")
            values |= read_body(request, media_type, route.body)
            answer = await self.change(_coroutine(route, values))
        await self.send(request, answer, route.status)

    def _find(self, method: str, path: str) -> AnyRoute:
        methods = self._routes.at(path)
        if not methods:
            raise NotFound(f"there is nothing at {shown(path)}; see /api/v1/openapi.json")
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise Unsupported.for_method(method, allowed(methods))
        return route


async def _coroutine(route: Route, values: dict[str, Any]) -> Answer:
    return await route.handle(values)
