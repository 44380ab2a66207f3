"""Parts of the page with figures: hits and savings, the disk, the largest and most pulled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oci_registry.admin.figures_answers import (
    Activity,
    ActivityCounts,
    ActivityPoint,
    Disk,
    TopImages,
)
from oci_registry.admin.page.charts import Piece, Series, bars, level
from oci_registry.admin.page.markup import (
    Node,
    address,
    el,
    foreign,
    iso,
    link,
    moment,
    summary,
    table,
    unavailable,
)
from oci_registry.admin.page.unknown import Unknown
from oci_registry.spec.units import in_bytes, roughly

PERIODS = ("hour", "day", "week")


def hits_part(found: Mapping[str, Activity | Unknown], period: str, now: float) -> Iterator[Node]:
    """Show hits and savings over all periods, and the chart of one of them.

    *found*: an activity for each period, or the reason why it is not known.
    """
    known = {name: one for name, one in found.items() if not isinstance(one, Unknown)}
    for name, reason in found.items():
        if isinstance(reason, Unknown):
            yield unavailable(reason.reason, f"Last {name}")
    if not known:
        return
    yield table(
        "Hit rates and savings",
        ("Figure", *(f"Last {name}" for name in known)),
        [
            [title, *(show(one.totals) for one in known.values())]
            for title, show in (
                ("Hit rate by bytes", _by_bytes),
                ("Hit rate by requests", _by_requests),
                ("Hit rate by whole images (estimate)", _by_images),
                ("Bytes saved", lambda one: in_bytes(one.bytes_saved)),
                ("Rate-limit units saved", lambda one: str(one.pulls_saved)),
                ("Sent to clients", lambda one: in_bytes(one.bytes_sent)),
                ("Fetched from registries", lambda one: in_bytes(one.bytes_fetched)),
                ("Failed requests", lambda one: f"{one.errors} of {one.requests}"),
            )
        ],
        numbers=range(1, len(known) + 1),
    )
    chosen = known.get(period)
    yield el(
        "nav",
        [_period(name, current=name == period) for name in PERIODS],
        class_="tabs",
        aria_label="Period of the chart",
    )
    if chosen is not None:
        yield from _chart(chosen, now)


def _period(name: str, *, current: bool) -> Node:
    return el(
        "a",
        f"Last {name}",
        href=address("./#hits", period=name),
        aria_current="true" if current else None,
    )


def _chart(activity: Activity, now: float) -> Iterator[Node]:
    points = activity.points
    cached = [max(each.counts.bytes_sent - each.counts.bytes_fetched, 0) for each in points]
    fetched = [each.counts.bytes_fetched for each in points]
    most = max((a + b for a, b in zip(cached, fetched, strict=True)), default=0)
    step = points[0].seconds if points else 0
    totals = activity.totals
    yield bars(
        f"Bytes over the last {activity.period}",
        f"{in_bytes(totals.bytes_sent)} were sent to clients, of which {in_bytes(totals.bytes_saved)} "
        f"came from the cache; {in_bytes(totals.bytes_fetched)} were fetched from registries.",
        [Series("from the cache", "cached", cached), Series("from registries", "fetched", fetched)],
        f"{in_bytes(most)} in {roughly(step)}",
    )
    if activity.recorded is not None and activity.recorded > activity.since:
        yield el("p", "Recording began ", moment(activity.recorded, now), class_="detail")
    busy = [each for each in points if each.counts.requests or each.counts.bytes_fetched]
    if busy:
        yield el(
            "details",
            el("summary", "Show the chart as a table"),
            table(
                f"Bytes and requests over the last {activity.period}, without idle periods",
                ("From", "Requests", "Hits", "Sent", "Fetched"),
                [_point(each) for each in busy],
                numbers=(1, 2, 3, 4),
            ),
        )


def _point(point: ActivityPoint) -> list[Node]:
    counts = point.counts
    return [
        el("time", iso(point.time)[:16].replace("T", " "), datetime=iso(point.time)),
        str(counts.requests),
        str(counts.hits),
        in_bytes(counts.bytes_sent),
        in_bytes(counts.bytes_fetched),
    ]


def _by_bytes(one: ActivityCounts) -> str:
    return _share(one.bytes_saved, one.bytes_sent, in_bytes(one.bytes_sent))


def _by_requests(one: ActivityCounts) -> str:
    return _share(one.hits, one.hits + one.misses, str(one.hits + one.misses))


def _by_images(one: ActivityCounts) -> str:
    return _share(one.images_cached, one.images, str(one.images))


def _share(part: float, whole: float, of: str) -> str:
    return f"{min(part / whole, 1.0):.0%} of {of}" if whole else "no data"


def disk_part(disk: Disk, now: float) -> Iterator[Node]:
    """Show the disk usage, and what is evicted next."""
    size = "Stored size unknown" if disk.size is None else f"{in_bytes(disk.size)} stored"
    if disk.limit is None:
        yield summary(f"{size}, no limit set")
    elif disk.size is None or not disk.limit:
        yield summary(f"{size}, the limit is {in_bytes(disk.limit)}")
    else:
        yield summary(
            f"{size}, {disk.size / disk.limit:.0%} of the limit of {in_bytes(disk.limit)}"
        )
    yield from _level(disk)
    lines: list[tuple[str, Node]] = []
    if disk.limit is not None and disk.low is not None:
        lines.append(("Eviction stops at", f"{in_bytes(disk.low)}, the mark in the bar"))
    lines.append(("Reserved for downloads", in_bytes(disk.reserved)))
    if disk.volume_free is not None:
        of = "" if disk.volume_size is None else f" of {in_bytes(disk.volume_size)}"
        lines.append(("Free on the volume", f"{in_bytes(disk.volume_free)}{of}"))
    if disk.min_free is not None:
        lines.append(("Minimum free", in_bytes(disk.min_free)))
    if disk.next is not None:
        lines.append(
            (
                "Evicted next",
                el(
                    "span",
                    [
                        link("page/image", foreign(disk.next.name), image=disk.next.name)
                        if disk.next.kind == "image"
                        else foreign(disk.next.name),
                        el("span", ", last used "),
                        moment(disk.next.used, now),
                        el("span", f", frees {in_bytes(disk.next.frees)}"),
                    ],
                ),
            )
        )
    elif disk.limit is not None:
        lines.append(("Evicted next", "none at present"))
    yield el("dl", [item for name, value in lines for item in (el("dt", name), el("dd", value))])
    yield el(
        "form",
        el("button", "Sweep: remove expired objects", name="action", value="sweep"),
        method="post",
        action="page/act",
    )


def _level(disk: Disk) -> Iterator[Node]:
    whole = disk.limit if disk.limit is not None else disk.volume_size
    if whole is None or disk.size is None:
        return
    marks = [] if disk.low is None else [float(disk.low)]
    text = f"{in_bytes(disk.size)} of {in_bytes(whole)} used"
    if disk.low is not None:
        text += f"; eviction stops at {in_bytes(disk.low)}"
    yield level(text, whole, [Piece("cached", disk.size), Piece("reserved", disk.reserved)], marks)


def top_part(top: TopImages, caption: str, empty: str, now: float) -> Iterator[Node]:
    """Show the first images of an order; *empty*: the text if there is none."""
    if not top.whole:
        yield el(
            "p",
            "The index of the store is being built: there may be more images.",
            class_="unknown",
        )
    if not top.images:
        yield summary(empty)
        return
    yield table(
        caption,
        ("Image", "Size", "Pulls", "Last used"),
        [
            [
                link("page/image", foreign(each.name), image=each.name),
                in_bytes(each.size),
                "unknown" if each.pulls is None else str(each.pulls),
                "unknown" if each.used is None else moment(each.used, now),
            ]
            for each in top.images
        ],
        numbers=(1, 2),
    )
