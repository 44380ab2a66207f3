"""``oci-registry import``: the images of bundles into the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import Factory, define, frozen

from oci_registry.commands.bundle import Bundle, read_bundle
from oci_registry.commands.contents import NamedImage, walk
from oci_registry.commands.layout import IndexEntry
from oci_registry.commands.options import CommandParser, Naming, parse
from oci_registry.commands.output import Output, counted, some
from oci_registry.commands.problems import DONE, FAILED, CommandFailed, UsageProblem
from oci_registry.commands.referring import lists_with, with_referrers
from oci_registry.commands.store import CommandStore, Exclusive, tag_place
from oci_registry.pullthrough.tag_policy import sightings_of
from oci_registry.spec.contents import Child, Unreadable
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError, shown
from oci_registry.spec.image import LATEST, ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.units import in_bytes
from oci_registry.storage.keys import blob_key, manifest_key, referrers_key
from oci_registry.storage.referrers import LARGEST
from oci_registry.storage.tags import TagRecord


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "import",
        "Store the images of bundles, made by export or by other tools (OCI image layout in a tar "
        "archive, plain or compressed with zstd or gzip). All of a bundle is verified before "
        "anything of it is stored. In a directory, no daemon may run meanwhile.",
    )
    made.add_argument("bundle", nargs="+", help="a file; several are imported in this order")
    made.add_argument(
        "--as",
        dest="name",
        metavar="IMAGE",
        help="the name of the image, if the bundle has no full name; without a tag, the bundle's tags "
        "are used",
    )
    return made


@frozen
class _Found:
    """A bundle on top of a store, as a `Shelf`."""

    bundle: Bundle
    store: CommandStore

    def find(self, digest: Digest) -> Manifest | None:
        """Return a manifest of the bundle, or None."""
        return self.bundle.find(digest)

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is in the bundle or in the store, with the size that the manifest states."""
        size = self.bundle.sizes.get(blob.digest)
        if size is None:
            size = self.store.size(blob.digest)
        return size is not None and blob.size in (None, size)


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    options, common = parse(parser(), args, environ)
    output.json = common.json
    for warning in common.warnings:
        output.note(warning)
    given = None
    if options.name is not None:
        try:
            given = common.naming.parse(options.name)
        except RegistryError as error:
            raise UsageProblem(f"--as: {error.message}") from None
        if given.digest is not None:
            raise UsageProblem("--as: give a tag and no digest, which the bundle has")
    for path in options.bundle:
        # Before anything is locked or created.
        with open(path, "rb"):
            pass
    with Exclusive(common.storage) as store:
        imported = [_import(path, given, common.naming, store, output) for path in options.bundle]
    output.finish({"bundles": imported})
    return FAILED if output.problems else DONE


def _import(
    path: str, given: ImageName | None, naming: Naming, store: CommandStore, output: Output
) -> dict[str, object]:
    """Import one bundle completely, or raise `CommandFailed` and undo everything."""
    room = _Room(path, store)
    bundle = read_bundle(path, room.admit)
    found = _Found(bundle, store)
    images = [_image(found, entry, given, naming) for entry in bundle.images]
    if len({str(image.name) for image in images}) < len(images):
        raise CommandFailed(
            f"{path}: several of its images get the same name: give --as without a tag"
        )
    missing = [
        f"{image.name} needs {some(contents.missing)}"
        for image in images
        for contents in image.all_contents()
        if contents.missing
    ]
    if missing:
        raise CommandFailed(
            *(f"{path}: {each}, neither in it nor in the store" for each in missing),
            "nothing is imported: if the bundle was made with --since, import the earlier bundle first",
        )
    written = _Writing(store, output)
    try:
        return written.all_of(bundle, images, room.new)
    except BaseException:
        written.undo()
        raise


@define
class _Room:
    """Which content is new to the store, and whether there is room for it."""

    path: str
    store: CommandStore
    new: dict[Digest, int] = Factory(dict)
    _free: int | None = None
    _needed: int = 0

    def __attrs_post_init__(self) -> None:
        self._free = self.store.free()

    def admit(self, digest: Digest, size: int) -> None:
        """Count content; raise `CommandFailed` if there is no room for it."""
        if self.store.has_verified(digest, size):
            return
        self.new[digest] = size
        self._needed += size
        if self._free is not None and self._needed > self._free:
            raise CommandFailed(
                f"{self.path}: it needs more than the {in_bytes(self._free)} that are free in the store"
            )


def _image(found: _Found, entry: IndexEntry, given: ImageName | None, naming: Naming) -> NamedImage:
    path, digest = found.bundle.path, entry.descriptor.digest
    top = found.find(digest)
    assert top is not None
    try:
        name = _name(entry, given, naming, len(found.bundle.images))
        in_bundle = found.bundle.sizes

        def is_there(child: Child) -> bool:
            return child.descriptor.digest in in_bundle

        contents = walk(found, top, is_there)
        image = with_referrers(found.bundle, found, NamedImage(name, top, contents))
    except (RegistryError, Unreadable) as error:
        raise CommandFailed(f"{path}: {error}") from None
    return image


