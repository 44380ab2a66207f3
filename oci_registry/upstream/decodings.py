"""Whether a host's encoded blobs are right as they come or inflated, where the first guess was wrong."""

from __future__ import annotations

from cachetools import FIFOCache

from oci_registry.spec.digest import Digest

_REMEMBERED = 1024


class Decodings:
    """What to do with the bodies of some blobs at some hosts: inflate them, or not."""

    def __init__(self) -> None:
        self._inflate: FIFOCache[tuple[Digest, str], bool] = FIFOCache(_REMEMBERED)

    def get(self, digest: Digest, host: str) -> bool | None:
        """Return whether to inflate a blob; None leaves it to a guess."""
        return self._inflate.get((digest, host))

    def switch(self, digest: Digest, host: str, inflated: bool) -> bool:
        """A blob was wrong, inflated or not: return whether it may be right the other way.

        Wrong both ways, it is left to a guess again.
        """
        if self._inflate.pop((digest, host), None) is not None:
            return False
        self._inflate[digest, host] = not inflated
        return True
