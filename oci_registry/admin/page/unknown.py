"""Stands for parts of a page that cannot be shown, with the reason; other parts are not affected."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from oci_registry.admin.problems import as_api_error
from oci_registry.spec.errors import RegistryError

T = TypeVar("T")
_log = Logger()


@frozen
class Unknown:
    """The reason for a missing answer. *status*: that of the error in the API."""

    reason: str
    status: int = 500


def unknown_for(error: Exception) -> Unknown:
    """Return why something cannot be shown; a defect is logged. Raises `CancelledError` itself."""
    if isinstance(error, CancelledError):
        raise error
    known = as_api_error(error)
    if isinstance(known, RegistryError):
        return Unknown(known.message, known.status)
    _log.failure("a part of the status page cannot be shown")
    return Unknown("internal error; see the log")


async def all_of(work: Mapping[str, Awaitable[T]]) -> dict[str, T | Unknown]:
    """Await all in parallel, and return the result of each, or the reason why there is none.

    Cancelling it cancels all of them.
    """

    async def one(awaitable: Awaitable[T]) -> T | Unknown:
        try:
            return await awaitable
        except Exception as error:
            return unknown_for(error)

    begun: list[Deferred[Any]] = [Deferred.fromCoroutine(one(each)) for each in work.values()]
    found: dict[str, T | Unknown] = {}
    for name, (done, result) in zip(
        work, await DeferredList(begun, consumeErrors=True), strict=True
    ):
        if not done:
            result.raiseException()
        found[name] = result
    return found
