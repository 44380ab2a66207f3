"""Types of a scrub: objects, findings, progress and reports."""

from __future__ import annotations

import json
from enum import Enum
from math import isfinite
from typing import Any, Protocol

from attrs import asdict, field, frozen

from oci_registry.spec.digest import Digest
from oci_registry.storage.keys import (
    BLOBS,
    REPOSITORIES,
    parse_blob_key,
    parse_manifest_key,
    parse_referrers_key,
    parse_tag_key,
)


class Kind(Enum):
    """The kinds of stored objects."""

    BLOB = "blob"
    MANIFEST = "manifest"
    TAG = "tag"
    REFERRERS = "referrers"


class Outcome(Enum):
    """The outcome for a corrupt object."""

    QUARANTINED = "moved to the quarantine"
    REMOVED = "removed"
    REPLACED = "replaced meanwhile"
    LEFT = "left in place"


@frozen
class Subject:
    """A stored object, by its key.

    *digest*: of a blob or a manifest, or the subject of a list of referrers. *host* and *repository* are
    None if objects of the kind have none.
    """

    key: str
    kind: Kind
    digest: Digest | None = None
    host: str | None = None
    repository: str | None = None
    tag: str | None = None

    @classmethod
    def at(cls, key: str) -> Subject | None:
        """Return the object that belongs at a key; None if the scrub does not check such objects."""
        blob = parse_blob_key(key)
        if blob is not None:
            return cls(key, Kind.BLOB, blob)
        manifest = parse_manifest_key(key)
        if manifest is not None:
            return cls(key, Kind.MANIFEST, manifest[1], manifest[0])
        tag = parse_tag_key(key)
        if tag is not None:
            return cls(key, Kind.TAG, None, *tag)
        referrers = parse_referrers_key(key)
        if referrers is not None:
            host, repository, digest = referrers
            return cls(key, Kind.REFERRERS, digest, host, repository)
        return None

    def __str__(self) -> str:
        """Return how the log names it."""
        match self.kind:
            case Kind.BLOB:
                return f"blob {self.digest}"
            case Kind.MANIFEST:
                return f"manifest {self.digest} of {self.host}"
            case Kind.TAG:
                return f"tag {self.host}/{self.repository}:{self.tag}"
            case Kind.REFERRERS:
                return f"list of referrers of {self.host}/{self.repository}@{self.digest}"


@frozen
class Fault:
    """A corrupt object. *size* in bytes; *reason*: what is wrong; *images*: some of those that need it.

    *problem*: why it was left in place. *restored*: it was stored again, from memory or its registry.
    """

    subject: Subject
    size: int
    reason: str
    outcome: Outcome
    images: tuple[str, ...] = ()
    problem: str | None = None
    restored: bool = False


@frozen
class Counts:
    """The counts of a pass so far; *size*: the bytes that were read."""

    objects: int = 0
    blobs: int = 0
    size: int = 0
    found: int = 0
    quarantined: int = 0
    removed: int = 0
    restored: int = 0
    dangling: int = 0
    """Tags whose manifest is not stored."""


@frozen
class Progress:
    """The progress of a pass. It can be stored, and another process can continue from it.

    *began*, *updated*, *ended*: seconds since the epoch; *ended* is 0 until the pass has ended. *after*: the
    key of the last object that was checked. *owner*: the process that runs the pass; empty if none does.
    """

    began: float
    updated: float
    owner: str
    after: str = ""
    ended: float = 0.0
    counts: Counts = field(factory=Counts)

    def to_json(self) -> bytes:
        """Return the stored form."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Progress:
        """Read the stored form; ValueError when it is not one."""
        try:
            value: dict[str, Any] = json.loads(data)
            times = [float(value[name]) for name in ("began", "updated", "ended")]
            counts = {name: int(value["counts"].get(name, 0)) for name in asdict(Counts())}
            owner, after = str(value["owner"]), str(value["after"])
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise ValueError(f"not the progress of a scrub: {error}") from None
        if after and not after.startswith((f"{BLOBS}/", f"{REPOSITORIES}/")):
            raise ValueError("not the progress of a scrub: the position is no key")
        if not all(map(isfinite, times)):
            raise ValueError("not the progress of a scrub: a time is not finite")
        began, updated, ended = times
        return cls(began, updated, owner, after, ended, Counts(**counts))


class Report(Protocol):
    """Receives the findings of a pass as they occur."""

    def checked(self, kind: Kind, size: int) -> None:
        """An object of *size* bytes was read."""

    def found(self, fault: Fault) -> None:
        """An object is corrupt; *fault* has the outcome."""

    def incomplete(self, problem: str) -> None:
        """Some objects could not be listed, and so were not checked."""


class Mender(Protocol):
    """Finds the images that need an object, and fetches it again."""

    async def images(self, subject: Subject) -> tuple[str, ...]:
        """Return some of the images that need an object. Never fails."""

    async def repository(self, subject: Subject) -> str | None:
        """Return a repository that a manifest was pulled from, if one is known. Never fails."""

    async def fetch(self, subject: Subject) -> bool:
        """Fetch an object again from its registry, if that is known; return whether it is stored."""
