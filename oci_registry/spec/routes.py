"""Parses path and query into a typed route (OCI distribution spec, section "Endpoints").

Names contain slashes, and their components may have the name of an endpoint. So a path is parsed
from its end: ``a/manifests/b/manifests/latest`` is the tag ``latest`` of ``a/manifests/b``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Self
from urllib.parse import parse_qsl, unquote_to_bytes

from attrs import frozen

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadRequest,
    NameInvalid,
    NameUnknown,
    PaginationInvalid,
    RegistryError,
    shown,
)
from oci_registry.spec.links import BadLink
from oci_registry.spec.paging import MAX_LAST, opaque_query
from oci_registry.spec.reference import (
    Tag,
    looks_like_host,
    parse_host,
    parse_reference,
    parse_repository,
)

MAX_PATH = 4096
"""The maximum length of a path in bytes."""

MAX_QUERY = 4096
"""The maximum length of a query in bytes."""

MAX_FIELDS = 16
"""The maximum number of fields of a query."""

MAX_VALUE = 255
"""The maximum length of ``artifactType`` in characters."""

MAX_PAGE = 10_000
"""The largest page of tags; a request for more gets this many."""

OUR_OWN = "_oci-registry"
"""The segment before our own endpoints of a repository, which no repository can have."""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASHES = re.compile(rb"/{2,}")
_ODD_BYTE = re.compile(rb"[^\x20-\x7e]")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_DIGITS = re.compile(r"[0-9]+")


@frozen
class Name:
    """The name between ``/v2/`` and the endpoint: a repository, optionally after a host.

    ``text`` is the name as the client sent it. ``host`` is its first component in lower case, if
    that looks like a registry host and more components follow, else ``None``. ``rest`` is what
    follows the host, or the whole name if there is none. It is a valid repository, except that it
    may have upper-case letters, which only some registries allow. With a host, ``text`` may
    (``gcr.io/a``) or may not (``localhost:5000/a``) be a valid repository too.

    ``before`` is a segment before ``/v2/`` in lower case, which can only be a registry: clients
    that do not know hosts in names put the path of a mirror's address there.
    """

    host: str | None
    rest: str
    text: str
    before: str | None = None

    @classmethod
    def parse(cls, text: str, before: str | None = None) -> Self:
        """Return the name in ``text``, with or without a host; raise `NameInvalid` if it is malformed."""
        head, slash, rest = text.partition("/")
        # No repository has a colon, a bracket or a dot at an end: such a component is meant as a host.
        if slash and (":" in head or "[" in head or looks_like_host(head)):
            host = parse_host(head, lenient=True)
            return cls(host, parse_repository(rest, upper_case=True), text, before)
        return cls(None, parse_repository(text, upper_case=True), text, before)

    @property
    def first(self) -> str | None:
        """Return the first component, if it may be a part of a repository and more components follow.

        For namespaces that do not look like a host.
        """
        head, slash, _ = self.text.partition("/")
        if not slash:
            return None
        try:
            return parse_repository(head)
        except NameInvalid:
            return None

    @property
    def after_first(self) -> str:
        """Return the components after the first; empty if there is only one."""
        return self.text.partition("/")[2]

    @property
    def path(self) -> str:
        """Return the path up to the endpoint, decoded."""
        return f"/v2/{self.text}" if self.before is None else f"/{self.before}/v2/{self.text}"

    def __str__(self) -> str:
        return self.text


@frozen
class BaseRoute:
    """``/v2/`` or ``/v2``, and the same after a host (``/HOST/v2/``); the query is ignored."""


@frozen
class ManifestRoute:
    """``/v2/<name>/manifests/<reference>``; ``ns`` is the source host if the client sends it."""

    name: Name
    reference: Tag | Digest
    ns: str | None


@frozen
class BlobRoute:
    """``/v2/<name>/blobs/<digest>``."""

    name: Name
    digest: Digest
    ns: str | None


@frozen
class TagsRoute:
    """``/v2/<name>/tags/list``: at most ``n`` tags, those after ``last``.

    ``query`` is the whole query without ``ns``, if it has other fields than these two: those of a
    link that the registry made.
    """

    name: Name
    n: int | None
    last: str | None
    ns: str | None
    query: str | None = None


@frozen
class ReferrersRoute:
    """``/v2/<name>/referrers/<digest>``, optionally only those of one artifact type."""

    name: Name
    digest: Digest
    artifact_type: str | None
    ns: str | None


@frozen
class HistoryRoute:
    """``/v2/<name>/_oci-registry/history/<tag>``: below the path of our own endpoints."""

    name: Name
    tag: Tag
    ns: str | None


@frozen
class CatalogRoute:
    """``/v2/_catalog``: at most ``n`` repositories, those after ``last``, of one registry or of all.

    ``before`` is a segment before ``/v2/``, as in `Name`.
    """

    n: int | None
    last: str | None
    ns: str | None
    before: str | None

    @property
    def host(self) -> str | None:
        """Return the registry that is meant, None for all."""
        return self.before or self.ns

    @property
    def path(self) -> str:
        """Return the path of the endpoint."""
        return "/v2/_catalog" if self.before is None else f"/{self.before}/v2/_catalog"


NamedRoute = ManifestRoute | BlobRoute | TagsRoute | ReferrersRoute | HistoryRoute
"""An endpoint of one repository."""
Route = BaseRoute | CatalogRoute | NamedRoute
"""One endpoint with everything its path and query say."""


def parse_route(path: bytes, query: bytes) -> Route:
    """Return the route of a request.

    ``path`` is percent-encoded and has no query; each segment is decoded once, after the path is
    split. Repeated slashes count as one. Raises `NameUnknown` for an unknown path; `NameInvalid`,
    `DigestInvalid`, `ReferenceInvalid`, `PaginationInvalid` and `BadRequest` for malformed parts of
    a known one. Unknown fields of the query are ignored, except for a list of tags, since the
    registry may have put them into its links. Known fields may occur once, and an empty ``ns``,
    ``last`` or ``artifactType`` counts as missing.
    """
    segments = _segments(path)
    before = _before(segments)
    if before is not None:
        del segments[0]
    if segments in (["v2"], ["v2", ""]):
        return BaseRoute()
    if segments[0] != "v2":
        raise NameUnknown(f"there is nothing at {shown('/' + '/'.join(segments))}")
    if segments == ["v2", "_catalog"]:
        fields = _Fields(query)
        last = fields.text("last", PaginationInvalid, MAX_LAST)
        return CatalogRoute(fields.n(), last, fields.ns(), before)
    if len(segments) < 4:
        raise _no_endpoint()
    if segments[-3:-1] == [OUR_OWN, "history"] and len(segments) > 4:
        name = Name.parse("/".join(segments[1:-3]), before)
        return HistoryRoute(name, Tag(segments[-1]), _Fields(query).ns())
    marker, last = segments[-2:]
    text = "/".join(segments[1:-2])
    if marker == "manifests":
        name = Name.parse(text, before)
        reference = parse_reference(last)
        return ManifestRoute(name, reference, _Fields(query).ns())
    if marker == "blobs":
        name = Name.parse(text, before)
        digest = Digest.parse(last)
        return BlobRoute(name, digest, _Fields(query).ns())
    if marker == "referrers":
        name = Name.parse(text, before)
        digest = Digest.parse(last)
        fields = _Fields(query)
        return ReferrersRoute(name, digest, fields.text("artifactType", BadRequest), fields.ns())
    if marker == "tags" and last == "list":
        name = Name.parse(text, before)
        fields = _Fields(query)
        last_tag = fields.text("last", PaginationInvalid, MAX_LAST)
        return TagsRoute(name, fields.n(), last_tag, fields.ns(), fields.opaque())
    raise _no_endpoint()


def _no_endpoint() -> NameUnknown:
    return NameUnknown(
        "there is no such endpoint: /v2/<name>/ is followed by manifests/<reference>, "
        "blobs/<digest>, tags/list, referrers/<digest> or _oci-registry/history/<tag>"
    )


def _before(segments: Sequence[str]) -> str | None:
    """Return the registry before ``/v2``, if there is one."""
    if len(segments) < 2 or segments[0] == "v2" or segments[1] != "v2":
        return None
    try:
        return parse_host(segments[0], lenient=True)
    except NameInvalid:
        return None


def _segments(path: bytes) -> list[str]:
    if len(path) > MAX_PATH:
        raise NameInvalid(f"a path has at most {MAX_PATH} bytes, not {len(path)}")
    if not path.startswith(b"/"):
        raise NameUnknown("a path starts with a slash")
    path = _SLASHES.sub(b"/", path)
    if b"%" in path:
        if _BAD_ESCAPE.search(path) is not None:
            raise NameInvalid("the path has a malformed percent escape")
        segments = [_text(unquote_to_bytes(raw)) for raw in path[1:].split(b"/")]
        if any("/" in segment for segment in segments):
            raise NameInvalid("the path has an encoded slash")
    else:
        segments = _text(path)[1:].split("/")
    # A slash at the end is part of "/v2/" and of no other path.
    if segments[-1] == "" and segments != [""] and segments[-2:] != ["v2", ""]:
        raise NameInvalid("the path ends with a slash")
    if "." in segments or ".." in segments:
        raise NameInvalid("the path has a segment '.' or '..'")
    return segments


def _text(decoded: bytes) -> str:
    if _ODD_BYTE.search(decoded) is not None:
        raise NameInvalid("the path contains control characters or non-ASCII")
    return decoded.decode("ascii")


class _Fields:
    """The fields of a query."""

    def __init__(self, query: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        self._query = query
        if not query:
            return
        if len(query) > MAX_QUERY:
            raise BadRequest(f"a query has at most {MAX_QUERY} bytes, not {len(query)}")
        try:
            # Escapes that are not UTF-8 become U+FFFD, which none of our own fields allows.
            pairs = parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                errors="replace",
                max_num_fields=MAX_FIELDS,
            )
        except UnicodeDecodeError:
            raise BadRequest("the query contains bytes outside ASCII") from None
        except ValueError:
            raise BadRequest(f"a query has at most {MAX_FIELDS} fields") from None
        for key, value in pairs:
            self._values.setdefault(key, []).append(value)

    def ns(self) -> str | None:
        value = self._single("ns", NameInvalid)
        if not value:
            return None
        try:
            return parse_host(value, lenient=True)
        except NameInvalid as error:
            raise NameInvalid(f"the field ns: {error.message}") from None

    def n(self) -> int | None:
        value = self._single("n", PaginationInvalid)
        if value is None:
            return None
        if _DIGITS.fullmatch(value) is None:
            raise PaginationInvalid(f"the field n must be a number, not {shown(value)}")
        return min(int(value), MAX_PAGE)

    def opaque(self) -> str | None:
        """Return the query without ``ns``, if it has other fields than ``n`` and ``last``."""
        try:
            return opaque_query(self._query.decode("ascii"))
        except BadLink as error:
            raise PaginationInvalid(str(error)) from None

    def text(self, key: str, error: type[RegistryError], longest: int = MAX_VALUE) -> str | None:
        value = self._single(key, error)
        if value is None:
            return None
        if len(value) > longest:
            raise error(f"the field {key} has at most {longest} characters, not {len(value)}")
        if _PRINTABLE.fullmatch(value) is None:
            raise error(f"the field {key} contains control characters or non-ASCII")
        return value or None

    def _single(self, key: str, error: type[RegistryError]) -> str | None:
        values = self._values.get(key)
        if values is None:
            return None
        if len(values) > 1:
            raise error(f"the field {key} may be given only once")
        return values[0]
