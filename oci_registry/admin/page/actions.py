"""Handles the forms of the page: a change through the API, and then a redirect to its result."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import frozen

from oci_registry.admin.answers import SweepStatus, TagState
from oci_registry.admin.fields import Choice, Parameter, Text, Truth
from oci_registry.admin.page.calls import Calls
from oci_registry.admin.page.markup import address
from oci_registry.admin.problems import InvalidRequest
from oci_registry.management.answers import PinChange, Refreshed, Removal
from oci_registry.management.as_json import Answer

FORM_TYPE = "application/x-www-form-urlencoded"


@frozen
class Action:
    """A route of the API that changes something. *done*: the message afterwards, before the name of the
    image.

    *takes*: further parameters. *back*: the page that is shown then, relative to that of the action.
    """

    method: str
    path: str
    answer: type[Answer]
    done: str
    takes: tuple[str, ...] = ()
    back: str = "image"


ACTIONS: Mapping[str, Action] = MappingProxyType(
    {
        "refresh": Action("POST", "/refresh", Refreshed, "To be refreshed at the next pull: "),
        "pin": Action("POST", "/pins", PinChange, "Pinned: "),
        "unpin": Action("DELETE", "/pins", PinChange, "Unpinned: "),
        "remove": Action("DELETE", "/image", Removal, "Removed: ", ("blobs",), "../#images"),
        "hold": Action("POST", "/hold", TagState, "Held: ", ("digest",)),
        "rollback": Action("POST", "/rollback", TagState, "Rolled back: ", ("digest",)),
        "release": Action("POST", "/release", TagState, "Hold released: "),
        "adopt": Action("POST", "/adopt", TagState, "Adopted the new digest: "),
        "sweep": Action("POST", "/sweep", SweepStatus, "Sweep started. ", (), "../#disk"),
    }
)

FORM = (
    Parameter("action", Choice(tuple(ACTIONS)), "what to do", required=True),
    Parameter("image", Text(), "the image"),
    Parameter("digest", Text(160), "a digest of the tag"),
    Parameter("blobs", Truth(), "also what no other image needs", default=False),
)
"""The fields of all forms."""


async def act(calls: Calls, values: Mapping[str, Any]) -> str:
    """Carry out a form, and return the relative address of the page to show; raises as the API does."""
    name, image = values["action"], values["image"]
    action = ACTIONS[name]
    texts: dict[str, str | None] = {}
    if name != "sweep":
        if image is None:
            raise InvalidRequest.at("image", "is required")
        texts["image"] = image
    for each in action.takes:
        value = values[each]
        texts[each] = str(value).lower() if isinstance(value, bool) else value
    await calls(action.method, action.path, action.answer, **texts)
    return address(action.back, done=name, image=image)


def notice_of(done: str | None, image: str | None) -> tuple[str, str] | None:
    """Return the message after an action; None without one."""
    return None if done is None else (ACTIONS[done].done, image or "")
