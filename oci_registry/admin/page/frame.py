"""Whole documents: the head, landmarks, and headers that block content from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.web.template import Tag

from oci_registry.admin.page.assets import ASSETS
from oci_registry.admin.page.markup import Node, address, el, written
from oci_registry.web.reply import Reply, content

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # With no-referrer browsers send "Origin: null" with forms, which the gate refuses.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
TITLE = "oci-registry"


def document(title: str, body: Iterable[Node], *, up: str = "", script: bool = False) -> Tag:
    """Return a document.

    *up*: the relative path to the root of the listener. *script*: whether a script keeps the page up to date.
    """
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="robots", content="noindex"),
        el("title", title),
        el("link", rel="icon", href=asset(up, "icon.svg")),
        el("link", rel="stylesheet", href=asset(up, "style.css")),
        el("script", src=asset(up, "script.js"), defer=True) if script else None,
    )
    return el("html", head, el("body", body), lang="en")


def asset(up: str, name: str) -> str:
    """Return the relative address of a file."""
    return address(f"{up}page/{name}", v=ASSETS[name].version)


def plain(title: str, content_of: Iterable[Node], *, up: str) -> Tag:
    """Return a document with a link back to the status page."""
    return document(
        f"{title} - {TITLE}",
        [
            el("header", el("p", el("a", f"{TITLE}: status", href=up or "./")), el("h1", title)),
            el("main", content_of, id="main"),
        ],
        up=up,
    )


async def page_reply(page: Tag, status: int = 200, **headers: str) -> Reply:
    """Return a document as a reply."""
    body = await written(page)
    return Reply(
        status, {**HEADERS, **headers, **content("text/html; charset=utf-8", len(body))}, body
    )
