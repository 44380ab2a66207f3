"""Referrers in bundles: signatures, SBOMs and other artifacts, whose manifests name an image as subject."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from oci_registry.commands.bundle import Bundle
from oci_registry.commands.contents import Contents, NamedImage, Shelf, every, walk
from oci_registry.commands.store import CommandStore, WrongContent
from oci_registry.spec.contents import MOST, Child, Unreadable
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import DigestInvalid
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.referrers import descriptor_of, subject_of
from oci_registry.storage.referrers import KeptReferrers, entries_of, index_of


@frozen
class Found:
    """The referrers of an image that are stored; *absent*: how many others are listed."""

    contents: tuple[Contents, ...]
    absent: int


def find_referrers(store: CommandStore, shelf: Shelf, image: NamedImage) -> Found:
    """Return the referrers of an image, and theirs, from the stored lists.

    Referrers that are listed but not stored completely count as absent. Raises `Unreadable`, and
    `WrongContent` for a corrupt list.
    """
    registry, repository = image.name.registry, image.name.repository
    waiting = list(image.contents.manifests)
    seen = set(waiting)
    found: dict[Digest, Contents] = {}
    absent = 0
    while waiting:
        subject = waiting.pop()
        kept = store.referrers(registry, repository, subject)
        if kept is None and store.has_referrers(registry, repository, subject):
            raise WrongContent(f"the stored list of the referrers of {subject} is corrupt")
        for digest in [] if kept is None else _digests(kept.index):
            if digest in seen:
                continue
            seen.add(digest)
            if len(seen) > MOST:
                raise Unreadable(f"{image.top.digest} has too many referrers")
            manifest = shelf.find(digest)
            if manifest is None or subject_of(manifest) != subject:
                absent += 1
                continue
            contents = walk(shelf, manifest, every)
            if contents.missing:
                absent += 1
                continue
            found[digest] = contents
            waiting.append(digest)
    return Found(tuple(found[digest] for digest in sorted(found, key=str)), absent)


def _digests(index: bytes) -> list[Digest]:
    found = []
    for entry in entries_of(index):
        try:
            found.append(Digest.parse(str(entry.get("digest"))))
        except DigestInvalid:
            continue
    return found


def with_referrers(bundle: Bundle, shelf: Shelf, image: NamedImage) -> NamedImage:
    """Return an image with its referrers in a bundle. Raises `Unreadable`."""
    found: dict[Digest, Contents] = {}
    waiting = list(image.contents.manifests)

    def is_there(child: Child) -> bool:
        return child.descriptor.digest in bundle.sizes

    while waiting:
        for manifest in bundle.referrers.get(waiting.pop(), ()):
            if manifest.digest not in found:
                found[manifest.digest] = walk(shelf, manifest, is_there)
                waiting.append(manifest.digest)
    return evolve(image, referrers=tuple(found.values()))


def lists_with(
    store: CommandStore, image: NamedImage
) -> Mapping[Digest, tuple[KeptReferrers | None, KeptReferrers]]:
    """Return the lists that the referrers of an image change, by subject: before and after."""
    added: dict[Digest, list[Manifest]] = {}
    for contents in image.referrers:
        manifest = next(iter(contents.manifests.values()))
        subject = subject_of(manifest)
        assert subject is not None
        added.setdefault(subject, []).append(manifest)
    changed = {}
    for subject, manifests in added.items():
        before = store.referrers(image.name.registry, image.name.repository, subject)
        entries = [] if before is None else entries_of(before.index)
        known = {str(entry.get("digest")) for entry in entries}
        new = [descriptor_of(one) for one in manifests if str(one.digest) not in known]
        if new:
            after = KeptReferrers(index_of([*entries, *new]), store.clock.seconds())
            changed[subject] = before, after
    return changed
