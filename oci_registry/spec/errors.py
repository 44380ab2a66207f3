"""The errors of the distribution API, as exceptions with a code and a status.

They may be raised anywhere; `oci_registry.web.errors` turns them into responses. The codes are
those of the OCI distribution spec, section "Error Codes", and of the Docker registry API for what
the OCI spec leaves out (``UNAVAILABLE``, ``UNKNOWN`` ...).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Self

from oci_registry.spec.texts import cut

MAX_MESSAGE = 1000
"""The maximum length in characters of a message to a client."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def shown(text: str, limit: int = 80) -> str:
    """Return ``text`` for a message: quoted, escaped, and cut to about ``limit`` characters."""
    return ascii(cut(text, limit))


def system_reason(error: OSError) -> str:
    """Return the system's error message without the name of a file: ``No such file or directory``."""
    return error.strerror or str(error) or type(error).__name__


class RegistryError(Exception):
    """An error of the distribution API.

    ``message`` is for people. ``detail`` is any JSON value, for programs; ``None`` leaves it out.
    ``headers`` are response headers that belong to the error, such as ``Retry-After``.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    from_cache: bool = False
    """Whether it repeats an earlier response, without a new request to upstream."""

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
        """Return a copy to raise elsewhere: each raise adds to the traceback of an exception."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other

    def as_json(self) -> bytes:
        """Return the body of the response: ``{"errors": [...]}``, ASCII only.

        The message is cut to `MAX_MESSAGE` characters and its control characters are escaped, since
        clients print it to a terminal. A detail that cannot be expressed in JSON is left out.
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
    """A repository name, path or registry host is malformed."""

    code = "NAME_INVALID"
    status = 400


class NameUnknown(RegistryError):
    """A repository or path does not exist, here or upstream."""

    code = "NAME_UNKNOWN"
    status = 404


class DigestInvalid(RegistryError):
    """A digest is malformed, or does not match the content."""

    code = "DIGEST_INVALID"
    status = 400


class ReferenceInvalid(RegistryError):
    """A tag is malformed (the spec has no code for that)."""

    code = "MANIFEST_INVALID"
    status = 400


class ManifestInvalid(RegistryError):
    """A document is not a manifest."""

    code = "MANIFEST_INVALID"
    status = 400


class ManifestUnknown(RegistryError):
    """A tag or manifest does not exist."""

    code = "MANIFEST_UNKNOWN"
    status = 404


class BlobUnknown(RegistryError):
    """A blob does not exist."""

    code = "BLOB_UNKNOWN"
    status = 404


class Denied(RegistryError):
    """The daemon or the upstream refuses access, and other credentials of the client would not help."""

    code = "DENIED"
    status = 403


class Unsupported(RegistryError):
    """The endpoint does not support the method."""

    code = "UNSUPPORTED"
    status = 405

    @classmethod
    def for_method(cls, method: str, allowed: Sequence[str]) -> Self:
        """Return the error for ``method``, with the ``Allow`` that RFC 9110 section 15.5.6 requires."""
        return cls(
            f"the method {shown(method, 20)} is not supported here; supported: {', '.join(allowed)}",
            headers={"Allow": ", ".join(allowed)},
        )


class RangeInvalid(RegistryError):
    """A range lies outside the content (RFC 9110 section 15.5.17)."""

    code = "RANGE_INVALID"
    status = 416

    @classmethod
    def beyond(cls, size: int) -> Self:
        """Return the error for a range outside ``size`` bytes, with its ``Content-Range``."""
        return cls(
            f"the range lies outside the content, which has {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )


class PaginationInvalid(RegistryError):
    """The size or the start of a page is invalid."""

    code = "PAGINATION_NUMBER_INVALID"
    status = 400


class TooManyRequests(RegistryError):
    """The upstream limits the rate of requests: retry later, or use another host.

    The status is 503 and not 429. After a 429, podman and CRI-O wait for 30 s and containerd
    repeats the request six times. After a 503, all clients use the next host.
    """

    code = "TOOMANYREQUESTS"
    status = 503

    @classmethod
    def retry_after(cls, message: str, seconds: int) -> Self:
        """Return the error with ``Retry-After`` in whole seconds (RFC 9110 section 10.2.3)."""
        return cls(message, headers={"Retry-After": str(max(0, seconds))})


class BadRequest(RegistryError):
    """A request is malformed (the spec has no code for that)."""

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
