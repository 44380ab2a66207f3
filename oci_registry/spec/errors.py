"""Every error of the distribution API, as an exception that knows its code and status.

They may be raised anywhere below the web room; one place there turns them into a response.
The codes are those of the OCI distribution spec, section "Error Codes", and of its ancestor,
the Docker registry API, for what the OCI text left out (``UNAVAILABLE``, ``UNKNOWN`` ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Self

from oci_registry.spec.texts import cut

MAX_MESSAGE = 1000
"""The most characters of a message that reach a client."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def shown(text: str, limit: int = 80) -> str:
    """``text`` as it may appear in a message: quoted, escaped and at most about ``limit`` long."""
    return ascii(cut(text, limit))


def system_reason(error: OSError) -> str:
    """The system's error message, without the name of a file: ``No such file or directory``."""
    return error.strerror or str(error) or type(error).__name__


class RegistryError(Exception):
    """An error of the distribution API.

    ``message`` is for people, ``detail`` is any JSON value for programs (``None``: left out),
    ``headers`` are response headers that belong to the error, such as ``Retry-After``.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    from_cache: bool = False
    """Whether it repeats an earlier answer, without a request to upstream."""

    def __init__(
        self,
        message: str,
        *,
        detail: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.headers: Mapping[str, str] = MappingProxyType(dict(headers or {}))

    def again(self) -> Self:
        """The same error, to be raised elsewhere: each raise adds to an exception's traceback."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other

    def as_json(self) -> bytes:
        """The body of the response: ``{"errors": [...]}``, ASCII only.

        The message is cut to `MAX_MESSAGE` characters and its control characters become
        visible escapes, because clients print it to a terminal.  A detail that JSON cannot
        express is left out: answering with an error must not fail itself.
        """
        message = self.message
        if len(message) > MAX_MESSAGE:
            message = message[: MAX_MESSAGE - 3] + "..."
        entry = {"code": self.code, "message": _CONTROL.sub(_escape, message)}
        plain = _dump({"errors": [entry]})
        if self.detail is None:
            return plain
        try:
            return _dump({"errors": [{**entry, "detail": self.detail}]})
        except (TypeError, ValueError, RecursionError):
            return plain


def _escape(match: re.Match[str]) -> str:
    return ascii(match.group())[1:-1]


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


class NameInvalid(RegistryError):
    """A repository name, a path or a registry host that the grammar does not allow."""

    code = "NAME_INVALID"
    status = 400


class NameUnknown(RegistryError):
    """A repository, or a path, that does not exist here or upstream."""

    code = "NAME_UNKNOWN"
    status = 404


class DigestInvalid(RegistryError):
    """A malformed digest, or content that does not match its digest."""

    code = "DIGEST_INVALID"
    status = 400


class ReferenceInvalid(RegistryError):
    """A tag outside the grammar (the spec has no code of its own for it)."""

    code = "MANIFEST_INVALID"
    status = 400


class ManifestInvalid(RegistryError):
    """A document that is not a manifest."""

    code = "MANIFEST_INVALID"
    status = 400


class ManifestUnknown(RegistryError):
    """No such tag or manifest."""

    code = "MANIFEST_UNKNOWN"
    status = 404


class BlobUnknown(RegistryError):
    """No such blob."""

    code = "BLOB_UNKNOWN"
    status = 404


class SizeInvalid(RegistryError):
    """Content longer than is accepted, or of another length than declared."""

    code = "SIZE_INVALID"
    status = 413


class Unauthorized(RegistryError):
    """This daemon requires credentials of its own (never an upstream's 401 passed on)."""

    code = "UNAUTHORIZED"
    status = 401


class Denied(RegistryError):
    """Refused by us or by the upstream, whatever further credentials the client may have."""

    code = "DENIED"
    status = 403


class Unsupported(RegistryError):
    """A method that the endpoint does not support."""

    code = "UNSUPPORTED"
    status = 405

    @classmethod
    def for_method(cls, method: str, allowed: Sequence[str]) -> Self:
        """The error for ``method``, with ``Allow`` as RFC 9110 section 15.5.6 demands."""
        return cls(
            f"the method {shown(method, 20)} is not supported here; supported: {', '.join(allowed)}",
            headers={"Allow": ", ".join(allowed)},
        )


class RangeInvalid(RegistryError):
    """A range that lies outside the content (RFC 9110 section 15.5.17)."""

    code = "RANGE_INVALID"
    status = 416

    @classmethod
    def beyond(cls, size: int) -> Self:
        """The error for a range outside ``size`` bytes, with the ``Content-Range`` to say so."""
        return cls(
            f"the range lies outside the content, which has {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )


class PaginationInvalid(RegistryError):
    """A page size or a page start that cannot be used."""

    code = "PAGINATION_NUMBER_INVALID"
    status = 400


class TooManyRequests(RegistryError):
    """The upstream rate limits requests; the client should retry later, or use another host now.

    The status is 503 and not 429, because 429 makes podman and CRI-O stall for 30 s and
    containerd ask six times, while 503 makes every client go on to the next host.
    """

    code = "TOOMANYREQUESTS"
    status = 503

    @classmethod
    def retry_after(cls, message: str, seconds: int) -> Self:
        """The error with ``Retry-After`` in whole seconds (RFC 9110 section 10.2.3)."""
        return cls(message, headers={"Retry-After": str(max(0, seconds))})


class BadRequest(RegistryError):
    """A request that no endpoint could understand (the spec has no code of its own for it)."""

    code = "UNSUPPORTED"
    status = 400


class Unavailable(RegistryError):
    """Neither the store nor an upstream can answer at the moment."""

    code = "UNAVAILABLE"
    status = 503


class BadGateway(RegistryError):
    """The upstream cannot be reached, or its response cannot be used."""

    code = "UNAVAILABLE"
    status = 502


class GatewayTimeout(RegistryError):
    """The upstream did not answer in time."""

    code = "UNAVAILABLE"
    status = 504


class InternalError(RegistryError):
    """An internal error; its details are not shown to the client."""

    code = "UNKNOWN"
    status = 500
