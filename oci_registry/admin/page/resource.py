"""The pages of the admin listener as a resource."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from oci_registry.admin.answers import TagState
from oci_registry.admin.api import ApiParts, Guarded
from oci_registry.admin.fields import Choice, Parameter, Several, Text
from oci_registry.admin.gate import Gate
from oci_registry.admin.page.access import PageGate
from oci_registry.admin.page.actions import ACTIONS, FORM, FORM_TYPE, act, notice_of
from oci_registry.admin.page.assets import ASSETS
from oci_registry.admin.page.calls import Calls
from oci_registry.admin.page.figures import PERIODS
from oci_registry.admin.page.frame import page_reply, plain
from oci_registry.admin.page.image import AboutImage, image_sections, removal_sections
from oci_registry.admin.page.kept import DEADLINES, Deadlines, in_time
from oci_registry.admin.page.listing import Search
from oci_registry.admin.page.markup import Node, el
from oci_registry.admin.page.overview import Overview, View
from oci_registry.admin.page.refused import refused
from oci_registry.admin.page.unknown import Unknown, all_of
from oci_registry.admin.problems import InvalidName, NotFound, NotJson
from oci_registry.admin.requests import AdminRequest, read_query
from oci_registry.management.answers import ImageDetails, Why
from oci_registry.management.source import Order
from oci_registry.spec.errors import RegistryError, Unsupported, shown
from oci_registry.web.answering import check_method
from oci_registry.web.errors import respond_error
from oci_registry.web.reply import Reply
from oci_registry.web.respond import write
from oci_registry.web.shown import reason_of
from oci_registry.web.site import RegistryRequest

ROOT, PAGES = b"", b"page"
"""The first segments of the paths of the status page and its files."""

_IMAGE = Parameter("image", Text(), "an image", required=True)
_DONE = Parameter("done", Choice(tuple(ACTIONS)), "what was done just now")
_PERIOD = Parameter("period", Choice(PERIODS), "what the chart shows", default=PERIODS[0])
_VIEW = (
    _PERIOD,
    Parameter("search", Text(500), "a part of names of images, or a pattern", default=""),
    Parameter("order", Choice([str(each) for each in Order]), "their order", default="name"),
    Parameter("after", Text(), "where the page before ends"),
    _DONE,
    Parameter("image", Text(), "what it was done to"),
)


class StatusPage(Guarded):
    """The status page, pages of single images, their forms, and the files that they need."""

    def __init__(
        self,
        calls: Calls,
        overview: Overview,
        gate: Gate,
        parts: ApiParts,
        deadlines: Deadlines = DEADLINES,
    ) -> None:
        super().__init__(gate, parts)
        self._page_gate = PageGate(gate)
        self._calls = calls
        self._overview = overview
        self._deadlines = deadlines
        self._pages = {
            (): self._home,
            (b"page", b"parts"): self._parts_of,
            (b"page", b"image"): self._image,
            (b"page", b"remove"): self._removal,
        }

    @property
    def _clock(self) -> IReactorTime:
        return self._parts.clock

    def admit(self, request: RegistryRequest) -> None:
        """Raise unless the request is allowed; files are available to all."""
        if _asset_of(_segments(request)) is None:
            self._page_gate.check(request.method, request.requestHeaders)

    async def refuse(self, request: RegistryRequest, error: Exception) -> None:
        """Respond with an error page."""
        if not isinstance(error, RegistryError) or request.startedWriting or request.gone:
            respond_error(request, error)
            return
        request.error = reason_of(error)
        up = "../" * _depth(request)
        try:
            reply = await page_reply(refused(error, up), error.status, **error.headers)
        except Exception as defect:
            respond_error(request, defect)
        else:
            write(request, reply)

    async def handle(self, request: AdminRequest) -> None:
        """Respond with a page, a file, or the result of a form."""
        segments = _segments(request)
        query = _without_empty(request.uri.partition(b"?")[2])
        asset = _asset_of(segments)
        path = b"/" + b"/".join(segments)
        if path != _path(request):
            # Its links would lead elsewhere: a slash at the end, or several in a row.
            check_method(request)
            if asset is None and segments not in self._pages:
                raise NotFound("there is nothing at this path")
            write(request, _redirect(request, segments))
        elif asset is not None:
            check_method(request)
            write(request, asset.reply(request.args.get(b"v", [b""])[0].decode("latin-1")))
        elif segments == (b"page", b"act"):
            write(request, await self._act(request))
        elif segments in self._pages:
            check_method(request)
            write(request, await self._pages[segments](query))
        else:
            raise NotFound("there is nothing at this path")

    async def _home(self, query: bytes) -> Reply:
        return await page_reply(await self._overview.page(_view(read_query(query, _VIEW))))

    async def _parts_of(self, query: bytes) -> Reply:
        """Return some parts of the page for its script."""
        names = Several(Choice(sorted(self._overview.names)), len(self._overview.names))
        part = Parameter("part", names, "the parts", default=())
        values = read_query(query, [part, *_VIEW])
        sections = await self._overview.parts(_view(values), values["part"])
        return await page_reply(el("html", el("body", sections), lang="en"))

    async def _image(self, query: bytes) -> Reply:
        values = read_query(query, (_IMAGE, _DONE))
        name: str = values["image"]
        about = await self._about(name)
        _check_name(about.details)
        notice = notice_of(values["done"], "")
        content: list[Node] = []
        if notice is not None:
            content.append(el("p", notice[0].rstrip(": "), role="status", class_="notice"))
        content += image_sections(about, self._clock.seconds())
        known = not isinstance(about.details, Unknown) or isinstance(about.history, TagState)
        return await page_reply(
            plain(shown_name(_whole_name(about)), content, up="../"), 200 if known else 404
        )

    async def _about(self, name: str) -> AboutImage:
        work: dict[str, Any] = {
            "details": self._ask("/image", ImageDetails, name),
            "why": self._ask("/why", Why, name),
        }
        if "@" not in name:
            work["history"] = self._ask("/history", TagState, name)
        found = await all_of(work)
        return AboutImage(name, found["details"], found["why"], found.get("history"))

    async def _ask(self, path: str, answer: type[Any], image: str) -> Any:
        asked = Deferred.fromCoroutine(self._calls("GET", path, answer, image=image))
        return await in_time(asked, self._deadlines.shown, self._clock)

    async def _removal(self, query: bytes) -> Reply:
        name: str = read_query(query, (_IMAGE,))["image"]
        details = (await all_of({"one": self._ask("/image", ImageDetails, name)}))["one"]
        _check_name(details)
        title = f"Remove {shown_name(name)}?"
        return await page_reply(plain(title, removal_sections(name, details), up="../"))

    async def _act(self, request: AdminRequest) -> Reply:
        if request.method != b"POST":
            raise Unsupported.for_method(request.method.decode("latin-1"), ("POST",))
        media_type = request.getHeader("content-type") or ""
        if media_type.partition(";")[0].strip().lower() != FORM_TYPE:
            raise NotJson(f"send the form as {FORM_TYPE}")
        values = read_query(_without_empty(request.body()), FORM)
        place = await self.change(act(self._calls, values))
        return Reply(303, {"Location": place, "Content-Length": "0"})


def _whole_name(about: AboutImage) -> str:
    """Return the name of an image with its registry, if that is known."""
    return about.name if isinstance(about.details, Unknown) else about.details.image.name


def shown_name(name: str) -> str:
    """Return the name of an image for a title."""
    return name if name.isascii() and len(name) < 200 else shown(name, 200)


def _path(request: RegistryRequest) -> bytes:
    path: bytes = request.uri.partition(b"?")[0]
    return path


def _segments(request: RegistryRequest) -> tuple[bytes, ...]:
    return tuple(segment for segment in _path(request).split(b"/") if segment)


def _depth(request: RegistryRequest) -> int:
    """Return how many folders a path is below the status page, for the browser."""
    return _path(request).count(b"/") - 1


def _redirect(request: RegistryRequest, segments: Sequence[bytes]) -> Reply:
    """Return the reply that leads to a path without needless slashes."""
    _, mark, query = request.uri.partition(b"?")
    # Relative, since there may be a prefix that is not known here.
    place = b"../" * _depth(request) + b"/".join(segments) + mark + query
    return Reply(307, {"Location": place.decode("latin-1"), "Content-Length": "0"})


def _asset_of(segments: Sequence[bytes]) -> Any:
    if len(segments) != 2 or segments[0] != PAGES:
        return None
    return ASSETS.get(segments[1].decode("latin-1"))


def _check_name(details: ImageDetails | Unknown) -> None:
    """Raise `InvalidName` if nothing is known of an image because its name is invalid."""
    if isinstance(details, Unknown) and details.status == InvalidName.status:
        raise InvalidName(details.reason)


def _without_empty(query: bytes) -> bytes:
    """Return a query without fields that were left empty in a form."""
    return b"&".join(piece for piece in query.split(b"&") if not piece.endswith(b"="))


def _view(values: dict[str, Any]) -> View:
    search = Search(values["search"], values["order"], values["after"])
    return View(values["period"], search, notice_of(values["done"], values["image"]))
