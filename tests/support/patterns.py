"""Bodies for tests."""

from __future__ import annotations

import sys
from array import array
from functools import lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def noise(seed: int, size: int) -> bytes:
    """Return bytes that do not compress, and that are others for each *seed*, from 0 to 2**128 - 1.

    A cipher makes them ten times as fast as a generator of random numbers.
    """
    cipher = Cipher(algorithms.AES(seed.to_bytes(16, "big")), modes.CTR(bytes(16)))
    return cipher.encryptor().update(bytes(size))


@lru_cache(8)
def pattern(size: int) -> bytes:
    """Return bytes that differ everywhere, made once for tests that follow each other."""
    numbers = array("I", range(size // 4 + 1))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers.tobytes()[:size]
