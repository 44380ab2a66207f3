"""Reads and verifies a whole bundle before anything is stored.

The file is read in passes, so that memory stays bounded whatever the order of its members: the first
verifies every digest and finds the index; manifests that came before an index named them are read in
further passes, at most one for each level of indexes. A last pass yields the blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import Factory, define, frozen

from oci_registry.commands.compression import opened
from oci_registry.commands.layout import INDEX, MARK, IndexEntry, parse_blob_name, parse_index
from oci_registry.commands.problems import CommandFailed
from oci_registry.commands.tar_reader import Member, TarError, TarLimits, TarReader
from oci_registry.spec.contents import DEEPEST, Unreadable, children_of
from oci_registry.spec.descriptor import Descriptor
from oci_registry.spec.digest import Digest, Verifier
from oci_registry.spec.documents import read_object
from oci_registry.spec.errors import RegistryError, shown
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.spec.referrers import subject_of

Admit = Callable[[Digest, int], None]
"""Called with digest and size of each member before its bytes are read; may raise `CommandFailed`."""


@frozen
class BundleLimits:
    """Limits of a bundle. *index*: bytes of ``index.json``; *manifests*: bytes of all manifests together."""

    index: int = MAX_MANIFEST_SIZE
    manifests: int = 128 * 1024 * 1024
    tar: TarLimits = Factory(TarLimits)


@define
class Bundle:
    """A verified bundle: the sizes of all its content, its images, and their manifests.

    *referrers*: manifests without a name whose subject is in the bundle, by their subjects.
    """

    path: str
    sizes: dict[Digest, int]
    images: list[IndexEntry]
    manifests: dict[Digest, Manifest]
    referrers: dict[Digest, list[Manifest]]
    _limits: BundleLimits

    def find(self, digest: Digest) -> Manifest | None:
        """Return a manifest, or None."""
        return self.manifests.get(digest)

    def blobs(self) -> Iterator[tuple[Digest, int, Iterator[bytes]]]:
        """Yield digest, size and bytes of all content, in the order of the file."""
        with _reading(self.path, self._limits) as members:
            for member in members:
                digest = parse_blob_name(member.name)
                if digest is not None:
                    yield digest, member.size, member.pieces()


def read_bundle(path: str, admit: Admit, limits: BundleLimits = BundleLimits()) -> Bundle:
    """Return the bundle at *path*; raise `CommandFailed` if anything in it is invalid."""
    reading = _Reader(path, admit, limits)
    reading.verify()
    for _ in range(DEEPEST):
        if not reading.outstanding():
            break
        reading.fetch()
    manifests = reading.manifests
    children = {
        child.descriptor.digest for one in manifests.values() for child in children_of(one) or ()
    }
    images: list[IndexEntry] = []
    referrers: dict[Digest, list[Manifest]] = {}
    for entry in reading.images:
        digest = entry.descriptor.digest
        if entry.full_name is not None or entry.ref_name is not None:
            images.append(entry)
            continue
        subject = subject_of(manifests[digest])
        if subject is not None and subject in manifests:
            referrers.setdefault(subject, []).append(manifests[digest])
        elif digest not in children:
            # Other tools also list the manifests of an index.
            images.append(entry)
    return Bundle(path, reading.sizes, images, manifests, referrers, limits)


@contextmanager
def _reading(path: str, limits: BundleLimits) -> Iterator[Iterator[Member]]:
    """Yield the members of a bundle; errors become `CommandFailed` with the name of the file."""
    try:
        with opened(path) as (file, seekable):
            yield iter(TarReader(file, limits.tar, seekable=seekable))
    except (TarError, Unreadable, RegistryError, ValueError) as error:
        raise CommandFailed(f"{path}: {error}") from None


@define
class _Reader:
    """The passes over one bundle."""

    path: str
    admit: Admit
    limits: BundleLimits
    sizes: dict[Digest, int] = Factory(dict)
    images: list[IndexEntry] = Factory(list)
    manifests: dict[Digest, Manifest] = Factory(dict)
    wanted: dict[Digest, Descriptor] = Factory(dict)
    kept: int = 0

    def verify(self) -> None:
        """Read and verify everything once."""
        names: set[str] = set()
        with _reading(self.path, self.limits) as members:
            for member in members:
                if member.folder:
                    continue
                if member.name in names:
                    raise TarError(f"{shown(member.name)} is there twice")
                names.add(member.name)
                self._verify(member)
        if MARK not in names or INDEX not in names:
            absent = MARK if MARK not in names else INDEX
            raise CommandFailed(f"{self.path}: it is not an OCI image layout: it has no {absent}")
        if not self.images:
            raise CommandFailed(f"{self.path}: it has no image")
        for entry in self.images:
            if entry.descriptor.digest not in self.sizes:
                raise CommandFailed(
                    f"{self.path}: the manifest {entry.descriptor.digest} is not in it"
                )

    def outstanding(self) -> set[Digest]:
        """Return the manifests that are in the bundle and have not been read."""
        return {digest for digest in self.wanted if digest in self.sizes} - self.manifests.keys()

    def fetch(self) -> None:
        """Read members that are now known to be manifests."""
        found = self.outstanding()
        with _reading(self.path, self.limits) as members:
            for member in members:
                digest = parse_blob_name(member.name)
                if digest in found or digest in self.outstanding():
                    assert digest is not None
                    self._take(digest, member.whole(MAX_MANIFEST_SIZE))

    def _verify(self, member: Member) -> None:
        if member.name == MARK:
            self._check_mark(member.whole(1024))
            return
        if member.name == INDEX:
            self.images = parse_index(member.whole(self.limits.index))
            for entry in self.images:
                self._want(entry.descriptor)
            return
        digest = parse_blob_name(member.name)
        if digest is None:
            # docker and containerd add files of their own.
            return
        self.admit(digest, member.size)
        verifier = Verifier(digest)
        keep = digest in self.wanted and member.size <= MAX_MANIFEST_SIZE
        pieces = []
        for piece in member.pieces():
            verifier.update(piece)
            if keep:
                pieces.append(piece)
        if not verifier.verified():
            raise TarError(f"{digest} is corrupt: it has the digest {verifier.actual()}")
        self.sizes[digest] = member.size
        if keep:
            self._take(digest, b"".join(pieces))

    @staticmethod
    def _check_mark(raw: bytes) -> None:
        version = (read_object(raw) or {}).get("imageLayoutVersion")
        if not isinstance(version, str) or not version.startswith("1."):
            raise TarError(f"{MARK} is not that of an OCI image layout, version 1")

    def _want(self, descriptor: Descriptor) -> None:
        self.wanted.setdefault(descriptor.digest, descriptor)

    def _take(self, digest: Digest, raw: bytes) -> None:
        """Read a manifest; if it is an index, note the manifests in it as wanted."""
        self.kept += len(raw)
        if self.kept > self.limits.manifests:
            raise TarError(f"its manifests have more than {self.limits.manifests} bytes")
        described = self.wanted[digest]
        if described.size not in (None, len(raw)):
            raise TarError(
                f"the manifest {digest} has {len(raw)} bytes, not {described.size} as stated"
            )
        manifest = Manifest.read(raw, described.media_type, digest)
        self.manifests[digest] = manifest
        for child in children_of(manifest) or ():
            self._want(child.descriptor)
