"""Writes reproducible tar archives, without times and owners."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Protocol

from oci_registry.commands.problems import CommandFailed
from oci_registry.commands.tar_reader import BLOCK


class Sink(Protocol):
    """Something to write bytes to."""

    def write(self, data: bytes, /) -> object:
        """Write all bytes."""


class TarWriter:
    """Appends files to an archive; `end` completes it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def folder(self, name: str) -> None:
        """Append a folder."""
        info = tarfile.TarInfo(f"{name}/")
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._sink.write(info.tobuf(tarfile.PAX_FORMAT))

    def file(self, name: str, size: int, pieces: Iterator[bytes]) -> None:
        """Append a file of *size* bytes; `CommandFailed` if there are more or fewer."""
        info = tarfile.TarInfo(name)
        info.size = size
        self._sink.write(info.tobuf(tarfile.PAX_FORMAT))
        written = 0
        for piece in pieces:
            written += len(piece)
            if written > size:
                break
            self._sink.write(piece)
        if written != size:
            raise CommandFailed(f"{name} changed its size while it was read")
        self._sink.write(bytes(-size % BLOCK))

    def end(self) -> None:
        """Append the end mark."""
        self._sink.write(bytes(2 * BLOCK))
