"""``oci-registry unpin``: removes the pins of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.pinning import change
from oci_registry.commands.sources import IMAGE, STATUSES, read_options


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "unpin",
        "Evict an image as all others again.",
        STATUSES,
    )
    made.add_argument("image", nargs="+", help=IMAGE)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    return change(read_options(parser(), args, environ, output), pinned=False)
