"""The root of the site: liveness, readiness, metrics, and the registry."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from prometheus_client import CONTENT_TYPE_LATEST
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import NameUnknown
from oci_registry.storage.interfaces import StoreError
from oci_registry.streams.flight import SingleFlight
from oci_registry.web.answering import Answering, check_method
from oci_registry.web.errors import respond_error
from oci_registry.web.reply import Reply, content
from oci_registry.web.respond import write
from oci_registry.web.site import RegistryRequest

READY_TIMEOUT = 5.0
"""Seconds that the check of the store may take."""
_LONGEST = 1000
"""The most characters of a reason that are shown."""
_PATH = re.compile(r"[^\s:,;\"']*/[^\s:,;\"']*")
_NOTHING = "there is nothing here"


class Page(Answering):
    """A small page that is generated for each request."""

    def __init__(self, make: Callable[[], Awaitable[Reply]]) -> None:
        super().__init__()
        self._make = make

    async def answer(self, request: RegistryRequest) -> None:
        """Respond with the page."""
        try:
            check_method(request)
            if request.postpath:
                raise NameUnknown(_NOTHING)
            write(request, await self._make())
        except Exception as error:
            respond_error(request, error)


class Ready:
    """The readiness page: whether the store can be read and written within *within* seconds."""

    _log = Logger()

    def __init__(
        self,
        check: Callable[[], Deferred[None]],
        clock: IReactorTime,
        within: float = READY_TIMEOUT,
    ) -> None:
        self._check = check
        self._clock = clock
        self._within = within
        self._checking: SingleFlight[str, str | None] = SingleFlight()
        self._reason: str | None = None

    async def __call__(self) -> Reply:
        """Return 200 or 503 with a reason; one check of the store serves all concurrent requests."""
        reason = await self._checking.run("store", self._find_reason)
        if reason is None:
            return _text(b"ready\n")
        # Anyone may read this page: paths of this machine are only logged.
        told = _PATH.sub("...", reason)
        body = f"not ready: {told}\n".encode("ascii", "backslashreplace")
        return evolve(_text(body, status=503), reason=f"not ready: {reason}")

    async def _find_reason(self) -> str | None:
        """Return why the store cannot be used, or None; log a change of that."""
        try:
            await self._check().addTimeout(self._within, self._clock)
            reason = None
        except DeferredTimeout:
            reason = f"the store did not answer within {self._within:g} s"
        except StoreError as error:
            reason = _one_line(str(error))
        except Exception:
            self._log.failure("the check of the store failed")
            reason = "the store could not be checked; the log says why"
        before, self._reason = self._reason, reason
        if reason is not None and reason != before:
            self._log.error("the store is not usable: {reason}", reason=reason)
        elif reason is None and before is not None:
            self._log.info("the store is usable again")
        return reason


def _one_line(text: str) -> str:
    """Return a text, some of which may come from a server, as one line of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST])


def _text(body: bytes, media_type: str = "text/plain", status: int = 200) -> Reply:
    return Reply(status, content(media_type, len(body)), body)


class Root(Resource):
    """The root resource: ``/``, ``/healthz``, ``/readyz``, *metrics* and *v2*; all else is a 404.

    *metrics* are at ``/metrics``, *v2* is at ``/v2`` and at ``/HOST/v2`` for any *HOST*. Repeated slashes
    count as one.
    """

    def __init__(
        self, ready: Ready, *, metrics: Metrics | None = None, v2: Resource | None = None
    ) -> None:
        super().__init__()

        async def is_alive() -> Reply:
            return _text(b"oci-registry\n")

        async def nothing() -> Reply:
            raise NameUnknown(_NOTHING + ("" if v2 is None else "; the registry is below /v2/"))

        alive = Page(is_alive)
        self.putChild(b"", alive)
        for name in (b"healthz", b"health"):
            self.putChild(name, alive)
        self.putChild(b"readyz", Page(ready))
        if metrics is not None:
            self.putChild(b"metrics", Page(_metrics_page(metrics)))
        if v2 is not None:
            self.putChild(b"v2", v2)
        self._v2 = v2
        self._nothing = Page(nothing)

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        """Return the resource of a path whose first segment is *path*."""
        while not path and request.postpath:
            path = request.postpath.pop(0)
        child: Resource = super().getChildWithDefault(path, request)
        return child

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return the resource of any other path."""
        behind = next((segment for segment in request.postpath if segment), b"")
        return self._v2 if self._v2 is not None and behind == b"v2" else self._nothing

    def render(self, request: Any) -> int:
        """Respond with a 404 to a path that ends at the root itself."""
        return self._nothing.render(request)


def _metrics_page(metrics: Metrics) -> Callable[[], Awaitable[Reply]]:
    async def page() -> Reply:
        return _text(metrics.page(), CONTENT_TYPE_LATEST)

    return page
