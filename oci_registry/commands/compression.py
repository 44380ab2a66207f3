"""Bundles as files: plain, or compressed with zstd; gzip is read too, since other tools write it."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from oci_registry.commands.problems import CommandFailed
from oci_registry.commands.tar_reader import TarError
from oci_registry.commands.tar_writer import Sink

SUFFIX = ".zst"
WINDOW = 128 * 1024 * 1024
"""The maximum memory in bytes for reading a compressed bundle."""
_LEVEL = 3
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"


def _zstandard(path: str) -> Any:
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        raise CommandFailed(
            f"{path}: zstd needs the Python package zstandard (pip install 'oci-registry[cli]'); "
            "a plain .tar needs nothing"
        ) from None
    return zstandard


def is_compressed(path: str) -> bool:
    """Return whether a new bundle of this name is to be compressed."""
    return path.endswith(SUFFIX)


@contextmanager
def new_file(path: str) -> Iterator[Sink]:
    """Write a file that appears, complete, only if the block ends without an error."""
    zstandard = _zstandard(path) if is_compressed(path) else None
    folder, name = os.path.split(os.path.abspath(path))
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with open(descriptor, "wb") as file:
            if zstandard is None:
                yield file
            else:
                compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
                with compressor.stream_writer(file, closefd=False) as writer:
                    yield writer
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def opened(path: str) -> Iterator[tuple[BinaryIO, bool]]:
    """Open a bundle; yield its bytes, uncompressed, and whether they can be skipped by seeking.

    Errors of the compressed form are raised as `TarError`.
    """
    with open(path, "rb") as file:
        start = file.read(4)
        file.seek(0)
        if start == _ZSTD:
            zstandard = _zstandard(path)
            reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(
                file, read_across_frames=True, closefd=False
            )
            with reader, _as_tar_error(zstandard.ZstdError):
                yield cast(BinaryIO, _Full(reader)), False
        elif start[:2] == _GZIP:
            with gzip.open(file) as reader, _as_tar_error(EOFError, zlib.error, gzip.BadGzipFile):
                yield cast(BinaryIO, reader), False
        else:
            yield file, file.seekable()


@contextmanager
def _as_tar_error(*errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise TarError(f"it cannot be decompressed: {error}") from None


class _Full:
    """Reads exactly as many bytes as requested, except at the end."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        """Return *size* bytes, fewer only at the end."""
        pieces, left = [], size
        while left and (piece := self._reader.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)
