"""``oci-registry why``: how fresh an image is, and why it is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, NOT_FOUND
from oci_registry.commands.rules import add_rules, rules_of
from oci_registry.commands.running import now
from oci_registry.commands.sources import IMAGE, STATUSES, read_options
from oci_registry.commands.tables import date
from oci_registry.management.answers import Why
from oci_registry.spec.texts import escaped


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "why",
        "Say what is cached of an image, how fresh it is, and why it is kept or when it would be removed. "
        "A daemon may run meanwhile.",
        STATUSES,
    )
    made.add_argument("image", help=IMAGE)
    add_rules(made)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    image = asked.subject(asked.options.image)
    with asked.reading(rules_of(asked, environ)) as source:
        why = now(source.why(image))
    for line in _lines(why):
        output.line(escaped(line))
    if why.digest is None:
        output.problem(f"{why.name} is not stored")
    output.finish(why.to_json())
    return DONE if why.image is not None else NOT_FOUND


def _lines(why: Why) -> list[str]:
    if why.digest is None:
        return []
    lines = [why.name, f"  digest: {why.digest}"]
    if why.checked is not None:
        lines.append(f"  confirmed: {date(why.checked)}")
    if why.fresh_until is not None:
        lines.append(f"  fresh until: {date(why.fresh_until)}")
    if why.expires is not None:
        lines.append(f"  expires: {date(why.expires)}")
    return [*lines, *(f"  {reason}" for reason in why.reasons)]
