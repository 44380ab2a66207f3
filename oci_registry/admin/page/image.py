"""The page of one image: what is stored of it, why it is kept, its history, and its actions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from attrs import frozen

from oci_registry.admin.answers import TagState
from oci_registry.admin.page.markup import (
    Node,
    address,
    el,
    foreign,
    link,
    moment,
    short_digest,
    table,
    unavailable,
)
from oci_registry.admin.page.unknown import Unknown
from oci_registry.management.answers import ImageDetails, ShownManifest, StoredImage, Why
from oci_registry.management.pinned import OPERATOR
from oci_registry.spec.units import in_bytes

_MOST = 200
"""The maximum number of lines of a table."""


@frozen
class AboutImage:
    """Answers about an image, or the reasons why there are none; *history* None: it is not a tag."""

    name: str
    details: ImageDetails | Unknown
    why: Why | Unknown
    history: TagState | Unknown | None


def image_sections(about: AboutImage, now: float) -> Iterator[Node]:
    """Show an image."""
    yield _section("actions", "Actions", _actions(about))
    yield _section("why", "Why it is kept", _why(about.why))
    yield _section("content", "Content", _content(about.details, now))
    if about.history is not None:
        yield _section("history", "History of the tag", _history(about.name, about.history))


def _section(name: str, title: str, content: Iterator[Node]) -> Node:
    heading = el("h2", title, id=f"{name}-title")
    return el("section", heading, content, id=name, aria_labelledby=f"{name}-title")


def _actions(about: AboutImage) -> Iterator[Node]:
    stored = None if isinstance(about.details, Unknown) else about.details.image
    pinned = _pinned(about.why, stored)
    tag = about.history is not None
    buttons = [("refresh", "Refresh at the next pull")] if tag and stored else []
    if pinned is not None:
        buttons.append(("unpin", "Unpin") if pinned else ("pin", "Pin (never evict)"))
    if isinstance(about.history, TagState):
        if about.history.hold is not None:
            buttons.append(("release", "Release the hold"))
        elif about.history.digest is not None:
            buttons.append(("hold", "Hold at the current digest"))
        if len(about.history.history) > 1:
            buttons.append(("rollback", "Roll back to the previous digest"))
        if about.history.waiting is not None:
            buttons.append(("adopt", "Adopt the new digest"))
    yield el(
        "form",
        el("input", type="hidden", name="image", value=about.name),
        [el("button", text, name="action", value=name) for name, text in buttons],
        el("a", "Remove...", href=address("remove", image=about.name), class_="button"),
        method="post",
        action="act",
        class_="actions",
    )


def _pinned(why: Why | Unknown, stored: StoredImage | None) -> bool | None:
    """Whether it is pinned by command, and not only by the upstream file; None if it cannot be pinned."""
    if stored is not None and stored.repository is None:
        return None
    if isinstance(why, Unknown):
        return None if stored is None else stored.pinned
    return OPERATOR in why.pinned


def _why(why: Why | Unknown) -> Iterator[Node]:
    if isinstance(why, Unknown):
        yield unavailable(why.reason)
        return
    yield el("ul", [el("li", foreign(reason)) for reason in why.reasons])


def _list(lines: list[tuple[str, Node]]) -> Node:
    return el("dl", [item for name, value in lines for item in (el("dt", name), el("dd", value))])


def _content(details: ImageDetails | Unknown, now: float) -> Iterator[Node]:
    if isinstance(details, Unknown):
        yield unavailable(details.reason)
        return
    image = details.image
    used = "unknown" if image.used is None else moment(image.used, now)
    added = "unknown" if image.added is None else moment(image.added, now)
    yield _list(
        [
            ("Digest", el("code", foreign(image.digest))),
            (
                "Size",
                f"{in_bytes(image.size)}, of which {in_bytes(image.unique)} not shared with other images",
            ),
            ("Blobs", f"{image.stored_blobs} of {image.blobs} stored"),
            ("Platforms", foreign(", ".join(image.platforms) or "unknown")),
            ("Stored", added),
            ("Last used", used),
            ("Pulls", "unknown" if image.pulls is None else str(image.pulls)),
        ]
    )
    # A hostile image has very many, and each row takes time to render.
    rows = islice(_rows(details.manifest), _MOST)
    columns = ("Digest", "Type", "Size", "Stored")
    yield table("Manifests and blobs", columns, rows, numbers=(2,), broad=(1,))
    more = _count(details.manifest) - _MOST
    if more > 0:
        yield el("p", f"and {more} more", class_="detail")
    for title, names in (
        ("Other tags of this image", details.tags),
        ("Shares blobs with", details.shared_with),
    ):
        others = [name for name in names if name != image.name][:50]
        if others:
            yield el("h3", title)
            yield el("ul", [el("li", link("image", foreign(name), image=name)) for name in others])


def _rows(manifest: ShownManifest) -> Iterator[list[Node]]:
    kind = manifest.media_type or "manifest"
    what = f"{manifest.platform}: {kind}" if manifest.platform else kind
    problem = None if manifest.problem is None else el("span", ": ", foreign(manifest.problem))
    yield [
        short_digest(manifest.digest),
        el("span", foreign(what), problem),
        "" if manifest.size is None else in_bytes(manifest.size),
        "yes" if manifest.stored else "no",
    ]
    for blob in manifest.blobs:
        yield [
            short_digest(blob.digest),
            foreign(blob.media_type or "blob"),
            "" if blob.size is None else in_bytes(blob.size),
            "yes" if blob.stored else "no",
        ]
    for child in manifest.manifests:
        yield from _rows(child)


def _count(manifest: ShownManifest) -> int:
    """Return how many rows there are."""
    return 1 + len(manifest.blobs) + sum(map(_count, manifest.manifests))


def _history(name: str, state: TagState | Unknown) -> Iterator[Node]:
    if isinstance(state, Unknown):
        yield unavailable(state.reason)
        return
    if state.hold is not None:
        yield el(
            "p", "Held at ", short_digest(state.hold.digest), " since ", foreign(state.hold.since)
        )
    if state.waiting is not None:
        until = state.waiting.adoptable
        yield el(
            "p",
            "New digest, not served yet: ",
            short_digest(state.waiting.digest),
            ", first seen ",
            foreign(state.waiting.since),
            None if until is None else el("span", ", served from ", foreign(until)),
        )
    if not state.history:
        yield el("p", "No digest has been seen yet.")
        return
    yield table(
        "Digests of the tag, newest first",
        ("Digest", "First seen", "Last confirmed", "Served", "Actions"),
        [
            [
                short_digest(each.digest),
                foreign(each.first_seen),
                foreign(each.last_confirmed),
                "now" if each.digest == state.digest else "yes" if each.adopted else "never",
                _hold(name, each.digest),
            ]
            for each in state.history[:_MOST]
        ],
    )


def _hold(name: str, digest: str) -> Node:
    return el(
        "form",
        el("input", type="hidden", name="image", value=name),
        el("input", type="hidden", name="digest", value=digest),
        el(
            "button",
            "Hold",
            name="action",
            value="hold",
            aria_label=f"Hold the tag at {digest[:19]}",
        ),
        method="post",
        action="act",
        class_="actions",
    )


def removal_sections(name: str, details: ImageDetails | Unknown) -> Iterator[Node]:
    """Show the confirmation of a removal."""
    yield el(
        "p",
        "This removes ",
        el("strong", foreign(name)),
        " from the cache. The next pull downloads it again.",
    )
    if not isinstance(details, Unknown):
        image = details.image
        yield el(
            "p",
            f"Its size is {in_bytes(image.size)}, of which {in_bytes(image.unique)} not shared with "
            "other images.",
        )
        if image.pinned:
            yield el("p", "It is pinned: unpin it first.", class_="bad")
    yield el(
        "form",
        el("input", type="hidden", name="image", value=name),
        el(
            "label",
            el("input", type="checkbox", name="blobs", value="true"),
            " Also remove now the blobs that no other image needs",
        ),
        el("button", "Remove it", name="action", value="remove", class_="danger"),
        el("a", "Cancel", href=address("image", image=name), class_="button"),
        method="post",
        action="act",
        class_="actions",
    )
