"""The API's handlers for single tags: history, holds, and digests that wait for their minimum age."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from oci_registry.admin.answers import TagState
from oci_registry.admin.fields import Parameter, Text, Values
from oci_registry.admin.problems import InvalidRequest, NotPossible
from oci_registry.admin.routes import AnyRoute, Route
from oci_registry.events import EventLog
from oci_registry.management.problems import InvalidName
from oci_registry.management.subjects import parse_digest
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.image import LATEST, ImageName

_GROUP = "Tags"


class Status(Protocol):
    """The state of a tag; see `TagState`."""

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object."""


class Tagging(Protocol):
    """Operations on a tag, which is given by registry, repository and name."""

    async def history(self, host: str, repository: str, tag: str) -> Status:
        """Return the state of the tag."""

    async def hold(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> Status:
        """Serve one digest until it is released."""

    async def rollback(
        self, host: str, repository: str, tag: str, digest: Digest | None = None
    ) -> Status:
        """Hold the tag at an earlier digest."""

    async def release(self, host: str, repository: str, tag: str) -> Status:
        """Release the tag."""

    async def adopt(self, host: str, repository: str, tag: str) -> Status:
        """Serve the digest that is waiting."""


class TagHandlers:
    """Answers questions about tags, and changes what is served for them; each change is an event.

    *parse*: reads the name of an image. *refused*: the exception that *tags* raises for a change that
    is not possible.
    """

    def __init__(
        self,
        tags: Tagging,
        parse: Callable[[str], ImageName],
        refused: type[Exception],
        events: EventLog,
    ) -> None:
        self._tags = tags
        self._parse = parse
        self._refused = refused
        self._events = events

    def _names(self, values: Values) -> tuple[str, str, str]:
        try:
            image = self._parse(values["image"])
        except RegistryError as error:
            raise InvalidName(error.message) from None
        if image.digest is not None:
            raise InvalidRequest.at("image", "must be a tag without a digest")
        return image.registry, image.repository, str(image.tag or LATEST)

    def _digest(self, values: Values) -> Digest | None:
        return None if values["digest"] is None else parse_digest(values["digest"])

    async def _answer(self, what: str, values: Values, work: Awaitable[Status]) -> TagState:
        try:
            status = await work
        except self._refused as error:
            raise NotPossible(str(error)) from None
        state = TagState.from_json(status.to_json())
        if what:
            self._events.record("tag", what=what, name=values["image"], digest=state.digest)
        return state

    async def history(self, values: Values) -> TagState:
        """Return the state of a tag."""
        return await self._answer("", values, self._tags.history(*self._names(values)))

    async def hold(self, values: Values) -> TagState:
        """Serve one digest for a tag until it is released."""
        names, digest = self._names(values), self._digest(values)
        return await self._answer("hold", values, self._tags.hold(*names, digest))

    async def rollback(self, values: Values) -> TagState:
        """Hold a tag at an earlier digest."""
        names, digest = self._names(values), self._digest(values)
        return await self._answer("rollback", values, self._tags.rollback(*names, digest))

    async def release(self, values: Values) -> TagState:
        """Release a held tag."""
        return await self._answer("release", values, self._tags.release(*self._names(values)))

    async def adopt(self, values: Values) -> TagState:
        """Serve the digest that is waiting."""
        return await self._answer("adopt", values, self._tags.adopt(*self._names(values)))


def tag_routes(tags: TagHandlers) -> list[AnyRoute]:
    """Return the routes about single tags."""
    image = Parameter(
        "image", Text(), "the tag: `x:1`, `quay.io/a/b:1`; without one: latest", required=True
    )
    digest = Parameter("digest", Text(160), "at this digest, in place of the one that is meant")
    errors = [404, 409, 502, 504]

    def change(
        name: str, text: str, handle: Callable[[Values], Awaitable[TagState]], *more: Parameter
    ) -> Route:
        body = [image, *more]
        return Route(
            "POST", f"/{name}", f"{name}_tag", _GROUP, text, TagState, handle, (), body, 200, errors
        )

    return [
        Route(
            "GET",
            "/history",
            "tag_history",
            _GROUP,
            "What a tag has meant, and what is served for it",
            TagState,
            tags.history,
            query=[image],
            errors=[404],
        ),
        change("hold", "Serve one digest for a tag until it is released", tags.hold, digest),
        change("rollback", "Hold a tag at an earlier digest", tags.rollback, digest),
        change("release", "Hold a tag no longer", tags.release),
        change("adopt", "Serve the digest that waits for its minimum age", tags.adopt),
    ]
