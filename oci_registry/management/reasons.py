"""Why an image is kept, and how fresh it is, as values and in sentences."""

from __future__ import annotations

from collections.abc import Callable
from math import isinf

from attrs import frozen

from oci_registry.account.books import Books
from oci_registry.account.catalogue import is_among_newest, places_before, tags_of
from oci_registry.account.nouns import MAIN, NEWEST, PROBATION
from oci_registry.account.queries import Query
from oci_registry.management.answers import StoredImage, Why
from oci_registry.management.details import listed_as
from oci_registry.management.listing import describe_tree
from oci_registry.management.pinned import Pinned
from oci_registry.management.rules import Rules
from oci_registry.management.subjects import Subject
from oci_registry.management.trees import read_tree
from oci_registry.spec.digest import Digest
from oci_registry.spec.units import roughly
from oci_registry.storage.keys import tag_key
from oci_registry.storage.tags import TagRecord

QUEUES = {PROBATION: "probation", MAIN: "main", NEWEST: "newest"}
"""The names of the eviction queues."""
_MOST_TAGS = 1000


@frozen
class Standing:
    """The account's information about an image; *ahead*: images before it in its *queue*; None: not known.

    *held*: whether a tag is held at it. *newest*: how many of the newest tags of a repository are
    evicted last, if one of them is its own; else 0.
    """

    image: StoredImage
    pinned: tuple[str, ...]
    held: bool
    queue: str | None
    ahead: int | None
    newest: int


def standing(
    subject: Subject,
    digest: Digest,
    pinned: Pinned,
    newest_tags: int,
    *,
    counted: Callable[[], bool],
) -> Query[Standing | None]:
    """Return the standing of a stored image, whose manifest has *digest*; None if that is not stored."""

    def query(books: Books) -> Standing | None:
        tree = read_tree(books, subject.registry, digest)
        host = books.known_host(subject.registry)
        if tree.entry is None or host is None:
            return None
        listed, known = listed_as(books, subject, digest), counted()
        tags = tags_of(books, host, tree.entry.content, _MOST_TAGS)
        return Standing(
            describe_tree(books, listed, tree, pinned, counted=counted),
            pinned.why(subject.registry, digest, tags),
            pinned.is_held(subject.registry, digest),
            QUEUES[tree.entry.queue] if known else None,
            places_before(books, tree.entry) if known else None,
            newest_tags if is_among_newest(books, host, tree.entry.content, newest_tags) else 0,
        )

    return query


def explain(
    subject: Subject,
    record: TagRecord | None,
    found: Standing | None,
    rules: Rules,
    now: float,
    held: Digest | None = None,
) -> Why:
    """Return why an image is kept. *record*: that of its tag; *held*: the digest that the tag is held at."""
    lifetime = rules.lifetime(subject.registry)
    max_age = rules.max_age(subject.registry)
    forever = lifetime is not None and isinf(lifetime)
    checked = None if record is None else record.checked
    fresh_until = None if checked is None or max_age is None else checked + max_age
    unconfirmed = record is not None and (
        record.imported
        or rules.must_revalidate(
            tag_key(subject.registry, subject.repository or "", subject.tag or "")
        )
    )
    digest = subject.digest if record is None else record.digest
    used = None if found is None else found.image.used
    expires = None
    if used is not None and lifetime is not None and not (forever or _stays(found)):
        expires = used + lifetime
    return Why(
        str(subject) if found is None else found.image.name,
        None if digest is None else str(digest),
        None if found is None else found.image,
        checked,
        fresh_until,
        unconfirmed,
        () if found is None else found.pinned,
        None if found is None else found.queue,
        None if found is None else found.ahead,
        None if forever else lifetime,
        expires,
        forever,
        (
            *(() if held is None else (f"the tag is held at {held}, which is served",)),
            *_freshness(checked, fresh_until, now, unconfirmed=unconfirmed, offline=forever),
            *_keeping(found, expires, now, forever=forever, limited=rules.limited),
            *(
                ()
                if found is None or forever or _stays(found) or rules.limited is False
                else _biases(found, scarce=rules.scarce(subject.registry))
            ),
        ),
        rules.upstream(subject.registry),
    )


def _stays(found: Standing | None) -> bool:
    """Whether an image is pinned, or a tag is held at it."""
    return found is not None and (bool(found.pinned) or found.held)


def _freshness(
    checked: float | None,
    fresh_until: float | None,
    now: float,
    *,
    unconfirmed: bool,
    offline: bool,
) -> list[str]:
    if checked is None:
        return []
    ago = roughly(max(0.0, now - checked))
    if offline:
        return [f"the tag is {ago} old, and is served without asking: its registry is offline"]
    if unconfirmed:
        return [f"the tag is {ago} old, and the next pull asks the registry first"]
    said = [f"the registry confirmed the tag {ago} ago"]
    if fresh_until is not None and fresh_until > now:
        said.append(f"it is served without asking for another {roughly(fresh_until - now)}")
    elif fresh_until is not None:
        said.append("it is not fresh any more: the next pull asks the registry")
    return said


def _keeping(
    found: Standing | None,
    expires: float | None,
    now: float,
    *,
    forever: bool,
    limited: bool | None,
) -> list[str]:
    if found is None:
        return ["its manifest is not stored"]
    image, said = found.image, []
    if image.used is not None:
        said.append(f"it was last used {roughly(max(0.0, now - image.used))} ago")
    if not image.complete:
        said.append(f"{image.stored_blobs} of its {image.blobs} blobs are stored")
    if found.pinned:
        return [*said, f"it is pinned {' and '.join(found.pinned)}: it is never evicted"]
    if found.held:
        return [*said, "a tag is held at it: it is never evicted"]
    if forever:
        return [*said, "images of this registry are kept for ever"]
    if expires is not None:
        left = expires - now
        said.append(
            f"if it is not used, it is removed in {roughly(left)}"
            if left > 0
            else "it has not been used for so long that the next sweep removes it"
        )
    if limited is not False and found.queue is not None:
        when = "if room is needed" if limited else "if there is a limit and room is needed"
        ahead = found.ahead or 0
        others = {0: "no image comes", 1: "1 image comes"}.get(ahead, f"{ahead} images come")
        said.append(f"{when}, {others} before it in the {found.queue} queue")
    return said


def _biases(found: Standing, *, scarce: bool) -> list[str]:
    """Return sentences about rules that delay its eviction."""
    said = []
    if found.newest:
        tags = "the newest tag" if found.newest == 1 else f"one of the {found.newest} newest tags"
        said.append(f"it has {tags} of its repository: images without one are evicted first")
    if scarce and found.queue == QUEUES[PROBATION]:
        said.append(
            "little is left of the rate limit of its registry: until that changes, "
            "it is not evicted on probation"
        )
    return said
