"""``oci-registry refresh``: the next pull of a tag asks the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser
from oci_registry.commands.output import Output
from oci_registry.commands.running import now
from oci_registry.commands.sources import STATUSES, each_image, read_options
from oci_registry.management.answers import Refreshed


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "refresh",
        "Have the next pull of a tag ask the registry whether it has moved, however fresh it is. In a "
        "directory, no daemon may run meanwhile.",
        STATUSES,
    )
    made.add_argument("image", nargs="+", help="docker.io/library/x:1, x:1")
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    subjects = {text: asked.subject(text) for text in dict.fromkeys(asked.options.image)}
    with asked.changing() as source:

        def refresh(text: str) -> Refreshed:
            refreshed = now(source.refresh(subjects[text]))
            output.line(f"{refreshed.name} is revalidated by the next pull")
            return refreshed

        return each_image(asked, list(subjects), refresh, "refreshed")
