"""The root of the site: liveness, readiness, metrics, and the registry."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import evolve
from twisted.web.resource import Resource

from oci_registry.exposition import CONTENT_TYPE
from oci_registry.metrics import Metrics
from oci_registry.pullthrough.store_watch import StoreState
from oci_registry.spec.errors import NameUnknown
from oci_registry.spec.texts import one_line
from oci_registry.streams.steps import Pause, no_pause
from oci_registry.web.answering import Answering, check_method
from oci_registry.web.errors import respond_error
from oci_registry.web.ready.entries import Repeatable
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.reply import Reply, content
from oci_registry.web.respond import write
from oci_registry.web.site import RegistryRequest

_LONGEST = 1000
"""The maximum length in characters of a reason that is shown."""
_AT_ONCE = 16 * 1024
"""Bytes of the metrics that are written without a pause, in about two milliseconds."""
# "Input/output error" is the system's message for a broken disk.
_PATH = re.compile(r"(?<![^\s:,;\"'])(?!Input/output\b)[^\s:,;\"']*/[^\s:,;\"']*")
_NOTHING = "there is nothing at this path"


class Page(Answering):
    """A small page that is generated for each request. *ready*: the table for a constant page."""

    def __init__(
        self, make: Callable[[], Awaitable[Reply]], ready: ReadyAnswers | None = None
    ) -> None:
        super().__init__()
        self._make = make
        self._ready = ready

    async def answer(self, request: RegistryRequest) -> None:
        """Respond with the page."""
        try:
            check_method(request)
            if request.postpath:
                raise NameUnknown(_NOTHING)
            reply = await self._make()
            write(request, reply)
            if self._ready is not None and isinstance(reply.body, bytes):
                self._ready.offer(request, reply.body, Repeatable())
        except Exception as error:
            respond_error(request, error)


class Ready:
    """The readiness page: whether stored content can be served. *check*: checks the store."""

    def __init__(self, check: Callable[[], Awaitable[StoreState]]) -> None:
        self.check = check

    async def __call__(self) -> Reply:
        """Return 200 if the store can be read, else 503; the text says what is wrong."""
        state = await self.check()
        if state.unreadable is not None:
            page = _text(_shown("not ready", state.unreadable), status=503)
            return evolve(page, reason=f"not ready: {state.unreadable}")
        if state.unwritable is not None:
            return _text(_shown("ready, but nothing new is stored", state.unwritable))
        return _text(b"ready\n")


def _shown(status: str, reason: str) -> bytes:
    """Return a status and a reason, which may contain text of a server, as one line of bounded length.

    Anyone may read it: paths of this machine are only logged.
    """
    told = _PATH.sub("...", one_line(reason[:_LONGEST])).removesuffix(": ...")
    return f"{status}: {told}\n".encode("ascii", "backslashreplace")


def _text(body: bytes, media_type: str = "text/plain", status: int = 200) -> Reply:
    return Reply(status, content(media_type, len(body)), body)


class Root(Resource):
    """The root resource: ``/``, ``/healthz``, ``/readyz``, *metrics* and *v2*; all else is a 404.

    *metrics* are at ``/metrics``, made in steps with a *pause* between them; *v2* is at ``/v2`` and at
    ``/HOST/v2`` for any *HOST*. Repeated slashes count as one. *answers*: keeps the responses of pages
    that are always the same.
    """

    def __init__(
        self,
        ready: Ready,
        *,
        metrics: Metrics | None = None,
        v2: Resource | None = None,
        pause: Pause = no_pause,
        answers: ReadyAnswers | None = None,
    ) -> None:
        super().__init__()

        async def is_alive() -> Reply:
            return _text(b"oci-registry\n")

        async def nothing() -> Reply:
            raise NameUnknown(_NOTHING + ("" if v2 is None else "; the registry is below /v2/"))

        alive = Page(is_alive, answers)
        self.putChild(b"", alive)
        for name in (b"healthz", b"health"):
            self.putChild(name, alive)
        self.putChild(b"readyz", Page(ready))
        if metrics is not None:
            self.putChild(b"metrics", Page(_metrics_page(metrics, ready, pause)))
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


def _metrics_page(metrics: Metrics, ready: Ready, pause: Pause) -> Callable[[], Awaitable[Reply]]:
    async def page() -> Reply:
        # For the gauges of the store.
        await ready.check()
        text, paused = bytearray(), 0
        for piece in metrics.pieces():
            text += piece
            if len(text) - paused > _AT_ONCE:
                paused = len(text)
                await pause()
        return _text(bytes(text), CONTENT_TYPE)

    return page
