"""``oci-registry export``: stored images as a bundle, an OCI image layout in a tar archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from oci_registry.commands.compression import new_file, opened
from oci_registry.commands.contents import (
    NamedImage,
    Wanted,
    chosen,
    every,
    walk,
)
from oci_registry.commands.layout import (
    BLOBS,
    INDEX,
    LAYOUT,
    MARK,
    blob_name,
    index_of,
    parse_blob_name,
)
from oci_registry.commands.options import CommandParser, parse
from oci_registry.commands.output import Output, counted, some
from oci_registry.commands.problems import DONE, FAILED, CommandFailed, UsageProblem
from oci_registry.commands.referring import find_referrers
from oci_registry.commands.store import CommandStore, WrongContent, readable
from oci_registry.commands.tar_reader import TarError, TarReader
from oci_registry.commands.tar_writer import TarWriter
from oci_registry.spec.contents import Unreadable
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import ImageName
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.platforms import Platform
from oci_registry.spec.reference import Tag
from oci_registry.spec.units import in_bytes

STORED = "stored"
"""A value in place of platforms: those that are stored completely."""
EMPTY = b"{}"
"""The empty config of artifacts, which clients know and do not request."""


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "export",
        "Write stored images to a bundle: an OCI image layout in a tar archive. Nothing is asked of "
        "any registry. A daemon may run meanwhile.",
    )
    made.add_argument("image", nargs="+", help="docker.io/library/x:1, x:1, quay.io/a/b@sha256:...")
    made.add_argument(
        "-o", "--output", metavar="FILE", required=True, help="the bundle: NAME.tar or NAME.tar.zst"
    )
    made.add_argument(
        "--platform",
        metavar="PLATFORM",
        action="append",
        default=[],
        help="export this platform (linux/amd64) of images that have several, or those that are stored "
        "completely (stored); repeatable; default: all",
    )
    made.add_argument(
        "--since",
        metavar="BUNDLE",
        action="append",
        default=[],
        help="leave out blobs that this earlier bundle has; repeatable",
    )
    made.add_argument(
        "--referrers",
        action="store_true",
        help="also export the signatures, SBOMs and other artifacts that refer to the images, as far as "
        "they are stored",
    )
    made.add_argument(
        "--skip-incomplete",
        action="store_true",
        help="leave out images that are not stored completely, in place of exporting nothing",
    )
    return made


@frozen
class _Stored:
    """The manifests of a registry and the blobs of a store, as a `Shelf`."""

    store: CommandStore
    registry: str
    sizes: dict[Digest, int] = field(factory=dict)

    def find(self, digest: Digest) -> Manifest | None:
        """Return a manifest, or None."""
        return self.store.manifest(self.registry, digest)

    def has(self, blob: Descriptor) -> bool:
        """Whether a blob is stored, with the size that the manifest states."""
        size = self.store.size(blob.digest)
        if size is None and blob.digest == Digest.of(EMPTY):
            size = len(EMPTY)
        if size is None or blob.size not in (None, size):
            return False
        self.sizes[blob.digest] = size
        return True


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    options, common = parse(parser(), args, environ)
    output.json = common.json
    for warning in common.warnings:
        output.note(warning)
    names = sorted({common.naming.wanted(text) for text in options.image}, key=str)
    wanted, partly = _platforms(options.platform)
    store = readable(common.storage)
    sizes: dict[Digest, int] = {}
    images = []
    for name in names:
        try:
            image = _find(store, name, wanted, partly, sizes)
            if options.referrers:
                image = _with_referrers(store, image, sizes, output)
            images.append(image)
        except (Unreadable, WrongContent) as error:
            output.problem(f"{name}: {error}")
        except CommandFailed as error:
            output.problem(str(error))
    if not images or (output.problems and not options.skip_incomplete):
        output.note("nothing is exported")
        output.finish({"bundle": None, "images": []})
        return FAILED
    earlier = {digest for path in options.since for digest in _blobs_in(path)}
    document = _write(options.output, store, images, sizes, earlier, output, partly=partly)
    output.finish(document)
    return FAILED if output.problems else DONE


def _platforms(texts: Sequence[str]) -> tuple[Wanted, bool]:
    """Return which manifests of an index are wanted, and whether incomplete ones are left out."""
    if STORED in texts:
        if len(texts) > 1:
            raise UsageProblem(f"--platform {STORED} cannot be combined with other platforms")
        return every, True
    try:
        platforms = tuple(Platform.parse(text) for text in texts)
    except ValueError as error:
        raise UsageProblem(f"--platform: {error}") from None
    return (chosen(platforms) if platforms else every), False


def _find(
    store: CommandStore,
    name: ImageName,
    wanted: Wanted,
    partly: bool,
    sizes: dict[Digest, int],
) -> NamedImage:
    """Return an image with its contents; raise `CommandFailed` if anything is missing."""
    digest = name.reference
    if isinstance(digest, Tag):
        record = store.tag(name)
        if record is None:
            raise CommandFailed(f"{name} is not stored")
        digest = record.digest
    top = store.manifest(name.registry, digest)
    if top is None:
        raise CommandFailed(f"{name} is not stored: its manifest {digest} is missing")
    contents = walk(_Stored(store, name.registry, sizes), top, wanted, partly=partly)
    if contents.missing:
        hint = ""
        if not partly and any("manifest" in each for each in contents.missing):
            hint = f"; --platform {STORED} exports the platforms that are complete"
        raise CommandFailed(f"{name} is incomplete: {some(contents.missing)} is missing{hint}")
    return NamedImage(name, top, contents)


def _with_referrers(
    store: CommandStore, image: NamedImage, sizes: dict[Digest, int], output: Output
) -> NamedImage:
    """Return an image with the stored artifacts that refer to it."""
    found = find_referrers(store, _Stored(store, image.name.registry, sizes), image)
    if found.absent:
        output.note(
            f"{image.name}: {counted(found.absent, 'referrer')} left out, which "
            f"{'is' if found.absent == 1 else 'are'} not stored completely"
        )
    return evolve(image, referrers=found.contents)


def _blobs_in(path: str) -> Iterator[Digest]:
    """Yield the digests in an earlier bundle, from the names of its files."""
    try:
        with opened(path) as (file, seekable):
            for member in TarReader(file, seekable=seekable):
                digest = parse_blob_name(member.name)
                if digest is not None:
                    yield digest
    except TarError as error:
        raise CommandFailed(f"--since {path}: {error}") from None


def _write(
    path: str,
    store: CommandStore,
    images: Sequence[NamedImage],
    sizes: Mapping[Digest, int],
    earlier: set[Digest],
    output: Output,
    *,
    partly: bool,
) -> dict[str, object]:
    """Write the bundle, and return its content. An incomplete file is removed.

    *partly*: incomplete images were left out.
    """
    referrers = _referrers_of(images)
    parts = [contents for image in images for contents in image.all_contents()]
    manifests: dict[Digest, Manifest] = {}
    for contents in parts:
        manifests |= contents.manifests
    blobs = sorted({digest for contents in parts for digest in contents.blobs}, key=str)
    blobs = [digest for digest in blobs if digest not in manifests]
    kept = [digest for digest in blobs if digest not in earlier]
    total = sum(sizes[digest] for digest in kept)
    with new_file(path) as sink:
        tar = TarWriter(sink)
        tar.file(MARK, len(LAYOUT), iter([LAYOUT]))
        index = index_of([(image.name, image.top) for image in images], referrers)
        tar.file(INDEX, len(index), iter([index]))
        tar.folder(BLOBS)
        for algorithm in sorted({digest.algorithm for digest in (*manifests, *kept)}):
            tar.folder(f"{BLOBS}/{algorithm}")
        # Manifests first, so that an import knows from the start what each member is.
        for digest, manifest in manifests.items():
            tar.file(blob_name(digest), len(manifest.raw), iter([manifest.raw]))
        output.progress.begin("export", total)
        for digest in kept:
            pieces = _watched(_bytes_of(store, digest), output)
            tar.file(blob_name(digest), sizes[digest], pieces)
        output.progress.end()
        tar.end()
    for image in images:
        output.line(_described(image, partly=partly))
        image.say_elsewhere(output.note)
    left = f", {counted(len(blobs) - len(kept), 'blob')} left out" if len(kept) < len(blobs) else ""
    output.line(
        f"{path}: {counted(len(images), 'image')}, {counted(len(kept), 'blob')} "
        f"({in_bytes(total)}){left}"
    )
    return {
        "bundle": path,
        "images": [
            {
                "name": str(image.name),
                "digest": str(image.top.digest),
                "platforms": image.contents.platforms,
                "referrers": len(image.referrers),
            }
            for image in images
        ],
        "blobs": len(kept),
        "bytes": total,
        "left_out": len(blobs) - len(kept),
    }


def _referrers_of(images: Sequence[NamedImage]) -> list[Manifest]:
    """Return the manifests of the referrers of all images, each once, except those that are images too."""
    tops = {image.top.digest for image in images}
    found: dict[Digest, Manifest] = {}
    for image in images:
        for contents in image.referrers:
            manifest = next(iter(contents.manifests.values()))
            found[manifest.digest] = manifest
    return [found[digest] for digest in sorted(found, key=str) if digest not in tops]


def _bytes_of(store: CommandStore, digest: Digest) -> Iterator[bytes]:
    if digest == Digest.of(EMPTY) and store.size(digest) is None:
        return iter([EMPTY])
    return store.blob(digest)


def _watched(pieces: Iterator[bytes], output: Output) -> Iterator[bytes]:
    for piece in pieces:
        output.progress.advance(len(piece))
        yield piece


def _described(image: NamedImage, *, partly: bool) -> str:
    contents = image.contents
    without = f", without {some(contents.absent)}" if partly and contents.absent else ""
    of = f" ({', '.join(contents.platforms)})" if contents.platforms else ""
    count = len(image.referrers)
    artifacts = f", with {counted(count, 'referrer')}" if count else ""
    return f"{image.name} {image.top.digest}{of}{without}{artifacts}"
