"""``oci-registry du``: how much is stored, by registry and repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser
from oci_registry.commands.output import Output, counted
from oci_registry.commands.problems import DONE
from oci_registry.commands.running import now
from oci_registry.commands.sources import STATUSES, read_options
from oci_registry.commands.tables import Column, print_rows, size_of
from oci_registry.management.answers import RepositoryUse
from oci_registry.spec.units import in_bytes

COLUMNS = (
    Column("REPOSITORY"),
    Column("UNIQUE", right=True),
    Column("SHARED", right=True),
    Column("IMAGES", right=True),
    Column("MANIFESTS", right=True),
    Column("BLOBS", right=True),
)
UNKNOWN = "(pulled by digest)"


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = CommandParser(
        "du",
        "Show how much is stored by registry and repository, the largest first: what only one of them "
        "needs, and what others need too. A daemon may run meanwhile.",
        STATUSES,
    )
    made.add_argument(
        "--registries", action="store_true", help="by registry only, in place of repositories"
    )
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    with asked.reading() as source:
        use = now(source.du())
    by_registry = asked.options.registries
    rows = [
        _row(one, by_registry=by_registry)
        for one in (use.registries if by_registry else use.repositories)
    ]
    if rows:
        print_rows(output, COLUMNS, rows)
    free = "" if use.free is None else f", {in_bytes(use.free)} free"
    output.line(
        f"{in_bytes(use.size)} in {counted(use.blobs, 'blob')} and "
        f"{counted(use.manifests, 'manifest')}, {in_bytes(use.unnamed_size)} in "
        f"{counted(use.unnamed_blobs, 'blob')} that no manifest names{free}"
    )
    if not use.whole:
        output.note("the index of the store is being built: there may be more")
    output.finish(use.to_json())
    return DONE


def _row(one: RepositoryUse, *, by_registry: bool) -> list[str]:
    where = "" if by_registry else f"/{one.repository or UNKNOWN}"
    numbers = (one.images, one.manifests, one.blobs)
    return [
        f"{one.registry}{where}",
        size_of(one.unique),
        size_of(one.shared),
        *map(str, numbers),
    ]
