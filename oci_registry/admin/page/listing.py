"""The list of images, with a search form, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from oci_registry.admin.page.markup import (
    Node,
    address,
    el,
    foreign,
    link,
    moment,
    table,
)
from oci_registry.management.answers import ImagePage, StoredImage
from oci_registry.management.source import Order
from oci_registry.spec.units import counted, in_bytes

PAGE = 25
"""The number of images on a page."""
_PLATFORMS = 4
_ORDERS = {
    Order.NAME: "name",
    Order.SIZE: "size, largest first",
    Order.USE: "last used, most recent first",
    Order.AGE: "age, oldest first",
}
_WILD = frozenset("*?[")


@frozen
class Search:
    """Which images to list: those whose name contains *text*, or matches it if it is a pattern."""

    text: str = ""
    order: str = Order.NAME.value
    after: str | None = None

    @property
    def pattern(self) -> str | None:
        """The pattern of names; None: all images."""
        if not self.text:
            return None
        return self.text if _WILD.intersection(self.text) else f"*{self.text}*"


ALL = Search()
"""All images, by name."""


def search_form(search: Search) -> Iterator[Node]:
    """Show the search form."""
    yield el(
        "form",
        el(
            "label",
            "Name ",
            el("input", type="search", name="search", value=search.text, maxlength=500),
        ),
        el(
            "label",
            "Order ",
            el(
                "select",
                [
                    el("option", text, value=order.value, selected=order.value == search.order)
                    for order, text in _ORDERS.items()
                ],
                name="order",
            ),
        ),
        el("button", "Search"),
        link("./#images", "Show all") if search.text else None,
        role="search",
        aria_label="Images",
        method="get",
        action="./#images",
    )


def images_part(page: ImagePage, search: Search, now: float) -> Iterator[Node]:
    """Show a page of images with the actions for each."""
    if not page.whole:
        yield el(
            "p",
            "The index of the store is being built: there may be more images.",
            class_="unknown",
        )
    about = el("span", " with ", foreign(search.text, 100), " in the name") if search.text else None
    if not page.images:
        yield el("p", "No images", about, class_="summary")
        return
    more = " on this page" if page.next is not None or search.after is not None else ""
    yield el("p", counted(len(page.images), "image"), about, more, class_="summary")
    yield table(
        "Stored images",
        ("Image", "Size", "Platforms", "Last used", "State", "Actions"),
        [_row(each, now) for each in page.images],
        numbers=(1,),
        broad=(5,),
    )
    first = None if search.after is None else link("./#images", "First page", **_query(search))
    following = page.next and link("./#images", "Next page", after=page.next, **_query(search))
    if first is not None or following:
        yield el("nav", first, following or None, class_="pages", aria_label="Pages of images")


def _query(search: Search) -> dict[str, str]:
    text = {"search": search.text} if search.text else {}
    return {**text, "order": search.order}


def _row(image: StoredImage, now: float) -> list[Node]:
    state = [] if image.complete else [f"{image.stored_blobs} of {image.blobs} blobs"]
    if image.pinned:
        state.append("pinned")
    return [
        link("page/image", foreign(image.name), image=image.name),
        in_bytes(image.size),
        foreign(_platforms(image)),
        "unknown" if image.used is None else moment(image.used, now),
        ", ".join(state) or "complete",
        row_actions(image),
    ]


def _platforms(image: StoredImage) -> str:
    more = ", ..." if len(image.platforms) > _PLATFORMS else ""
    return ", ".join(image.platforms[:_PLATFORMS]) + more or "unknown"


def row_actions(image: StoredImage) -> Node:
    """Return the actions of one row."""
    name = image.name
    pin = ("unpin", "Unpin") if image.pinned else ("pin", "Pin")
    return el(
        "form",
        el("input", type="hidden", name="image", value=name),
        None
        if image.tag is None
        else el("button", "Refresh", name="action", value="refresh", aria_label=f"Refresh {name}"),
        None
        if image.repository is None
        else el("button", pin[1], name="action", value=pin[0], aria_label=f"{pin[1]} {name}"),
        el(
            "a",
            "Remove...",
            href=address("page/remove", image=name),
            class_="button",
            aria_label=f"Remove {name}...",
        ),
        method="post",
        action="page/act",
        class_="actions",
    )
