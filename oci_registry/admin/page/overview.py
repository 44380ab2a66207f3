"""The status page itself: its parts are asked for at the same time, and none of them can spoil the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import Tag

from oci_registry.admin.answers import DaemonStatus, ErrorList, Top, UpstreamPage
from oci_registry.admin.figures_answers import Activity, Disk, TopImages
from oci_registry.admin.page.calls import Calls
from oci_registry.admin.page.figures import PERIODS, disk_part, hits_part, top_part
from oci_registry.admin.page.frame import TITLE, document
from oci_registry.admin.page.kept import DEADLINES, Deadlines, Kept, in_time
from oci_registry.admin.page.listing import ALL, PAGE, Search, images_part, search_form
from oci_registry.admin.page.markup import Node, el, foreign, not_known
from oci_registry.admin.page.running import (
    daemon_part,
    errors_part,
    transfers_part,
    upstreams_part,
)
from oci_registry.admin.page.unknown import Unknown, all_of, unknown_for
from oci_registry.management.answers import ImagePage
from oci_registry.management.as_json import Answer

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
_SEARCHING = 10.0
"""Seconds that a search may take, which somebody waits for."""


@frozen
class View:
    """What a request wants to see. *notice*: what was done just now, and to what."""

    period: str = PERIODS[0]
    search: Search = ALL
    notice: tuple[str, str] | None = None


@frozen
class Part:
    """A part of the page. *every*: seconds after which the script asks for it again, None for never.

    It does so at once after events of some *kinds*, and when some *fields* of a summary have changed.
    """

    name: str
    title: str
    make: Callable[[View], Awaitable[Iterable[Node]]]
    every: int | None = None
    kinds: str = ""
    fields: str = ""


class Overview:
    """The parts of the page, made from what *calls* answers. *deadlines*: how long each may take."""

    def __init__(self, calls: Calls, clock: IReactorTime, deadlines: Deadlines = DEADLINES) -> None:
        self._calls = calls
        self._clock = clock
        self._deadlines = deadlines
        status = self._kept(2, "/status", DaemonStatus)
        top = self._kept(0.5, "/top", Top)
        upstreams = self._kept(1, "/upstreams", UpstreamPage, limit="200")
        errors = self._kept(0.5, "/errors", ErrorList)
        disk = self._kept(2, "/disk", Disk)
        self._activity = {
            name: self._kept(2, "/activity", Activity, period=name) for name in PERIODS
        }
        largest, used = (
            self._kept(30, "/images/top", TopImages, order=order) for order in ("size", "pulls")
        )
        now = clock.seconds

        def shown(
            kept: Kept[T], show: Callable[[T], Iterable[Node]]
        ) -> Callable[[View], Awaitable[Iterable[Node]]]:
            async def make(_: View) -> Iterable[Node]:
                return list(show((await kept.get()).answer))

            return make

        self._parts = (
            Part("daemon", "Daemon", shown(status, lambda one: daemon_part(one, now())), 10),
            Part(
                "transfers",
                "Transfers now",
                shown(top, transfers_part),
                10,
                "download",
                "transfers rate",
            ),
            Part("hits", "Hits", self._hits, 30, "", "requests bytes_sent bytes_fetched"),
            Part(
                "disk",
                "Disk",
                shown(disk, lambda one: disk_part(one, now())),
                30,
                "eviction removal sweep",
                "size reserved",
            ),
            Part(
                "upstreams",
                "Registries",
                shown(upstreams, lambda one: upstreams_part(one, now())),
                10,
                "breaker error",
            ),
            Part(
                "largest",
                "Largest images",
                shown(largest, lambda one: top_part(one, "The largest images", now())),
                60,
            ),
            Part(
                "used",
                "Most used images",
                shown(used, lambda one: top_part(one, "The images that were pulled most", now())),
                60,
            ),
            # Rows with buttons must not move under somebody's hand: this one is never replaced.
            Part("images", "Images", self._images),
            Part(
                "errors",
                "Recent errors",
                shown(errors, lambda one: errors_part(one, now())),
                30,
                "error",
            ),
        )
        self.names = frozenset(part.name for part in self._parts)

    def _kept(self, fresh: float, path: str, answer: type[A], **texts: str) -> Kept[A]:
        ask = partial(self._calls, "GET", path, answer, **texts)
        return Kept(ask, self._clock, fresh, self._deadlines)

    async def _hits(self, view: View) -> Iterable[Node]:
        found = await all_of({name: kept.get() for name, kept in self._activity.items()})
        answers: Mapping[str, Activity | Unknown] = {
            name: one if isinstance(one, Unknown) else one.answer for name, one in found.items()
        }
        return list(hits_part(answers, view.period, self._clock.seconds()))

    async def _images(self, view: View) -> Iterable[Node]:
        search = view.search
        content: list[Node] = list(search_form(search))
        work = self._calls(
            "GET",
            "/images",
            ImagePage,
            pattern=search.pattern,
            order=search.order,
            after=search.after,
            limit=str(PAGE),
        )
        seconds = self._deadlines.shown if search == ALL else _SEARCHING
        try:
            page = await in_time(Deferred.fromCoroutine(work), seconds, self._clock)
        except Exception as error:
            return [*content, not_known("The images", unknown_for(error).reason)]
        return [*content, *images_part(page, search, self._clock.seconds())]

    async def parts(self, view: View, names: Iterable[str]) -> list[Tag]:
        """Return the parts of these names as sections, in the order of the page."""
        wanted = frozenset(names)
        chosen = [part for part in self._parts if part.name in wanted]
        made = await all_of({part.name: part.make(view) for part in chosen})
        return [_section(part, made[part.name]) for part in chosen]

    async def page(self, view: View) -> Tag:
        """Return the whole page."""
        sections = await self.parts(view, self.names)
        header = el(
            "header",
            el("a", "Skip to the images", href="#images", class_="skip"),
            el("h1", TITLE),
            sections[0],
            el("p", id="live", role="status", class_="detail"),
            el(
                "nav",
                [el("a", part.title, href=f"#{part.name}") for part in self._parts[1:]],
                aria_label="Parts of this page",
            ),
        )
        main = el("main", _notice(view), sections[1:], id="main")
        footer = el(
            "footer",
            el("p", el("a", "The API", href="api/v1/openapi.json"), " has all this as JSON."),
        )
        return document(f"{TITLE}: status", [header, main, footer], script=True)


def _section(part: Part, content: Iterable[Node] | Unknown) -> Tag:
    title = f"{part.name}-title"
    nodes = [not_known(part.title, content.reason)] if isinstance(content, Unknown) else content
    return el(
        "section",
        el("h2", part.title, id=title),
        nodes,
        id=part.name,
        aria_labelledby=title,
        data_part=part.name,
        data_every=part.every,
        data_kinds=part.kinds or None,
        data_fields=part.fields or None,
    )


def _notice(view: View) -> Node:
    if view.notice is None:
        return None
    what, name = view.notice
    return el("p", what, foreign(name) if name else None, role="status", class_="notice")
