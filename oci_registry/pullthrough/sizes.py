"""How long blobs are, according to the manifests that need them."""

from __future__ import annotations

from collections import OrderedDict

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import Manifest

_REMEMBERED = 20_000


class KnownSizes:
    """Sizes in bytes, by registry, repository and digest.

    Kept by repository, so that a manifest in one cannot spoil a blob that another needs.
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[tuple[str, str, Digest], int] = OrderedDict()

    def learn(self, host: str, repository: str, manifest: Manifest) -> None:
        """Take the sizes from a manifest that is being served."""
        for blob in manifest.blobs:
            if blob.size is not None:
                self._sizes[host, repository, blob.digest] = blob.size
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)

    def get(self, host: str, repository: str, digest: Digest) -> int | None:
        """Return a blob's size if a manifest of the same repository told it."""
        return self._sizes.get((host, repository, digest))
