"""Lists of stored images, page by page or the first ones of an order, in bounded memory."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Sequence
from fnmatch import translate

from attrs import evolve

from oci_registry.account.books import Books
from oci_registry.account.catalogue import (
    ListedImage,
    Place,
    images_after,
    tags_of,
)
from oci_registry.account.queries import Query
from oci_registry.account.ranking import Measure, measured
from oci_registry.management.answers import ImagePage, StoredImage
from oci_registry.management.index import Index
from oci_registry.management.pinned import Pinned
from oci_registry.management.problems import InvalidName
from oci_registry.management.source import MOST, Order, Wanted
from oci_registry.management.subjects import check_pattern, name_of
from oci_registry.management.trees import Tree, needed_only_by, read_tree, summarize
from oci_registry.spec.errors import shown
from oci_registry.spec.image import HUB
from oci_registry.spec.reference import Tag

_ROWS = 500
"""The number of images that one query reads."""
_RANKED = 250
"""The number of images that one query compares."""
_DESCRIBED = 10
"""The number of images that one query describes, for each of which it reads several manifests."""
_MOST_TAGS = 1000
_MEASURES = {Order.SIZE: Measure.SIZE, Order.USE: Measure.USED, Order.AGE: Measure.ADDED}
_FAMILIAR = (f"{HUB}/library/", f"{HUB}/")


def image_name(listed: ListedImage) -> str:
    """Return the name of an image."""
    reference = listed.digest if listed.tag is None else Tag(listed.tag)
    return name_of(listed.host, listed.repository, reference)


async def list_images(index: Index, wanted: Wanted, pinned: Pinned) -> ImagePage:
    """Return a page of images; raise `InvalidName`, `NotReady`."""
    if not 1 <= wanted.limit <= MOST:
        raise InvalidName(f"a page has 1 to {MOST} images, not {wanted.limit}")
    if wanted.order is not Order.NAME and wanted.after is not None:
        raise InvalidName("only the order of names has further pages")
    if wanted.order is Order.NAME and wanted.reverse:
        raise InvalidName("the order of names cannot be reversed")
    if wanted.after is None:
        await index.catch_up()
    else:
        # All pages of one list use the same listing of the bucket.
        await index.flush()
    if wanted.order is Order.NAME:
        chosen, after = await _by_name(index, wanted)
    else:
        chosen, after = await _first(index, wanted), None
    images: list[StoredImage] = []
    for start in range(0, len(chosen), _DESCRIBED):
        part = chosen[start : start + _DESCRIBED]
        images += await index.ask(describe(part, pinned, counted=lambda: index.counts_pulls))
    return ImagePage(tuple(images), after, index.is_whole)


def matcher(patterns: Sequence[str]) -> Callable[[ListedImage], bool]:
    """Return a function that tells whether an image matches *patterns*; see `Wanted`."""
    compiled = [re.compile(translate(check_pattern(each))) for each in patterns]

    def matches(listed: ListedImage) -> bool:
        if not compiled:
            return True
        name = image_name(listed)
        names = {name, name_without_reference(listed)}
        for prefix in _FAMILIAR:
            names |= {each.removeprefix(prefix) for each in names}
        return any(pattern.match(each) for pattern in compiled for each in names)

    return matches


def name_without_reference(listed: ListedImage) -> str:
    """Return the registry and the repository of an image."""
    return listed.host if listed.repository is None else f"{listed.host}/{listed.repository}"


async def _by_name(index: Index, wanted: Wanted) -> tuple[list[ListedImage], str | None]:
    matches, chosen = matcher(wanted.patterns), list[ListedImage]()
    place: Place | None = read_place(wanted.after) if wanted.after is not None else Place()
    if wanted.registry is not None and place is not None and place.host < wanted.registry:
        place = Place(wanted.registry)
    while place is not None:
        rows, place = await index.ask(_matching_after(place, wanted, matches))
        for listed in rows:
            chosen.append(listed)
            if len(chosen) == wanted.limit:
                return chosen, write_place(listed.place)
        if wanted.registry is not None and place is not None and place.host != wanted.registry:
            break
    return chosen, None


async def _first(index: Index, wanted: Wanted) -> list[ListedImage]:
    """Return the first images in an order other than that of names."""
    matches = matcher(wanted.patterns)
    place: Place | None = Place(wanted.registry or "")
    # The best images so far, the worst of them first; the number makes each entry unique.
    best: list[tuple[float, int, ListedImage]] = []
    count = 0
    while place is not None:
        rows, place = await index.ask(_matching_after(place, wanted, matches))
        for start in range(0, len(rows), _RANKED):
            part = rows[start : start + _RANKED]
            for value, listed in zip(await index.ask(_rank(part, wanted)), part, strict=True):
                count -= 1
                heapq.heappush(best, (value, count, listed))
                if len(best) > wanted.limit:
                    heapq.heappop(best)
        if wanted.registry is not None and place is not None and place.host != wanted.registry:
            break
    return [listed for _, _, listed in sorted(best, key=lambda each: each[:2], reverse=True)]


def _matching_after(
    place: Place, wanted: Wanted, matches: Callable[[ListedImage], bool]
) -> Query[tuple[list[ListedImage], Place | None]]:
    """Return matching images after a place, out of a bounded number, and the place of the next ones."""
    after = images_after(place, _ROWS)

    def query(books: Books) -> tuple[list[ListedImage], Place | None]:
        rows, following = after(books)
        found = [one for one in rows if wanted.registry in (None, one.host) and matches(one)]
        return found, following

    return query


def _rank(part: Sequence[ListedImage], wanted: Wanted) -> Query[list[float]]:
    """Return a number for each image: the larger it is, the earlier the image comes."""
    numbers = [listed.number for listed in part if listed.number is not None]
    ask = measured(numbers, _MEASURES[wanted.order])
    sign = (-1 if wanted.order is Order.AGE else 1) * (-1 if wanted.reverse else 1)

    def query(books: Books) -> list[float]:
        found = ask(books)
        # What is not stored comes last.
        return [
            sign * found[listed.number] if listed.number in found else float("-inf")
            for listed in part
        ]

    return query


def describe(
    part: Sequence[ListedImage], pinned: Pinned, *, counted: Callable[[], bool]
) -> Query[list[StoredImage]]:
    """Return what is stored of images. *counted*: whether the index has the numbers of pulls."""

    def query(books: Books) -> list[StoredImage]:
        return [
            describe_tree(
                books, listed, read_tree(books, listed.host, listed.digest), pinned, counted=counted
            )
            for listed in part
        ]

    return query


def describe_tree(
    books: Books, listed: ListedImage, tree: Tree, pinned: Pinned, *, counted: Callable[[], bool]
) -> StoredImage:
    """Return what is stored of an image whose content is known."""
    summary, entry = summarize(tree), tree.entry
    host = books.known_host(listed.host)
    tags: list[tuple[str, str]] = []
    if entry is not None and host is not None:
        tags = tags_of(books, host, entry.content, _MOST_TAGS)
    elif listed.repository is not None and listed.tag is not None:
        tags = [(listed.repository, listed.tag)]
    used = None
    if entry is not None:
        used = max([entry.used, *(one.entry.used for one in tree.stored() if one.entry)])
    return StoredImage(
        image_name(listed),
        listed.host,
        listed.repository,
        listed.tag,
        str(listed.digest),
        tree.media_type or None,
        summary.platforms,
        summary.size,
        needed_only_by(books, tree).size,
        summary.blobs,
        summary.stored_blobs,
        summary.complete,
        None if entry is None else entry.added,
        used,
        entry.pulls if entry is not None and counted() else None,
        bool(pinned.why(listed.host, listed.digest, tags)),
    )


def write_place(place: Place) -> str:
    """Return a place in the order of names, for `Wanted.after`."""
    if place.number is not None:
        return f"{place.host}@{place.number}"
    return f"{place.host}/{place.repository}:{place.tag}"


def read_place(text: str) -> Place:
    """Return the place in *text*; raise `InvalidName`."""
    host, at, number = text.rpartition("@")
    if at and number.isascii() and number.isdigit() and len(number) < 19:
        return evolve(Place(host), number=int(number))
    host, slash, rest = text.partition("/")
    repository, colon, tag = rest.rpartition(":")
    if not (slash and colon) or len(text) > 1024:
        raise InvalidName(f"{shown(text)} is not where a page of images ends")
    return Place(host, repository, tag)
