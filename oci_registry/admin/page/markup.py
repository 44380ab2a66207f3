"""HTML and SVG as trees of tags; text is escaped when they are written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NoReturn
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.web.iweb import IRenderable, IRequest
from twisted.web.template import Tag, flattenString
from zope.interface import implementer

from oci_registry.spec.texts import cut, escaped
from oci_registry.spec.units import roughly
from oci_registry.streams.steps import Pause


@implementer(IRenderable)
class Break:
    """An empty part of a document; the content after it is written after a *pause*."""

    def __init__(self, pause: Pause) -> None:
        self._pause = pause

    def lookupRenderMethod(self, name: str) -> NoReturn:
        """Raise `LookupError`: there are none."""
        raise LookupError(name)

    def render(self, request: IRequest | None) -> Deferred[str]:
        """Return nothing, later."""

        async def nothing() -> str:
            await self._pause()
            return ""

        return Deferred.fromCoroutine(nothing())


Node = Tag | Break | str | None
"""A part of a document; None is nothing."""
Attribute = str | float | bool | None
LONGEST = 400
"""The maximum length in characters of a text from elsewhere."""
_SHORT = 19
_DOCTYPE = b"<!DOCTYPE html>\n"


def el(name: str, /, *children: Node | Iterable[Node], **attributes: Attribute) -> Tag:
    """Return an element.

    Names of attributes are written with underscores for dashes, and one at the end is left out: ``class_``,
    ``aria_label``. True stands for an attribute without a value; None and False leave it out.
    """
    found: dict[str | bytes, object] = {}
    for key, value in attributes.items():
        if value is not None and value is not False:
            text = "" if value is True else _number(value)
            found[key.removesuffix("_").replace("_", "-")] = text
    content: list[object] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, str | Tag | Break):
            content.append(_utf8(child) if isinstance(child, str) else child)
        else:
            content.extend(el("span", each) if each is None else each for each in child if each)
    return Tag(name, attributes=found, children=content)  # type: ignore[arg-type]


def _number(value: str | float) -> str:
    return _utf8(value) if isinstance(value, str) else f"{value:g}"


def _utf8(text: str) -> str:
    """Return a text that can be encoded."""
    return text.encode("utf-8", "replace").decode()


async def written(document: Tag) -> bytes:
    """Return a whole document."""
    return _DOCTYPE + await flattenString(None, document)


def foreign(text: str, longest: int = LONGEST) -> Tag:
    """Return a text from elsewhere with bounded length, without characters that could disguise text."""
    return el("bdi", cut(escaped(text), longest))


def short_digest(digest: str) -> Tag:
    """Return the beginning of a digest, with the whole digest as a tooltip."""
    return el("code", cut(escaped(digest), _SHORT), title=escaped(digest))


def moment(time: float, now: float) -> Tag:
    """Return the age of a time as text; times are seconds since the epoch."""
    passed = now - time
    text = (
        "just now"
        if abs(passed) < 1
        else f"{roughly(abs(passed))} {'ago' if passed > 0 else 'ahead'}"
    )
    return el("time", text, datetime=iso(time), title=iso(time))


def iso(time: float) -> str:
    """Return a time as in RFC 3339, in UTC."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def link(path: str, text: Node, /, **query: str) -> Tag:
    """Return a link to a relative *path* with this query."""
    return el("a", text, href=address(path, **query))


def address(path: str, **query: str | None) -> str:
    """Return a relative address; parameters that are None are left out."""
    path, mark, fragment = path.partition("#")
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}{'?' if given else ''}{urlencode(given, errors='replace')}{mark}{fragment}"


def table(
    caption: str,
    heads: Iterable[str],
    rows: Iterable[Iterable[Node]],
    *,
    numbers: Iterable[int] = (),
    broad: Iterable[int] = (),
) -> Tag:
    """Return a table whose first column names the rows. *numbers*: columns that are aligned to the right.

    On a narrow screen, each row becomes a card, where each cell has its column's heading as a label,
    and cells of *broad* columns have their own line. Explicit roles keep it a table for screen readers.
    On a medium screen, a table that is too wide can be scrolled, also with the keyboard.
    """
    titles = list(heads)
    looks = dict.fromkeys(numbers, "number") | dict.fromkeys(broad, "broad")
    head = [
        el("th", text, scope="col", role="columnheader", class_=looks.get(index))
        for index, text in enumerate(titles)
    ]
    body = [
        el(
            "tr",
            [
                el("td", cell, role="cell", class_=looks.get(index), data_label=titles[index])
                if index
                else el("th", cell, scope="row", role="rowheader")
                for index, cell in enumerate(row)
            ],
            role="row",
        )
        for row in rows
    ]
    content = el(
        "table",
        el("caption", caption),
        el("thead", el("tr", head, role="row"), role="rowgroup"),
        el("tbody", body, role="rowgroup"),
        role="table",
    )
    return el("div", content, class_="wide", role="region", aria_label=caption, tabindex="0")


def summary(text: str, *, bad: bool = False) -> Tag:
    """Return the summary sentence of a part; screen readers announce its changes."""
    return el("p", text, class_="summary bad" if bad else "summary", aria_live="polite")


def unavailable(reason: str, what: str = "") -> Tag:
    """Return the reason why something cannot be shown. *what*: its name, if the heading does not have it."""
    return el(
        "p",
        f"{what} not available: " if what else "Not available: ",
        foreign(reason),
        class_="unknown",
    )
