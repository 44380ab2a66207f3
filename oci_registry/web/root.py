"""For those who watch the daemon: alive, ready, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from oci_registry.metrics import Metrics
from oci_registry.spec.errors import NameUnknown, Unavailable, Unsupported
from oci_registry.web.errors import respond_error
from oci_registry.web.respond import send_bytes, set_content
from oci_registry.web.site import RegistryRequest
from oci_registry.web.v2 import ALLOWED

READY_TIMEOUT = 5.0
"""Seconds that the store has to show that it works."""
_NOTHING = "there is nothing here"


class Text(Resource):
    """A small page, made anew for each request."""

    isLeaf = True

    def __init__(self, page: Callable[[], bytes], media_type: str = "text/plain") -> None:
        super().__init__()
        self._page = page
        self._media_type = media_type

    def render(self, request: Any) -> int:
        """Answer with the page."""
        if request.method.decode("latin-1") not in ALLOWED:
            error = Unsupported.for_method(request.method.decode("latin-1"), ALLOWED)
            respond_error(request, error)
        elif request.postpath:
            respond_error(request, NameUnknown(_NOTHING))
        else:
            self.answer(request)
        return NOT_DONE_YET

    def answer(self, request: RegistryRequest) -> None:
        """Send the page."""
        body = self._page()
        set_content(request, self._media_type, len(body))
        send_bytes(request, body)


class Ready(Text):
    """``/readyz``: 200 when the store can be read and written, else 503 with the reason in the log."""

    _log = Logger()

    def __init__(self, check: Callable[[], Deferred[None]], clock: IReactorTime) -> None:
        super().__init__(lambda: b"ready\n")
        self._check = check
        self._clock = clock
        self._checking: Deferred[None] | None = None
        self._waiting: list[RegistryRequest] = []

    def answer(self, request: RegistryRequest) -> None:
        """Try the store, once for all who ask at the same time."""
        request.notifyFinish().addErrback(lambda _: self._forget(request))
        self._waiting.append(request)
        if self._checking is None:
            self._checking = self._check().addTimeout(READY_TIMEOUT, self._clock)
            self._checking.addBoth(self._checked)

    def _forget(self, request: RegistryRequest) -> None:
        if request in self._waiting:
            self._waiting.remove(request)

    def _checked(self, result: object) -> None:
        self._checking = None
        waiting, self._waiting = self._waiting, []
        failed = isinstance(result, Failure)
        if isinstance(result, Failure):
            self._log.error("the store is not usable: {error}", error=result.getErrorMessage())
        for request in waiting:
            if failed:
                respond_error(request, Unavailable("the store is not usable; the log says why"))
            else:
                super().answer(request)


class Root(Resource):
    """The tree: ``/``, ``/healthz``, ``/readyz``, and what is given; all else is not here.

    *metrics* are at ``/metrics``, *v2* is at ``/v2`` and at ``/HOST/v2``, whatever *HOST* is. Several
    slashes together are as good as one.
    """

    def __init__(
        self, ready: Ready, *, metrics: Metrics | None = None, v2: Resource | None = None
    ) -> None:
        super().__init__()
        alive = Text(lambda: b"oci-registry\n")
        self.putChild(b"", alive)
        for name in (b"healthz", b"health"):
            self.putChild(name, alive)
        self.putChild(b"readyz", ready)
        if metrics is not None:
            self.putChild(b"metrics", Text(metrics.page, CONTENT_TYPE_LATEST))
        if v2 is not None:
            self.putChild(b"v2", v2)
        self._v2 = v2
        self._nothing = _Nothing("; the registry is below /v2/" if v2 is not None else "")

    def getChildWithDefault(self, path: bytes, request: Any) -> Resource:
        """Return what answers a path whose first segment is *path*."""
        while not path and request.postpath:
            path = request.postpath.pop(0)
        child: Resource = super().getChildWithDefault(path, request)
        return child

    def getChild(self, path: bytes, request: Any) -> Resource:
        """Return what answers a path that is not in the tree."""
        behind = next((segment for segment in request.postpath if segment), b"")
        return self._v2 if self._v2 is not None and behind == b"v2" else self._nothing

    def render(self, request: Any) -> int:
        """Answer for a path that ends here, which only an odd one does."""
        return self._nothing.render(request)


class _Nothing(Text):
    """Says that there is nothing, and *instead* where there is something."""

    def __init__(self, instead: str) -> None:
        super().__init__(lambda: b"")
        self._instead = instead

    def answer(self, request: RegistryRequest) -> None:
        respond_error(request, NameUnknown(_NOTHING + self._instead))
