"""How long a blob is that is not stored: upstream is asked, and what a manifest states is weighed."""

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
"""Seconds for upstream to say how long a blob is;"""
CHECK_TIMEOUT = 5.0
"""and for a second question, where a manifest states another size: clients wait 30 for the answer."""

_REFUSALS = (BlobUnknown, NameUnknown, Denied)


async def ask_size(target: Target, digest: Digest, hint: int | None, clock: IReactorTime) -> int:
    """Return a blob's size in bytes. Raises upstream's `RegistryError`.

    *hint*: the size that a manifest states. It is the answer where upstream has none, but not where
    upstream says that there is no such blob, or not for us. Where the two differ upstream is right; but
    some answer ``HEAD`` wrongly, so the head of the answer to a ``GET`` decides, whose body is dropped.
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
            raise BadGateway(f"upstream does not say how long {digest} is")
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
        raise GatewayTimeout("upstream did not say in time how long a blob is") from None
