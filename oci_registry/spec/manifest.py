"""Manifests: the bytes as they came, and the facts a registry needs from them.

OCI image spec, sections "Image Manifest" and "Image Index", and their Docker counterparts.
The bytes are never written anew: a digest names bytes, not meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import NoReturn, Self

from attrs import field, frozen

from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import ManifestInvalid
from oci_registry.spec.mediatypes import (
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    essence,
    is_media_type,
)

MAX_MANIFEST_SIZE = 4 * 1024 * 1024
"""The most bytes of a manifest; the distribution spec has registries accept at least these."""


@frozen
class _Facts:
    children: tuple[Descriptor, ...]
    blobs: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str | None
    annotations: Mapping[str, str]


@frozen(slots=False)
class Manifest:
    """A manifest or an index, under the type and the digest it is served with.

    The facts are read from ``raw`` once, when the first of them is asked for, and the parsed
    document is dropped again.  Malformed entries of a document are passed over; only bytes
    that are no JSON object at all raise `ManifestInvalid`.
    """

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest

    @classmethod
    def read(cls, raw: bytes, content_type: str | None, digest: Digest) -> Self:
        """The manifest in ``raw``, with its media type decided.

        A manifest type in ``content_type`` (a header, parameters allowed) is believed; else
        what the document says of itself; else its shape; else any other ``content_type``, if
        at least there is a ``schemaVersion``.  `ManifestInvalid` if nothing of that applies or
        ``raw`` is too long or no JSON object in UTF-8.  That ``digest`` is the digest of
        ``raw`` is for the caller to have checked.
        """
        document = _parse(raw)
        manifest = cls(raw, _decide_type(document, essence(content_type)), digest)
        # What cached_property would store later, for the document is at hand now.
        vars(manifest)["_facts"] = _read_facts(document)
        return manifest

    @property
    def descriptor(self) -> Descriptor:
        """What an index would say of this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests that an index lists."""
        return self._facts.children

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, those included that may be had elsewhere (``urls``)."""
        return self._facts.blobs

    @property
    def subject(self) -> Descriptor | None:
        """The manifest that this one is about, if any."""
        return self._facts.subject

    @property
    def artifact_type(self) -> str | None:
        """The type under which this manifest is listed among its subject's referrers.

        That is ``artifactType``, or the type of the config where there is none (distribution
        spec, section "Listing Referrers").
        """
        return self._facts.artifact_type

    @property
    def annotations(self) -> Mapping[str, str]:
        """The annotations of the manifest itself; read-only."""
        return self._facts.annotations

    @cached_property
    def _facts(self) -> _Facts:
        return _read_facts(_parse(self.raw))


def _parse(raw: bytes) -> Mapping[str, object]:
    if len(raw) > MAX_MANIFEST_SIZE:
        raise ManifestInvalid(
            f"a manifest has at most {MAX_MANIFEST_SIZE} bytes, this one has {len(raw)}"
        )
    try:
        # Decoded here, because json.loads would take UTF-16 bytes as well.
        document = json.loads(raw.decode("utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ManifestInvalid("the manifest is nested too deeply") from None
    except ValueError:
        raise ManifestInvalid("the manifest is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("the manifest is not a JSON object")
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _decide_type(document: Mapping[str, object], served_as: str | None) -> str:
    if served_as in MANIFEST_TYPES:
        return served_as
    own = document.get("mediaType")
    if isinstance(own, str) and is_media_type(own):
        return own
    if isinstance(document.get("manifests"), list):
        return OCI_INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
        return OCI_MANIFEST
    if served_as is not None and "schemaVersion" in document:
        return served_as
    raise ManifestInvalid("the document is no manifest: neither a mediaType nor the shape of one")


def _read_facts(document: Mapping[str, object]) -> _Facts:
    config = _descriptor(document.get("config"))
    annotations = document.get("annotations")
    if not isinstance(annotations, dict):
        annotations = {}
    return _Facts(
        children=_descriptors(document.get("manifests")),
        blobs=(
            *(() if config is None else (config,)),
            *_descriptors(document.get("layers")),
            *_descriptors(document.get("blobs")),
        ),
        subject=_descriptor(document.get("subject")),
        artifact_type=_artifact_type(document, config),
        annotations=MappingProxyType(
            {key: value for key, value in annotations.items() if isinstance(value, str)}
        ),
    )


def _artifact_type(document: Mapping[str, object], config: Descriptor | None) -> str | None:
    own = document.get("artifactType")
    if isinstance(own, str) and own:
        return own
    return None if config is None else config.media_type


def _descriptor(value: object) -> Descriptor | None:
    try:
        return Descriptor.from_json(value)
    except ManifestInvalid:
        return None


def _descriptors(values: object) -> tuple[Descriptor, ...]:
    if not isinstance(values, list):
        return ()
    found = (_descriptor(value) for value in values)
    return tuple(descriptor for descriptor in found if descriptor is not None)