def _name(entry: IndexEntry, given: ImageName | None, naming: Naming, images: int) -> ImageName:
    """Return the name of an image: the given one, else the full name in the bundle."""
    if given is not None:
        if given.tag is not None:
            if images > 1:
                raise CommandFailed(
                    f"--as {given}: the bundle has {images} images: give the name without a tag"
                )
            return given
        full = _full_name(entry, naming)
        if full is not None:
            return given.tagged(LATEST if full.tag is None else full.tag.name)
        return given.tagged(entry.ref_name or LATEST)
    full = _full_name(entry, naming)
    if full is not None and full.digest is not None:
        return ImageName(full.registry, full.repository, None, entry.descriptor.digest)
    if full is not None:
        return full if full.tag is not None else full.tagged(LATEST)
    called = "no name" if entry.ref_name is None else f"only the name {shown(entry.ref_name)}"
    raise CommandFailed(
        f"the image {entry.descriptor.digest} has {called}: give its full name with --as"
    )


def _full_name(entry: IndexEntry, naming: Naming) -> ImageName | None:
    """Return the full name in the bundle, if there is one; a name without a slash may be just a tag."""
    for text in (entry.full_name, entry.ref_name):
        if text is not None and "/" in text:
            return naming.parse(text)
    return None


@define
class _Writing:
    """Writes a bundle into the store, and can undo that."""

    store: CommandStore
    output: Output
    _undo: list[Callable[[], None]] = Factory(list)

    def undo(self) -> None:
        """Remove everything that was written, and restore the previous state."""
        self.output.progress.end()
        for undo in reversed(self._undo):
            undo()

    def all_of(
        self, bundle: Bundle, images: Sequence[NamedImage], new: Mapping[Digest, int]
    ) -> dict[str, object]:
        """Store blobs, then manifests, then tags, so that nothing refers to missing content."""
        needed = {
            digest
            for image in images
            for contents in image.all_contents()
            for digest in contents.blobs
        }
        blobs = {digest: size for digest, size in new.items() if digest in needed}
        self.output.progress.begin("import", sum(blobs.values()))
        for digest, size, pieces in bundle.blobs():
            if digest in blobs:
                write = partial(self.store.add_blob, digest, size, pieces)
                self._add(blob_key(digest), write)
                self.output.progress.advance(size)
        self.output.progress.end()
        for image in images:
            for contents in image.all_contents():
                for manifest in reversed(contents.manifests.values()):
                    self._add_manifest(image.name, manifest)
            self._add_referrers(image)
        done = [self._tag(image) for image in images]
        total = sum(blobs.values())
        self.output.line(
            f"{bundle.path}: {counted(len(images), 'image')}, {counted(len(blobs), 'new blob')} "
            f"({in_bytes(total)})"
        )
        return {"bundle": bundle.path, "images": done, "blobs": len(blobs), "bytes": total}

    def _add(self, key: str, write: Callable[[], None]) -> None:
        write()
        self._undo.append(lambda: self.store.remove(key))

    def _add_manifest(self, image: ImageName, manifest: Manifest) -> None:
        registry = image.registry
        try:
            known = self.store.manifest(registry, manifest.digest) is not None
        except CommandFailed:
            # It is corrupt, so it is replaced.
            known = False
        key = manifest_key(registry, manifest.digest)
        if known:
            self.store.used(key)
        else:
            write = partial(self.store.add_manifest, registry, manifest, image.repository)
            self._add(key, write)

    def _add_referrers(self, image: NamedImage) -> None:
        """Add the referrers of an image to the lists of their subjects."""
        host, repository = image.name.registry, image.name.repository
        for subject, (before, after) in lists_with(self.store, image).items():
            if after.to_stored() is None:
                self.output.problem(
                    f"{image.name}: the referrers of {subject} are not listed: the list would have more than "
                    f"{LARGEST >> 20} MiB"
                )
                continue
            write = partial(self.store.add_referrers, host, repository, subject)
            if before is None:
                self._add(referrers_key(host, repository, subject), partial(write, after))
            else:
                write(after)
                self._undo.append(partial(write, before))

    def _point(self, name: ImageName, top: Manifest, before: TagRecord | None) -> None:
        """Let a tag name a manifest; *before* is its previous record."""
        seconds = self.store.clock.seconds()
        record = TagRecord(top.digest, top.media_type, seconds, imported=True, first=seconds)
        if before is None:
            self._add(tag_place(name), lambda: self.store.add_tag(name, record))
        else:
            self.store.add_tag(name, record)
            self._undo.append(lambda: self.store.add_tag(name, before))
            self.store.add_history(name, (*sightings_of(before), *sightings_of(record)))

    def _tag(self, image: NamedImage) -> dict[str, object]:
        """Store the record of the tag, unless it is the same already."""
        name, top, before = image.name, image.top, None
        if name.digest is None:
            record = self.store.tag(name)
            if record is None or record.digest != top.digest:
                self._point(name, top, record)
                before = None if record is None else str(record.digest)
        moved = "" if before is None else f", before {before}"
        absent = image.contents.absent
        without = f", without {some(absent)}" if absent else ""
        of = f" ({', '.join(image.contents.platforms)})" if image.contents.platforms else ""
        count = len(image.referrers)
        artifacts = f", with {counted(count, 'referrer')}" if count else ""
        self.output.line(f"{name} {top.digest}{of}{without}{artifacts}{moved}")
        image.say_elsewhere(self.output.note)
        return {
            "name": str(name),
            "digest": str(top.digest),
            "platforms": image.contents.platforms,
            "absent": absent,
            "referrers": count,
            "before": before,
        }
