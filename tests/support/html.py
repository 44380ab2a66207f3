"""HTML as a tree, and what a reader of it would miss."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import urlsplit

from attrs import Factory, define

_VOID = frozenset(("br", "hr", "img", "input", "link", "meta"))
_ADDRESSES = ("href", "src", "action", "formaction")


@define(eq=False)
class Element:
    """An element; texts in it are strings among its children."""

    name: str
    attributes: dict[str, str]
    children: list[Element | str] = Factory(list)

    def walk(self) -> Iterator[Element]:
        """Return this element and all in it."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, name: str, /, **attributes: str) -> list[Element]:
        """Return the elements of this name in it; with these attributes."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            each
            for each in self.walk()
            if each.name == name and wanted.items() <= each.attributes.items()
        ]

    def one(self, name: str, /, **attributes: str) -> Element:
        """Return the only such element."""
        (found,) = self.all(name, **attributes)
        return found

    def with_id(self, wanted: str) -> Element:
        """Return the only element with this id."""
        (found,) = [each for each in self.walk() if each.attributes.get("id") == wanted]
        return found

    @property
    def text(self) -> str:
        """All text in it, with single spaces."""
        pieces = [each if isinstance(each, str) else f" {each.text} " for each in self.children]
        return " ".join("".join(pieces).split())


class _Reader(HTMLParser):
    """Builds a tree of elements from HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} is there twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"</{tag}> is out of place"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_html(body: bytes | bytearray | str) -> Element:
    """Return a document, whose elements must be nested correctly."""
    reader = _Reader()
    reader.feed(body if isinstance(body, str) else bytes(body).decode())
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].name}> is not closed"
    return reader.open[0]


def faults(document: Element) -> list[str]:
    """Return what is wrong for people with a screen reader, behind a prefix, or with this policy of content."""
    found = []
    ids = [each.attributes["id"] for each in document.walk() if "id" in each.attributes]
    found += [f"the id {each} is there twice" for each in sorted(set(ids)) if ids.count(each) > 1]
    labelled = {id(one) for label in document.all("label") for one in label.walk()}
    for each in document.walk():
        shown = f"<{each.name} {each.attributes}>"
        if not _has_name(each, document, labelled):
            found.append(f"{shown} has no name")
        for name in _ADDRESSES:
            url = urlsplit(each.attributes.get(name, ""))
            if url.scheme or url.netloc or url.path.startswith("/"):
                found.append(f"{shown} does not have a relative address")
        if "style" in each.attributes or any(name.startswith("on") for name in each.attributes):
            found.append(f"{shown} has a style or a script of its own")
        if each.name in ("style", "script") and each.children:
            found.append(f"{shown} has content of its own")
    found += [
        f"there is not one {name}"
        for name in ("html", "head", "main", "h1")
        if len(document.all(name)) != 1
    ]
    if document.one("html").attributes.get("lang") != "en":
        found.append("the language is not known")
    levels = [int(each.name[1]) for each in document.walk() if each.name in ("h1", "h2", "h3")]
    if any(after - before > 1 for before, after in pairwise(levels)):
        found.append(f"a level of headings is left out: {levels}")
    return found


def _has_name(each: Element, document: Element, labelled: set[int]) -> bool:
    attributes = each.attributes
    if attributes.get("aria-label"):
        return True
    label = attributes.get("aria-labelledby")
    if label is not None:
        return bool(document.with_id(label).text)
    if each.name in ("a", "button", "summary", "th", "title", "h1", "h2", "h3", "option"):
        return bool(each.text)
    if each.name in ("input", "select", "progress", "meter"):
        return attributes.get("type") == "hidden" or id(each) in labelled
    if each.name == "svg":
        return attributes.get("role") == "img" and bool(each.one("title").text)
    if each.name == "table":
        return bool(each.one("caption").text)
    return each.name not in ("section", "nav") and attributes.get("role") != "region"
