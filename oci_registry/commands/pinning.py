"""``oci-registry pin``: images that are never evicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE
from oci_registry.commands.running import now
from oci_registry.commands.sources import IMAGE, STATUSES, Asked, each_image, read_options
from oci_registry.management.answers import PinChange


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "pin",
        "Never evict an image, whether it is stored yet or not. Without an image: list the pins.",
        STATUSES,
    )
    made.add_argument("image", nargs="*", help=IMAGE)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    if asked.options.image:
        return change(asked, pinned=True)
    with asked.reading() as source:
        pins = now(source.pins())
    for name in pins.pins:
        output.line(name)
    output.finish(pins.to_json())
    return DONE


def change(asked: Asked, *, pinned: bool) -> int:
    """Pin or unpin the images of the command line; return the exit status."""
    # Invalid arguments are refused before anything is pinned.
    subjects = {text: asked.subject(text) for text in dict.fromkeys(asked.options.image)}
    for subject in subjects.values():
        subject.image()
    with asked.changing() as source:

        def one(text: str) -> PinChange:
            work = source.pin if pinned else source.unpin
            changed = now(work(subjects[text]))
            before = "" if changed.changed else "already " if pinned else "already not "
            word = "pinned" if pinned or not changed.changed else "unpinned"
            asked.output.line(f"{changed.name}: {before}{word}")
            return changed

        return each_image(asked, list(subjects), one, "pins")
