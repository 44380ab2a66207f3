"""``oci-registry rm``: removes images and blobs from a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from oci_registry.commands.options import CommandParser, DaemonParser
from oci_registry.commands.output import Output, counted
from oci_registry.commands.rules import add_rules, rules_of
from oci_registry.commands.running import now
from oci_registry.commands.sources import IMAGE, STATUSES, each_image, read_options
from oci_registry.management.answers import Removal
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.units import in_bytes


def parser() -> CommandParser:
    """Return the parser of the command line."""
    made = DaemonParser(
        "rm",
        "Remove images from the store. The next pull fetches them again. If a daemon runs, it "
        "removes them itself.",
        STATUSES,
    )
    made.add_argument(
        "image",
        nargs="+",
        help=f"a tag, or a digest with all tags that name it ({IMAGE}); a blob: sha256:...",
    )
    made.add_argument("--blobs", action="store_true", help="also remove what no other image needs")
    add_rules(made)
    return made


def run(args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
    """Run the command; return the exit status."""
    asked = read_options(parser(), args, environ, output)
    subjects = {
        text: _blob(text) or asked.subject(text) for text in dict.fromkeys(asked.options.image)
    }
    with asked.changing(rules_of(asked, environ)) as source:

        def remove(text: str) -> Removal:
            subject = subjects[text]
            if isinstance(subject, Digest):
                removal = now(source.remove_blob(subject))
            else:
                removal = now(source.remove(subject, blobs=asked.options.blobs))
            output.line(f"{subject}: removed {_said(removal)}")
            for digest in removal.kept:
                output.note(f"{digest} is in use and stays")
            return removal

        return each_image(asked, list(subjects), remove, "removed")


def _blob(text: str) -> Digest | None:
    """Return the digest of a blob, if the argument is one."""
    try:
        return Digest.parse(text)
    except RegistryError:
        return None


def _said(removal: Removal) -> str:
    said = [
        counted(len(found), noun)
        for found, noun in (
            (removal.tags, "tag"),
            (removal.manifests, "manifest"),
            (removal.blobs, "blob"),
        )
        if found
    ]
    return f"{', '.join(said) or 'nothing'} ({in_bytes(removal.size)})"
