"""The size of a blob that is not stored, from upstream and from the manifest."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime

from oci_registry.pullthrough.sizes import possible
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    BlobUnknown,
    Denied,
    GatewayTimeout,
    NameUnknown,
    RegistryError,
)
from oci_registry.upstream.table import Target

T = TypeVar("T")

SIZE_TIMEOUT = 20.0
"""Seconds that upstream has to answer the first request for a size."""
CHECK_TIMEOUT = 5.0
"""Seconds for the second request, made if a manifest states another size; clients wait 30 in all."""

_REFUSALS = (BlobUnknown, NameUnknown, Denied)


async def ask_size(target: Target, digest: Digest, hint: int | None, clock: IReactorTime) -> int:
    """Return a blob's size in bytes. Raises upstream's `RegistryError`.

    *hint*: the size that a manifest states. It is returned if upstream gives no size, but not if
    upstream says that the blob does not exist or is forbidden. If the two differ, upstream's size counts.
    Since some registries answer ``HEAD`` wrongly, a ``GET`` decides then; its body is dropped.
    """
    upstream, repository = target.upstream, target.repository
    said: int | None = None
    try:
        size = await _within(SIZE_TIMEOUT, upstream.blob_size(repository, digest), clock)
    except _REFUSALS:
        raise
    except RegistryError:
        if hint is None:
            raise
    else:
        said = possible(digest, size)
    if said is None:
        if hint is None:
            raise BadGateway(f"upstream does not announce the size of {digest}")
        return hint
    if hint in (None, said):
        return said
    try:
        body = await _within(CHECK_TIMEOUT, upstream.blob(repository, digest), clock)
    except RegistryError:
        return said
    body.abandon()
    announced = possible(digest, body.size)
    return said if announced is None else announced


async def _within(seconds: float, question: Coroutine[Any, Any, T], clock: IReactorTime) -> T:
    try:
        return await Deferred.fromCoroutine(question).addTimeout(seconds, clock)
    except DeferredTimeout:
        raise GatewayTimeout("upstream did not announce the size of a blob in time") from None
