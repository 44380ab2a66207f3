"""``oci-registry show``: what is stored of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE
from oci_registry.commands.running import now
from oci_registry.commands.sources import IMAGE, STATUSES, read_options
from oci_registry.commands.tables import NONE, date, size_of
from oci_registry.management.answers import ImageDetails, ShownManifest
from oci_registry.spec.texts import escaped


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "show",
        "Show what is stored of an image: its manifests, its blobs, and which images share them. A daemon "
        "may run meanwhile.",
        STATUSES,
    )
    made.add_argument("image", help=IMAGE)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    image = asked.subject(asked.options.image)
    with asked.reading() as source:
        details = now(source.show(image))
    for line in _lines(details):
        output.line(escaped(line))
    output.finish(details.to_json())
    return DONE


def _lines(details: ImageDetails) -> list[str]:
    image = details.image
    pulls = NONE if image.pulls is None else str(image.pulls)
    state = "complete" if image.complete else "incomplete"
    lines = [
        image.name,
        f"  digest: {image.digest}",
        f"  type: {image.media_type or NONE}",
        f"  size: {size_of(image.size)}, {size_of(image.unique)} of it unique",
        f"  blobs: {image.stored_blobs} of {image.blobs}, {state}",
        f"  stored: {date(image.added)}",
        f"  last used: {date(image.used)}",
        f"  pulls: {pulls}",
        f"  pinned: {'yes' if image.pinned else 'no'}",
        f"  tags: {', '.join(details.tags) or NONE}",
        f"  shares with: {', '.join(details.shared_with) or NONE}",
    ]
    return [*lines, *_manifest(details.manifest, "  ")]


def _manifest(manifest: ShownManifest, indent: str) -> list[str]:
    of = f" {manifest.platform}" if manifest.platform else ""
    stored = size_of(manifest.size) if manifest.stored else "not stored"
    problem = f", {manifest.problem}" if manifest.problem else ""
    lines = [f"{indent}manifest {manifest.digest}{of}: {stored}{problem}"]
    for blob in manifest.blobs:
        size = size_of(blob.stored_size if blob.stored else blob.size)
        state = "" if blob.stored else ", not stored"
        shared = f", in {blob.named_by} manifests" if blob.named_by > 1 else ""
        lines.append(f"{indent}  blob {blob.digest}: {size}{state}{shared}")
    for child in manifest.manifests:
        lines += _manifest(child, indent + "  ")
    return lines
