"""``oci-registry setup CLIENT --remove DIRECTORY`` removes what was written below a directory."""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser
from collections.abc import Collection, Sequence
from typing import TextIO

from oci_registry.setup.nouns import Unusable
from oci_registry.setup.removal import RecordedTree
from oci_registry.spec.errors import shown

REMOVE = "--remove"


def wants_removal(args: Sequence[str]) -> bool:
    """Whether the arguments of setup ask for a removal."""
    return any(each.partition("=")[0] == REMOVE for each in args)


def remove(args: Sequence[str], clients: Collection[str], out: TextIO) -> list[str]:
    """Remove what setup has written; return the problems, a sentence each.

    The results go to ``out``. It ends at the first file that cannot be removed.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("client", nargs="?")
    parser.add_argument(REMOVE)
    try:
        options, others = parser.parse_known_args(args)
    except ArgumentError as error:
        return [str(error)]
    problems = []
    if others:
        problems.append(
            f"{REMOVE}: takes a client and no other option: {' '.join(map(shown, others))}"
        )
    if not options.remove.strip():
        problems.append(f"{REMOVE}: is empty")
    if options.client not in clients:
        problems.append(f"the client: {unknown_client(options.client, clients)}")
    if problems:
        return problems
    tree = RecordedTree(options.remove, options.client)
    removed = 0
    try:
        for each in tree.undo():
            print(f"{each.place}: {each.outcome}", file=out)
            removed += 1
    except Unusable as error:
        return [f"{tree.place(error.path)}: {error.reason}"]
    if not removed:
        print("there is nothing to remove", file=out)
    return []


def unknown_client(name: str | None, clients: Collection[str]) -> str:
    """Return the problem of an unknown client."""
    named = "is missing" if name is None else f"{shown(name)} is not known"
    return f"{named}; known: {', '.join(clients)}"
