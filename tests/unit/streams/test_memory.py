"""Large blocks of memory."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.streams.memory import KEPT, LARGE_BLOCK, return_large_blocks


class Blocks(SynchronousTestCase):
    """What the C library is told, if it can be."""

    def test_glibc(self) -> None:
        """Blocks from 1 MiB on are mapped one by one, and what is free of others is kept up to a limit."""
        calls: list[tuple[int, int]] = []
        library = SimpleNamespace(mallopt=lambda *args: calls.append(args))
        self.patch(ctypes, "CDLL", lambda name: library)
        return_large_blocks()
        self.assertEqual([(-3, LARGE_BLOCK), (-1, KEPT)], calls)

    def test_others(self) -> None:
        """A library without the setting is left as it is."""
        self.patch(ctypes, "CDLL", lambda name: SimpleNamespace())
        return_large_blocks()

        def none(name: object) -> None:
            raise OSError("no such library")

        self.patch(ctypes, "CDLL", none)
        return_large_blocks()
