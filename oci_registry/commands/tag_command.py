"""The common part of the commands on one tag: history, hold, release, rollback and adopt."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from attrs import frozen

from oci_registry.admin.answers import TagState
from oci_registry.commands.options import CommandParser, DaemonParser, Naming
from oci_registry.commands.output import Output
from oci_registry.commands.problems import DONE, CommandFailed, UsageProblem
from oci_registry.commands.remote import AdminClient
from oci_registry.commands.running import now
from oci_registry.commands.sources import read_options
from oci_registry.commands.store import CommandStore, Exclusive, readable
from oci_registry.pullthrough.tag_control import NotPossible, TagControl, TagStatus, shown_time
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import LATEST, ImageName
from oci_registry.storage.tags import LONG_AGO

Ask = Callable[[TagControl, tuple[str, str, str], Digest | None], Awaitable[TagStatus]]
"""Queries or changes a tag, given by registry, repository and name, and optionally a digest."""


@frozen
class TagCommand:
    """A command on one tag, with the name of the admin API's route that does the same.

    *reads*: it changes nothing. *digest*: a digest may be given.
    """

    name: str
    description: str
    ask: Ask
    reads: bool = False
    digest: bool = False

    def parser(self) -> CommandParser:
        """Return the parser of the command line."""
        made = DaemonParser(
            self.name, f"{self.description} If a daemon runs on the store, it does this itself."
        )
        example = "x:1, quay.io/a/b:1" + (", x:1@sha256:..." if self.digest else "")
        made.add_argument("image", help=f"{example}; without a tag: latest")
        return made

    def run(self, args: Sequence[str], environ: Mapping[str, str], output: Output) -> int:
        """Run the command; return the exit status."""
        asked = read_options(self.parser(), args, environ, output)
        image = self._image(asked.options.image, asked.common.naming)
        daemon = asked.daemon()
        if daemon is not None:
            state = self._ask_daemon(daemon, image)
        elif self.reads:
            state = self._ask_store(readable(asked.common.storage), image)
        else:
            with Exclusive(asked.common.storage) as store:
                state = self._ask_store(store, image)
        for line in lines(state):
            output.line(line)
        output.finish({"name": str(_tag_of(image)), **state.to_json()})
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

    def _ask_daemon(self, daemon: AdminClient, image: ImageName) -> TagState:
        named = {"image": str(_tag_of(image))}
        if image.digest is not None:
            named["digest"] = str(image.digest)
        path = f"/{self.name}"
        if self.reads:
            return daemon.read(TagState, "GET", path, list(named.items()))
        return daemon.read(TagState, "POST", path, body=named)

    def _ask_store(self, store: CommandStore, image: ImageName) -> TagState:
        names = (image.registry, image.repository, str(image.tag or LATEST))
        try:
            status = now(self.ask(store.control(), names, image.digest))
        except (RegistryError, NotPossible) as error:
            raise CommandFailed(str(error)) from None
        return TagState.from_json(status.to_json())


def _tag_of(image: ImageName) -> ImageName:
    return image.tagged(str(image.tag or LATEST))


def lines(state: TagState) -> list[str]:
    """Return a state as lines: what is served and why, then the history, the digest last named first."""
    told = [f"serves {state.digest or 'nothing: no manifest is stored'}"]
    if state.hold is not None:
        told.append(f"held since {state.hold.since}")
    waiting = state.waiting
    if waiting is not None:
        when = (
            "is adopted with the next pull"
            if waiting.since == shown_time(LONG_AGO)
            else f"since {waiting.since}"
        )
        told.append(f"waiting {waiting.digest} {when}")
    for one in state.history:
        adopted = "" if one.adopted else ", never served"
        told.append(
            f"{one.digest} first seen {one.first_seen}, last confirmed {one.last_confirmed}{adopted}"
        )
    return told
