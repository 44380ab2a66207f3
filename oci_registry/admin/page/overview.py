"""The status page itself: its parts are queried in parallel, and fail independently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

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
from oci_registry.admin.page.markup import Break, Node, el, foreign, unavailable
from oci_registry.admin.page.running import (
    daemon_part,
    errors_part,
    transfers_part,
    upstreams_part,
)
from oci_registry.admin.page.unknown import Unknown, all_of, unknown_for
from oci_registry.management.answers import ImagePage
from oci_registry.management.as_json import Answer
from oci_registry.streams.steps import Pause

A = TypeVar("A", bound=Answer)
_SEARCHING = 10.0
"""Seconds that a search may take, which a person waits for."""


@frozen
class View:
    """The parameters of a view. *notice*: the action that was just done, and its subject."""

    period: str = PERIODS[0]
    search: Search = ALL
    notice: tuple[str, str] | None = None


@frozen
class Part:
    """A part of the page: *find* queries the data, and *show* renders it as HTML.

    *every*: seconds after which the script reloads it, None for never. It is reloaded at once after
    events of some *kinds*, and when some *fields* of a summary have changed.
    """

    name: str
    title: str
    find: Callable[[View], Awaitable[Any]]
    show: Callable[[Any, View, float], Iterable[Node]]
    every: int | None = None
    kinds: str = ""
    fields: str = ""


class Overview:
    """The parts of the page, made from the answers of *calls*.

    *pause*: for a break between two parts, each of which takes some milliseconds to write. *deadlines*: how
    long each question may take.
    """

    def __init__(
        self, calls: Calls, clock: IReactorTime, pause: Pause, deadlines: Deadlines = DEADLINES
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._pause = pause
        self._deadlines = deadlines
        self._activity = {
            name: self._kept(2, "/activity", Activity, period=name) for name in PERIODS
        }
        largest, used = (
            self._found(30, "/images/top", TopImages, order=order) for order in ("size", "pulls")
        )
        self._parts = (
            Part("daemon", "Daemon", self._found(2, "/status", DaemonStatus), _daemon, 10),
            Part(
                "transfers",
                "Running downloads",
                self._found(0.5, "/top", Top),
                _transfers,
                10,
                "download",
                "transfers rate",
            ),
            Part(
                "hits",
                "Hits and savings",
                self._find_hits,
                _hits,
                30,
                fields="requests bytes_sent bytes_fetched",
            ),
            Part(
                "disk",
                "Disk",
                self._found(2, "/disk", Disk),
                _disk,
                30,
                "eviction removal sweep",
                "size reserved",
            ),
            Part(
                "upstreams",
                "Registries",
                self._found(1, "/upstreams", UpstreamPage, limit="200"),
                _upstreams,
                10,
                "breaker error",
            ),
            Part(
                "errors",
                "Recent errors",
                self._found(0.5, "/errors", ErrorList),
                _errors,
                30,
                "error",
            ),
            Part("largest", "Largest images", largest, _largest, 60),
            Part("used", "Most pulled images", used, _used, 60),
            # Rows with buttons must not move while a person clicks: this part is never replaced.
            Part("images", "Images", self._find_images, _images),
        )
        self.names = frozenset(part.name for part in self._parts)

    def _kept(self, fresh: float, path: str, answer: type[A], **texts: str) -> Kept[A]:
        ask = partial(self._calls, "GET", path, answer, **texts)
        return Kept(ask, self._clock, fresh, self._deadlines)

    def _found(
        self, fresh: float, path: str, answer: type[A], **texts: str
    ) -> Callable[[View], Awaitable[A]]:
        kept = self._kept(fresh, path, answer, **texts)

        async def find(_: View) -> A:
            return (await kept.get()).answer

        return find

    async def _find_hits(self, _: View) -> Mapping[str, Activity | Unknown]:
        found = await all_of({name: kept.get() for name, kept in self._activity.items()})
        return {
            name: one if isinstance(one, Unknown) else one.answer for name, one in found.items()
        }

    async def _find_images(self, view: View) -> ImagePage | Unknown:
        search = view.search
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
            return await in_time(Deferred.fromCoroutine(work), seconds, self._clock)
        except Exception as error:
            # The form is shown nevertheless.
            return unknown_for(error)

    async def parts(self, view: View, names: Iterable[str]) -> list[Tag]:
        """Return the parts of these names as sections, in the order of the page."""
        wanted = frozenset(names)
        chosen = [part for part in self._parts if part.name in wanted]
        found = await all_of({part.name: part.find(view) for part in chosen})
        sections = []
        for part in chosen:
            sections.append(_section(part, found[part.name], view, self._clock.seconds()))
            await self._pause()
        return sections

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
        written: list[Node] = [_notice(view)]
        for section in sections[1:]:
            written += [section, Break(self._pause)]
        main = el("main", written, id="main")
        footer = el(
            "footer",
            el(
                "p",
                "All of this is available as JSON from the ",
                el("a", "admin API", href="api/v1/openapi.json"),
                ".",
            ),
        )
        return document(f"{TITLE}: status", [header, main, footer], script=True)


def _section(part: Part, found: object, view: View, now: float) -> Tag:
    title = f"{part.name}-title"
    content: list[Node]
    try:
        if isinstance(found, Unknown) and part.show is not _images:
            content = [unavailable(found.reason)]
        else:
            content = list(part.show(found, view, now))
    except Exception as error:
        content = [unavailable(unknown_for(error).reason)]
    return el(
        "section",
        el("h2", part.title, id=title),
        content,
        id=part.name,
        aria_labelledby=title,
        data_part=part.name,
        data_every=part.every,
        data_kinds=part.kinds or None,
        data_fields=part.fields or None,
    )


def _daemon(found: DaemonStatus, _: View, now: float) -> Iterable[Node]:
    return daemon_part(found, now)


def _transfers(found: Top, _: View, __: float) -> Iterable[Node]:
    return transfers_part(found)


def _hits(found: Mapping[str, Activity | Unknown], view: View, now: float) -> Iterable[Node]:
    return hits_part(found, view.period, now)


def _disk(found: Disk, _: View, now: float) -> Iterable[Node]:
    return disk_part(found, now)


def _upstreams(found: UpstreamPage, _: View, now: float) -> Iterable[Node]:
    return upstreams_part(found, now)


def _largest(found: TopImages, _: View, now: float) -> Iterable[Node]:
    return top_part(found, "The largest images", "No images", now)


def _used(found: TopImages, _: View, now: float) -> Iterable[Node]:
    return top_part(found, "The most pulled images", "No image has been pulled more than once", now)


def _images(found: ImagePage | Unknown, view: View, now: float) -> Iterable[Node]:
    yield from search_form(view.search)
    if isinstance(found, Unknown):
        yield unavailable(found.reason)
    else:
        yield from images_part(found, view.search, now)


def _errors(found: ErrorList, _: View, now: float) -> Iterable[Node]:
    return errors_part(found, now)


def _notice(view: View) -> Node:
    if view.notice is None:
        return None
    what, name = view.notice
    return el("p", what, foreign(name) if name else None, role="status", class_="notice")
