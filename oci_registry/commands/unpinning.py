"""``oci-registry unpin``: pinned images are evicted as all others again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser
from oci_registry.commands.output import Output
from oci_registry.commands.pinning import change
from oci_registry.commands.sources import IMAGE, STATUSES, read_options


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "unpin",
        "Evict an image as all others again. In a directory, no daemon may run meanwhile.",
        STATUSES,
    )
    made.add_argument("image", nargs="+", help=IMAGE)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    return change(read_options(parser(), args, environ, output), pinned=False)
