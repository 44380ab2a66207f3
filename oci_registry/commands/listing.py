"""``oci-registry ls``: which images are stored."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, UsageProblem
from oci_registry.commands.running import now
from oci_registry.commands.sources import STATUSES, Asked, read_options
from oci_registry.commands.tables import NONE, Column, ago, print_rows, size_of
from oci_registry.config.names import parse_namespace
from oci_registry.management.answers import ImagePage, StoredImage
from oci_registry.management.source import MOST, Order, Source, Wanted
from oci_registry.spec.errors import RegistryError

COLUMNS = (
    Column("IMAGE"),
    Column("DIGEST"),
    Column("PLATFORMS"),
    Column("SIZE", right=True),
    Column("UNIQUE", right=True),
    Column("BLOBS", right=True),
    Column("STORED", right=True),
    Column("USED", right=True),
    Column("PULLS", right=True),
    Column("PINNED"),
)
_PAGE = 200
"""The number of images that are requested at once."""
_WILD = frozenset("*?[")


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "ls",
        "List the stored images. A running daemon answers.",
        STATUSES,
    )
    made.add_argument(
        "image",
        nargs="*",
        help="only these: a name with or without a tag, or a pattern with * and ? (default: all)",
    )
    made.add_argument("--registry", metavar="HOST", help="only images of this registry")
    made.add_argument(
        "--sort",
        choices=[order.value for order in Order],
        default=Order.NAME.value,
        help="by name, size (largest first), use (latest first) or age (oldest first); default name",
    )
    made.add_argument("--reverse", action="store_true", help="in the opposite order; not by name")
    made.add_argument(
        "--limit",
        metavar="N",
        type=int,
        help=f"at most N images; default: all by name, else {MOST}, which is the most there",
    )
    made.add_argument("--quiet", action="store_true", help="print names only")
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    wanted = _wanted(asked)
    with asked.reading() as source:
        pages = _pages(source, wanted, asked.options.limit)
        if output.json:
            return _print_json(pages, output)
        for page in pages:
            if asked.options.quiet:
                for image in page.images:
                    output.line(image.name)
            elif page.images:
                print_rows(output, COLUMNS, [_row(image) for image in page.images])
            _warn(page, output)
    return DONE


def _wanted(asked: Asked) -> Wanted:
    options = asked.options
    order = Order(options.sort)
    if options.limit is not None and options.limit < 1:
        raise UsageProblem("--limit: must be at least 1")
    if options.reverse and order is Order.NAME:
        raise UsageProblem("--reverse needs --sort size, use or age")
    if order is not Order.NAME and (options.limit or 0) > MOST:
        raise UsageProblem(f"--limit: at most {MOST} with --sort {order.value}")
    registry = None
    if options.registry is not None:
        try:
            registry = parse_namespace(options.registry)
        except ValueError as error:
            raise UsageProblem(f"--registry: {error}") from None
    patterns = tuple(_pattern(asked, text) for text in options.image)
    # With small pages, the first images appear soon, and no answer takes long.
    limit = min(options.limit or MOST, _PAGE if order is Order.NAME else MOST)
    return Wanted(patterns, registry, order, options.reverse, limit)


def _pattern(asked: Asked, text: str) -> str:
    """Return the pattern for an argument: unchanged, or the full name of an image."""
    if not _WILD.isdisjoint(text):
        return text
    try:
        name = asked.common.naming.parse(text)
    except RegistryError:
        # Such as the name of an image without a known repository.
        return str(asked.subject(text))
    plain = name.tag is None and name.digest is None
    return name.base if plain else str(name if name.digest is None else evolve(name, tag=None))


def _pages(source: Source, wanted: Wanted, limit: int | None) -> Iterator[ImagePage]:
    left = limit
    while True:
        limit = wanted.limit if left is None else min(left, wanted.limit)
        page = now(source.list(evolve(wanted, limit=limit)))
        yield page
        if left is not None:
            left -= len(page.images)
        if page.next is None or left == 0:
            return
        wanted = evolve(wanted, after=page.next)


def _print_json(pages: Iterator[ImagePage], output: Output) -> int:
    """Print one document piece by piece, since there may be many images."""
    print('{\n  "images": [', end="", file=output.out)
    separator = "\n    "
    for page in pages:
        for image in page.images:
            print(f"{separator}{json.dumps(image.to_json())}", end="", file=output.out)
            separator = ",\n    "
        _warn(page, output)
    print(f'\n  ],\n  "problems": {json.dumps(output.problems)}\n}}', file=output.out)
    return DONE


def _warn(page: ImagePage, output: Output) -> None:
    if not page.whole and page.next is None:
        output.note("the index of the store is being built: there may be more images")


def _row(image: StoredImage) -> list[str]:
    count = f"{image.stored_blobs}/{image.blobs}"
    return [
        image.name,
        image.digest.partition(":")[2][:12],
        ",".join(image.platforms) or NONE,
        size_of(image.size),
        size_of(image.unique),
        count if image.complete else f"{count} incomplete",
        ago(image.added),
        ago(image.used),
        NONE if image.pulls is None else str(image.pulls),
        "pinned" if image.pinned else NONE,
    ]
