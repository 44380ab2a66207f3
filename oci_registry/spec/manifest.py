"""Manifests: their bytes, with the media type and digest under which they are served.

OCI image spec, sections "Image Manifest" and "Image Index", and their Docker counterparts. The
bytes are never changed, since the digest is that of the bytes. Content is not validated either:
whatever has the right digest is served.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, cast

from attrs import field, frozen

from oci_registry.spec import schema1
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest, digests_in
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.mediatypes import (
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    OCI_INDEX,
    OCI_MANIFEST,
    OCTET_STREAM,
    essence,
    is_media_type,
    is_specific,
)

MAX_MANIFEST_SIZE = 4 * 1024 * 1024
"""The maximum size of a manifest in bytes; the distribution spec requires registries to accept this size."""
MAX_BLOBS = 2000
"""The maximum number of blobs in a manifest; if there are more, none of their sizes is read."""
_OVERHEAD = 2048
_BLOB_OVERHEAD = 512
_PACKED = 3


PackedBlobs = tuple[str | int | None, ...]
"""Media type, digest and size of each blob, one after the other."""
PackedManifest = tuple[bytes, str, str, PackedBlobs]
"""The bytes of a manifest, its media type, its digest and its blobs.

There are thousands of these in memory. The garbage collector does not track tuples of such values.
"""


def _pack(blobs: Iterable[Descriptor] | PackedBlobs) -> PackedBlobs:
    """Return the blobs packed; those that are packed already, as they are."""
    packed: list[str | int | None] = []
    for blob in blobs:
        if not isinstance(blob, Descriptor):
            return cast(PackedBlobs, blobs)
        kind = blob.media_type
        packed += (None if kind is None else sys.intern(kind), str(blob.digest), blob.size)
    return tuple(packed)


@frozen
class Manifest:
    """A manifest or an index.

    *blobs* are the config and the layers as far as the document can be parsed; their sizes are
    hints. `names` returns all digests in the document.

    Blobs are stored as strings and numbers, and are built when they are needed.
    """

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest
    _blobs: PackedBlobs = field(default=(), converter=_pack, eq=False, repr=False)

    def pack(self) -> PackedManifest:
        """Return it as plain values."""
        return self.raw, self.media_type, str(self.digest), self._blobs

    @classmethod
    def unpack(cls, packed: PackedManifest) -> Self:
        """Return the manifest of which `pack` has made this; takes microseconds."""
        raw, media_type, digest, blobs = packed
        return cls(raw, media_type, Digest.parse(digest), blobs)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the config and the layers; takes microseconds for each of them."""
        return tuple(
            Descriptor(kind, Digest.parse(digest), size) for kind, digest, size in self._unpacked()
        )

    @property
    def has_blobs(self) -> bool:
        """Whether a config or a layer is known."""
        return bool(self._blobs)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield digest and size of each blob with a stated size, in the order of `blobs`."""
        for _, digest, size in self._unpacked():
            if size is not None:
                yield digest, size

    def _unpacked(self) -> Iterator[tuple[str | None, str, int | None]]:
        packed: Any = self._blobs
        return zip(packed[::_PACKED], packed[1::_PACKED], packed[2::_PACKED], strict=True)

    def names(self) -> frozenset[Digest]:
        """Return the digests of all content that it refers to, in any field; some may not exist."""
        return digests_in(self.raw)

    @classmethod
    def read(
        cls,
        raw: bytes,
        content_type: str | None,
        asked: Digest | None = None,
        claimed: Digest | None = None,
    ) -> Self:
        """Return the manifest in a registry's response; raise `ManifestInvalid` if it is not one.

        ``asked`` is the digest that was requested (None for a tag) and ``claimed`` that in
        ``Docker-Content-Digest``. Each must be that of ``raw`` or, for a signed schema 1 manifest,
        that of the signed content. A claim in another algorithm than ``asked`` is ignored. With a
        matching digest, any bytes are a manifest. Without a digest, they must be a JSON object, and
        the type or the content must identify it as a manifest.

        The media type is that of ``content_type`` (a header, parameters allowed) if it is specific;
        else the document's ``mediaType``; else it is derived from the document's fields; else it is
        the header's.
        """
        if len(raw) > MAX_MANIFEST_SIZE:
            raise ManifestInvalid(
                f"a manifest has at most {MAX_MANIFEST_SIZE} bytes, this one has {len(raw)}"
            )
        expected = asked or claimed
        document = read_object(raw)
        possible = list(_digests(raw, document, expected.algorithm if expected else "sha256"))
        if expected is None:
            digest = possible[-1]
        else:
            digest = expected
            _expect(asked, possible, "asked for")
            if claimed is not None and claimed.algorithm == expected.algorithm:
                _expect(claimed, possible, "claimed")
        if document is None and expected is None:
            raise ManifestInvalid("it is not a JSON object")
        media_type = _decide_type(document or {}, essence(content_type), expected is not None)
        return cls(raw, media_type, digest, _read_blobs(document or {}))

    @classmethod
    def restore(cls, raw: bytes, media_type: str, digest: Digest) -> Self:
        """Return a stored manifest; raise `ManifestInvalid` if its bytes or type have changed."""
        document = read_object(raw)
        _expect(digest, list(_digests(raw, document, digest.algorithm)), "kept")
        return cls(raw, media_type, digest, _read_blobs(document or {}))


def memory_of(packed: PackedManifest) -> int:
    """Return roughly how many bytes of memory a manifest takes."""
    raw, _, _, blobs = packed
    return len(raw) + len(blobs) // _PACKED * _BLOB_OVERHEAD + _OVERHEAD


def _digests(raw: bytes, document: Mapping[str, object] | None, algorithm: str) -> Iterator[Digest]:
    """Yield the digests that a manifest may have; the last is the one that registries use."""
    yield Digest.of(raw, algorithm)
    signed = None if document is None else schema1.payload(raw, document)
    if signed is not None:
        yield Digest.of(signed, algorithm)


def _expect(expected: Digest | None, possible: list[Digest], how: str) -> None:
    if expected is not None and expected not in possible:
        raise ManifestInvalid(f"it has the digest {possible[-1]}, not {expected} as {how}")


def _decide_type(document: Mapping[str, object], served_as: str | None, verified: bool) -> str:
    if served_as is not None and is_specific(served_as):
        return served_as
    own = document.get("mediaType")
    if isinstance(own, str) and is_media_type(own):
        return own
    shape = _shape(document)
    if shape is not None:
        return shape
    if served_as is not None and (verified or "schemaVersion" in document):
        return served_as
    if verified:
        return OCTET_STREAM
    raise ManifestInvalid("it is not a manifest: neither its media type nor its fields say so")


def _shape(document: Mapping[str, object]) -> str | None:
    if isinstance(document.get("manifests"), list):
        return OCI_INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
        return OCI_MANIFEST
    if document.get("schemaVersion") == 1 and isinstance(document.get("fsLayers"), list):
        return DOCKER_SCHEMA1_SIGNED if document.get("signatures") else DOCKER_SCHEMA1
    return None


def _read_blobs(document: Mapping[str, object]) -> tuple[Descriptor, ...]:
    """Return the config and the layers, including those with ``urls``."""
    entries = [document.get("config")]
    for key in ("layers", "blobs"):
        values = document.get(key)
        entries += values if isinstance(values, list) else ()
    if len(entries) > MAX_BLOBS:
        return ()
    found = (_descriptor(entry) for entry in entries)
    return tuple(descriptor for descriptor in found if descriptor is not None)


def _descriptor(value: object) -> Descriptor | None:
    try:
        return Descriptor.from_json(value)
    except ManifestInvalid:
        return None
