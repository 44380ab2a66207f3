"""Reads tar archives that are not trusted, in a single pass and with bounded memory.

Only regular files and directories are accepted (POSIX ustar and pax, and long names of GNU tar), in
the subset that tools for images write. `tarfile` reads extended headers of any size into memory, and
supports links, devices and sparse files, which are not needed here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from attrs import define, frozen

from oci_registry.spec.errors import shown

BLOCK = 512
_CHUNK = 1024 * 1024
_FILES, _FOLDER = (b"0", b"\0", b"7"), b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME = b"x", b"g", b"L"
_OTHERS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
    b"K": "a long link",
}
_OCTAL = re.compile(rb"[0-7]+")
_RECORD = re.compile(rb"([0-9]{1,10}) ")


class TarError(ValueError):
    """The archive cannot be read, or has a member that is not allowed."""


@frozen
class TarLimits:
    """Limits: *extended*: bytes of an extended header; *members*: their number; *size*: bytes of a file."""

    extended: int = 64 * 1024
    members: int = 200_000
    size: int = 2**42


@define
class Member:
    """A file of an archive, or a folder. Its bytes are read with `pieces`, before the next member."""

    name: str
    size: int
    folder: bool
    _archive: TarReader

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; raise `TarError` if the archive ends before them."""
        return self._archive.content()

    def whole(self, limit: int) -> bytes:
        """Return all bytes; raise `TarError` if there are more than *limit*."""
        if self.size > limit:
            raise TarError(f"{shown(self.name)} has {self.size} bytes, more than {limit}")
        return b"".join(self.pieces())


class TarReader:
    """Iterates over the members of an archive in *file*, from its current position.

    Unread bytes of a member are skipped, by seeking if the *file* is *seekable*.
    """

    def __init__(
        self,
        file: BinaryIO,
        limits: TarLimits = TarLimits(),
        *,
        seekable: bool = False,
    ) -> None:
        self._file = file
        self._limits = limits
        self._seekable = seekable
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        count = 0
        name: str | None = None
        size: int | None = None
        while (header := self._header()) is not None:
            count += 1
            if count > self._limits.members:
                raise TarError(f"it has more than {self._limits.members} members")
            kind = header[156:157]
            declared = _number(header[124:136])
            if kind in (_PAX, _PAX_GLOBAL, _LONG_NAME):
                data = self._extended(declared)
                if kind == _LONG_NAME:
                    name = _text(data.rstrip(b"\0"))
                elif kind == _PAX:
                    records = _records(data)
                    name = records.get("path", name)
                    size = _decimal(records["size"]) if "size" in records else size
                    if any(key.startswith("GNU.sparse") for key in records):
                        raise TarError("it has a sparse file")
                continue
            member = self._member(header, kind, name or _name(header), size, declared)
            name = size = None
            self._begin(member.size)
            yield member
            self._skip()

    def content(self) -> Iterator[bytes]:
        """Yield the bytes of the current member that have not been read."""
        while self._left:
            piece = self._file.read(min(self._left, _CHUNK))
            if not piece:
                raise TarError("it is truncated")
            self._left -= len(piece)
            yield piece

    def _header(self) -> bytes | None:
        header = self._file.read(BLOCK)
        if len(header) == BLOCK and not header.strip(b"\0"):
            return None
        if len(header) < BLOCK:
            raise TarError("it is truncated" if header else "it ends without an end mark")
        stated = _OCTAL.fullmatch(header[148:156].strip(b" \0"))
        if stated is None or _checksum(header) != int(stated[0], 8):
            raise TarError("it is not a tar archive, or is corrupt")
        return header

    def _member(
        self, header: bytes, kind: bytes, name: str, size: int | None, declared: int
    ) -> Member:
        if kind not in _FILES and kind != _FOLDER:
            what = _OTHERS.get(kind, f"a member of type {shown(kind.decode('latin-1'))}")
            raise TarError(f"{shown(name)} is {what}: only files and folders are allowed")
        # In old archives, only a slash marks a folder.
        folder = kind == _FOLDER or name.endswith("/")
        length = 0 if folder else declared if size is None else size
        if length > self._limits.size:
            raise TarError(f"{shown(name)} has {length} bytes, more than {self._limits.size}")
        return Member(_clean(name), length, folder, self)

    def _begin(self, size: int) -> None:
        self._left = size
        self._padding = -size % BLOCK

    def _extended(self, size: int) -> bytes:
        if size > self._limits.extended:
            raise TarError(f"it has an extended header of {size} bytes")
        self._begin(size)
        data = b"".join(self.content())
        self._skip()
        return data

    def _skip(self) -> None:
        if self._seekable and self._left:
            # The last byte is read, so that a truncated archive is noticed.
            self._file.seek(self._left - 1, 1)
            self._left = 1
        for _ in self.content():
            pass
        padding, self._padding = self._padding, 0
        if len(self._file.read(padding)) < padding:
            raise TarError("it is truncated")


def _checksum(header: bytes) -> int:
    return sum(header[:148]) + 8 * ord(" ") + sum(header[156:])


def _number(field: bytes) -> int:
    """Return a number in octal, or in base 256, as GNU tar writes large ones."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits and _OCTAL.fullmatch(digits) is None:
        raise TarError("it has a header with a malformed number")
    return int(digits or b"0", 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise TarError("it has an extended header with a malformed size")
    return int(text)


def _name(header: bytes) -> str:
    name, prefix = header[:100].partition(b"\0")[0], b""
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].partition(b"\0")[0]
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise TarError("it has a name that is not UTF-8") from None


def _records(data: bytes) -> dict[str, str]:
    """Return the records of an extended header: ``LENGTH KEY=VALUE`` and a line end, each."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        match = _RECORD.match(data, at)
        stop = at + int(match[1]) if match else 0
        if match is None or not match.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise TarError("it has a malformed extended header")
        key, _, value = data[match.end() : stop - 1].partition(b"=")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse"):
            records[_text(key)] = _text(value)
        at = stop
    return records


def _clean(name: str) -> str:
    """Return a name without ``./`` and slashes at its ends; raise `TarError` if it leaves the folder."""
    bare = name.rstrip("/")
    while bare.startswith("./"):
        bare = bare[2:].lstrip("/")
    parts = bare.split("/")
    if name.startswith("/") or ".." in parts or not bare.isprintable() or "\\" in bare:
        raise TarError(f"{shown(name)} is not a name below the archive's own folder")
    return bare
