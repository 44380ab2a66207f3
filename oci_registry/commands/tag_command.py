"""What the commands on one tag have in common: history, hold, release, rollback and adopt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from oci_registry.commands.options import CommandParser, Naming, parse
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, CommandFailed, UsageProblem
from oci_registry.commands.running import now
from oci_registry.commands.store import CommandStore, Exclusive, readable
from oci_registry.pullthrough.tag_control import (
    LONG_AGO,
    NotPossible,
    TagControl,
    TagStatus,
    shown_time,
)
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import LATEST, ImageName

Ask = Callable[[TagControl, tuple[str, str, str], Digest | None], Awaitable[TagStatus]]
"""Asks for something about a tag: its registry, repository and name, and a digest if one is given."""


@frozen
class TagCommand:
    """A command on one tag. *reads*: it changes nothing. *digest*: a digest may be given."""

    name: str
    description: str
    ask: Ask
    reads: bool = False
    digest: bool = False

    def parser(self) -> CommandParser:
        """Return the parser of the command line."""
        where = (
            "A daemon may run meanwhile."
            if self.reads
            else "In a directory, no daemon may run meanwhile."
        )
        made = CommandParser(self.name, f"{self.description} No registry is asked. {where}")
        example = "x:1, quay.io/a/b:1" + (", x:1@sha256:..." if self.digest else "")
        made.add_argument("image", help=f"{example}; without a tag: latest")
        return made

    def run(self, args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
        """Run the command; return the exit status."""
        options, common = parse(self.parser(), args, environ)
        output.json = common.json
        for warning in common.warnings:
            output.note(warning)
        image = self._image(options.image, common.naming)
        if self.reads:
            status = self._ask(readable(common.storage), image)
        else:
            with Exclusive(common.storage) as store:
                status = self._ask(store, image)
        name = image.tagged(str(image.tag or LATEST))
        for line in lines(status):
            output.line(line)
        output.finish({"name": str(name), **status.to_json()})
        return DONE

    def _image(self, text: str, naming: Naming) -> ImageName:
        try:
            image = naming.parse(text)
        except RegistryError as error:
            raise UsageProblem(error.message) from None
        if image.digest is not None and not self.digest:
            raise UsageProblem(f"{self.name} takes a tag without a digest")
        if image.digest is not None and image.tag is None:
            raise UsageProblem(f"{text}: give the tag too (IMAGE:TAG@DIGEST)")
        return image

    def _ask(self, store: CommandStore, image: ImageName) -> TagStatus:
        names = (image.registry, image.repository, str(image.tag or LATEST))
        try:
            return now(self.ask(store.control(), names, image.digest))
        except (RegistryError, NotPossible) as error:
            raise CommandFailed(str(error)) from None


def lines(status: TagStatus) -> list[str]:
    """Return a status as lines: what is served and why, then the history, the digest last named first."""
    told = [f"serves {status.digest or 'nothing: no manifest is stored'}"]
    if status.hold is not None:
        told.append(f"held since {shown_time(status.hold.since)}")
    waiting = None if status.record is None else status.record.waiting
    if waiting is not None:
        when = (
            "is adopted with the next pull"
            if waiting.since == LONG_AGO
            else f"since {shown_time(waiting.since)}"
        )
        told.append(f"waiting {waiting.digest} {when}")
    for one in status.history.sightings:
        adopted = "" if one.adopted else ", never served"
        told.append(
            f"{one.digest} first seen {shown_time(one.first)}, "
            f"last confirmed {shown_time(one.last)}{adopted}"
        )
    return told
