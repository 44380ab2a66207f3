"""Whether to inflate a host's encoded blobs, remembered where the first guess was wrong."""

from __future__ import annotations

from cachetools import FIFOCache

from oci_registry.spec.digest import Digest

_REMEMBERED = 1024


class Decodings:
    """Whether to inflate the bodies of some blobs from some hosts."""

    def __init__(self) -> None:
        self._inflate: FIFOCache[tuple[Digest, str], bool] = FIFOCache(_REMEMBERED)

    def get(self, digest: Digest, host: str) -> bool | None:
        """Return whether to inflate a blob; None if unknown."""
        return self._inflate.get((digest, host))

    def switch(self, digest: Digest, host: str, inflated: bool) -> bool:
        """Record that a blob did not match its digest; return whether the other decoding may.

        If both have failed, the entry is removed, and the next download guesses again.
        """
        if self._inflate.pop((digest, host), None) is not None:
            return False
        self._inflate[digest, host] = not inflated
        return True
