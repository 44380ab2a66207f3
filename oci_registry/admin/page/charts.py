"""Charts as SVG, drawn on the server, with a description as text."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.web.template import Tag

from oci_registry.admin.page.markup import el

_WIDTH, _HEIGHT = 600, 120
_BAR_HEIGHT = 24


@frozen
class Series:
    """Values of one kind, one for each bar, drawn in the style *look*. *name*: for the key."""

    name: str
    look: str
    values: Sequence[float]


def bars(title: str, text: str, series: Sequence[Series], most: str) -> Tag:
    """Return stacked bars, the first series at the bottom. *text*: the description of the chart.
    *most*: the largest sum, as text.
    """
    sums = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    largest = max(sums, default=0)
    step = _WIDTH / max(len(sums), 1)
    drawn: list[Tag] = []
    for index, _ in enumerate(sums):
        bottom = float(_HEIGHT)
        for each in series:
            height = each.values[index] / largest * _HEIGHT if largest else 0.0
            if height <= 0:
                continue
            bottom -= height
            drawn.append(
                el(
                    "rect",
                    class_=each.look,
                    x=round(index * step + step * 0.1, 2),
                    y=round(bottom, 2),
                    width=round(step * 0.8, 2),
                    height=round(max(height, 0.5), 2),
                )
            )
    base = el("line", class_="axis", x1=0, x2=_WIDTH, y1=_HEIGHT, y2=_HEIGHT)
    picture = el(
        "svg",
        el("title", f"{title}. {text}"),
        base,
        drawn,
        role="img",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="chart",
    )
    key = [
        el("li", el("span", class_=f"key {each.look}", aria_hidden="true"), each.name)
        for each in series
    ]
    return el(
        "figure",
        el("p", f"Highest: {most}" if largest else "Nothing yet", class_="most"),
        picture,
        el("figcaption", el("span", title), el("ul", key, class_="keys")),
    )


@frozen
class Piece:
    """A part of a whole, starting where the part before ends; drawn in the style *look*."""

    look: str
    size: float


def level(text: str, whole: float, pieces: Sequence[Piece], marks: Sequence[float]) -> Tag:
    """Return one bar that shows how much of a *whole* is used, with *marks* at some sizes."""
    drawn: list[Tag] = []
    start = 0.0
    for piece in pieces:
        width = min(max(piece.size, 0.0) / whole, 1.0) * _WIDTH if whole > 0 else 0.0
        width = min(width, _WIDTH - start)
        if width > 0:
            drawn.append(
                el(
                    "rect",
                    class_=piece.look,
                    x=round(start, 2),
                    y=0,
                    width=round(width, 2),
                    height=_BAR_HEIGHT,
                )
            )
        start += width
    for mark in marks:
        place = round(min(mark / whole, 1.0) * _WIDTH, 2) if whole > 0 else 0
        drawn.append(el("line", class_="mark", x1=place, x2=place, y1=0, y2=_BAR_HEIGHT))
    return el(
        "svg",
        el("title", text),
        el("rect", class_="track", x=0, y=0, width=_WIDTH, height=_BAR_HEIGHT),
        drawn,
        role="img",
        viewBox=f"0 0 {_WIDTH} {_BAR_HEIGHT}",
        preserveAspectRatio="none",
        class_="level",
    )
