"""The requests of the distribution API, one function for each kind.

Each sends a request through an `Exchange` and returns the result. It raises ...Unknown for a 404,
`Denied` for a refusal, `WrongAnswer` for an unusable response, and what the exchange raises.
"""

from __future__ import annotations

from attrs import frozen
from twisted.web.iweb import UNKNOWN_LENGTH

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    RegistryError,
)
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.mediatypes import ACCEPT_MANIFESTS
from oci_registry.spec.ranges import parse_content_range
from oci_registry.spec.reference import Tag
from oci_registry.streams.body import BodyTooLong
from oci_registry.streams.parsing import ManifestReader
from oci_registry.upstream.blob import HttpBlob
from oci_registry.upstream.encoding import coding_of
from oci_registry.upstream.errors import Unusable, WrongAnswer
from oci_registry.upstream.exchange import Exchange
from oci_registry.upstream.failures import header
from oci_registry.upstream.requests import ApiRequest, Kind
from oci_registry.upstream.session import Reply

_WHOLE = (200, 203)
"""Statuses of an answer in full: 203 is a 200 that a proxy has changed."""


async def fetch_manifest(
    exchange: Exchange, repository: str, reference: Tag | Digest, reader: ManifestReader
) -> Manifest:
    """Return a manifest that matches the requested digest and the one that the host sent."""
    path, what = f"{repository}/manifests/{reference}", f"{repository}, {reference}"
    reply = await exchange.send("GET", path, {"Accept": ACCEPT_MANIFESTS})
    if not _is_whole(reply):
        raise exchange.refuse(reply, ManifestUnknown, what)
    body = await exchange.read(reply, MAX_MANIFEST_SIZE)
    asked = reference if isinstance(reference, Digest) else None
    claimed, content_type = _claimed_digest(reply), header(reply.response, "Content-Type")
    error = ""
    try:
        # Without a requested digest, at most one of the readings is a manifest.
        for raw in body.candidates() if asked or claimed else (body.document(),):
            try:
                return await reader.read(raw, content_type, asked, claimed)
            except ManifestInvalid as invalid:
                error = error or invalid.message
    except BodyTooLong as too_long:
        error = error or str(too_long)
    raise WrongAnswer(f"upstream {exchange.host} sent no manifest for {reference}: {error}")


async def head_manifest(exchange: Exchange, repository: str, tag: Tag) -> Digest | None:
    """Return the digest of a tag, None if the host sends none."""
    path, what = f"{repository}/manifests/{tag}", f"{repository}, {tag}"
    reply = await exchange.send("HEAD", path, {"Accept": ACCEPT_MANIFESTS})
    if reply.response.code in (405, 501):
        # The host does not support HEAD; this says nothing about the tag.
        exchange.drop(reply)
        return None
    if reply.response.code not in _WHOLE:
        raise exchange.refuse(reply, ManifestUnknown, what)
    return _claimed_digest(reply)


@frozen
class Wanted:
    """Bytes of a blob, from *start* up to *stop*, or to its end; *size*: of the whole, as a hint."""

    repository: str
    digest: Digest
    start: int = 0
    stop: int | None = None
    size: int | None = None

    @property
    def request(self) -> ApiRequest:
        """The request to a host."""
        return ApiRequest(Kind.BLOB, self.repository, str(self.digest))


async def open_blob(
    exchange: Exchange,
    wanted: Wanted,
    validator: str | None = None,
    *,
    inflate: bool | None = None,
) -> HttpBlob:
    """Begin to download a blob or a part of it; the host may send the whole blob.

    *validator*: that of this host's last response. *inflate*: whether to decode a content coding,
    None to guess.
    """
    headers = {}
    start, stop = wanted.start, wanted.stop
    if start or stop is not None:
        headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        if validator is not None:
            headers["If-Range"] = validator
    reply = await exchange.send("GET", f"{wanted.repository}/blobs/{wanted.digest}", headers)
    what = f"{wanted.repository}, {wanted.digest}"
    if not (_is_whole(reply) or (headers and reply.response.code in (206, 416))):
        raise exchange.refuse(reply, BlobUnknown, what)
    try:
        body = exchange.blob(reply, wanted.size, inflate=inflate)
    except WrongAnswer as error:
        exchange.drop(reply)
        if isinstance(error, Unusable):
            raise
        message = f"upstream {exchange.host}, asked for a part of {what}: {error.message}"
        raise WrongAnswer(message) from None
    if body.head.start not in (0, start):
        body.abandon()
        raise WrongAnswer(f"upstream {exchange.host} sent the wrong range of {what}")
    return body


async def head_blob(exchange: Exchange, repository: str, digest: Digest) -> int | None:
    """Return the size of a blob in bytes from HEAD, None if the response has none."""
    reply = await exchange.send("HEAD", f"{repository}/blobs/{digest}")
    response = reply.response
    if response.code in (405, 501):
        exchange.drop(reply)
        return None
    if response.code not in _WHOLE:
        raise exchange.refuse(reply, BlobUnknown, f"{repository}, {digest}")
    value = header(response, "Content-Length")
    if response.length is UNKNOWN_LENGTH or coding_of(response) is not None:
        return None
    return int(value) if value and value.isascii() and value.isdigit() and len(value) < 19 else None


def _is_whole(reply: Reply) -> bool:
    """Return whether a response is complete; a 206 without a range request may be."""
    response = reply.response
    if response.code != 206:
        return response.code in _WHOLE
    part = parse_content_range(header(response, "Content-Range"))
    return part is not None and part[0] == 0 and part[1] == part[2]


def _claimed_digest(reply: Reply) -> Digest | None:
    claim = header(reply.response, "Docker-Content-Digest")
    if claim is None:
        return None
    try:
        return Digest.parse(claim.strip())
    except RegistryError:
        return None
