"""Errors of the admin API, each with a code for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Self

from oci_registry.management.problems import ManagementProblem
from oci_registry.spec.errors import RegistryError
from oci_registry.storage.interfaces import StoreError


class InvalidRequest(RegistryError):
    """A parameter, or the body, is wrong; the detail says where."""

    code = "INVALID_REQUEST"
    status = 400

    @classmethod
    def at(cls, where: str, reason: str) -> InvalidRequest:
        """Return the error for the value at *where*: ``query parameter limit``."""
        return cls(f"{where}: {reason}", detail={"where": where})


class InvalidName(RegistryError):
    """A text is not the name of an image."""

    code = "INVALID_NAME"
    status = 400


class TokenRequired(RegistryError):
    """The token is missing, or it is wrong."""

    code = "UNAUTHORIZED"
    status = 401


class Forbidden(RegistryError):
    """The API is not served here, or not to a page of another site."""

    code = "FORBIDDEN"
    status = 403


class TokenNotSet(Forbidden):
    """The API is not served here, because the daemon has no token for it."""


class NotFound(RegistryError):
    """There is nothing at a path, or no such image."""

    code = "NOT_FOUND"
    status = 404


class InUse(RegistryError):
    """Something cannot be removed while it is read or written."""

    code = "IN_USE"
    status = 409


class IsPinned(RegistryError):
    """Something cannot be removed because it is pinned, or a tag is held at it."""

    code = "PINNED"
    status = 409


class NotPossible(RegistryError):
    """The operation is not possible in the current state."""

    code = "NOT_POSSIBLE"
    status = 409


class BodyTooLarge(RegistryError):
    """The body of a request is too large."""

    code = "TOO_LARGE"
    status = 413

    @classmethod
    def than(cls, limit: int) -> Self:
        """Return the error for a body of more than *limit* bytes."""
        return cls(f"the body has more than {limit} bytes")


class NotJson(RegistryError):
    """The Content-Type of a request's body is not that of JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    status = 415


class Busy(RegistryError):
    """Too many requests are being handled."""

    code = "BUSY"
    status = 503

    @classmethod
    def retry_after(cls, message: str, seconds: int) -> Busy:
        """Return the error with ``Retry-After`` in whole seconds."""
        return cls(message, headers={"Retry-After": str(seconds)})


class Unavailable(RegistryError):
    """The store, or its index, cannot be used at present."""

    code = "UNAVAILABLE"
    status = 503


class Failed(RegistryError):
    """An operation failed."""

    code = "FAILED"
    status = 500


_BY_CODE: Mapping[str, type[RegistryError]] = MappingProxyType(
    {
        each.code: each
        for each in (InvalidName, NotFound, InUse, IsPinned, Unavailable, InvalidRequest)
    }
)


def unauthorized(message: str) -> TokenRequired:
    """Return the error for a request without the right token (RFC 6750 section 3)."""
    return TokenRequired(message, headers={"WWW-Authenticate": 'Bearer realm="oci-registry admin"'})


def as_api_error(error: Exception) -> Exception:
    """Return the API's error for a `ManagementProblem`; other errors are returned unchanged."""
    if isinstance(error, ManagementProblem):
        return _BY_CODE.get(error.code, Failed)(error.message)
    if isinstance(error, StoreError):
        return Unavailable(str(error))
    return error
