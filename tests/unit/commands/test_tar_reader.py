"""Archives that are not trusted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.tar_reader import TarError, TarLimits, TarReader
from oci_registry.commands.tar_writer import TarWriter

LIMITS = TarLimits()
NAME = "blobs/sha512/" + 128 * "a"


def packed(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def of_type(kind: bytes, name: str = "x", link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    """Return a member of a type, without content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def read(data: bytes, limits: TarLimits = LIMITS, *, seekable: bool = True) -> dict[str, bytes]:
    """Return the files of an archive."""
    reader = TarReader(io.BytesIO(data), limits, seekable=seekable)
    return {member.name: member.whole(10**6) for member in reader if not member.folder}


def changed(data: bytes, change: Callable[[bytearray], None]) -> bytes:
    """Return an archive whose first header is changed, with the right checksum."""
    whole = bytearray(data)
    change(whole)
    total = sum(whole[:148]) + 8 * 32 + sum(whole[156:512])
    whole[148:156] = b"%06o\0 " % total
    return bytes(whole)


class Reading(SynchronousTestCase):
    """What is accepted, and what is refused."""

    def refused(self, data: bytes, reason: str, limits: TarLimits = LIMITS) -> None:
        for seekable in (True, False):
            error = self.assertRaises(TarError, read, data, limits, seekable=seekable)
            self.assertIn(reason, str(error))

    def test_formats(self) -> None:
        """Long names and folders are read in the formats that tools write."""
        members = [
            of_type(tarfile.DIRTYPE, "blobs"),
            (tarfile.TarInfo(NAME), b"one"),
            (tarfile.TarInfo("./index.json"), b"two" * 1000),
        ]
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            found = read(packed(*members, form=form))
            self.assertEqual({NAME: b"one", "index.json": b"two" * 1000}, found)

    def test_types(self) -> None:
        """Links, devices and pipes are refused."""
        for kind, what in (
            (tarfile.SYMTYPE, "symbolic link"),
            (tarfile.LNKTYPE, "hard link"),
            (tarfile.CHRTYPE, "device"),
            (tarfile.BLKTYPE, "device"),
            (tarfile.FIFOTYPE, "pipe"),
            (b"Z", "type"),
        ):
            self.refused(packed(of_type(kind, link="/etc/passwd")), what)

    def test_sparse(self) -> None:
        """Sparse files are refused, in both forms."""
        self.refused(packed(of_type(tarfile.GNUTYPE_SPARSE)), "sparse")
        info = tarfile.TarInfo("x")
        info.pax_headers = {"GNU.sparse.major": "1"}
        self.refused(packed((info, b"x")), "sparse")

    def test_names(self) -> None:
        """Names that leave the folder, or are not for printing, are refused."""
        for name in ("../x", "/etc/x", "a/../../x", "blobs/..", "a\nb", "a\\..\\b", "\x1b[2J"):
            self.refused(packed((tarfile.TarInfo(name), b"")), "not a name below")

    def test_extended_headers(self) -> None:
        """Extended headers that are huge or malformed are refused before they are read."""
        info = tarfile.TarInfo("x")
        info.pax_headers = {"comment": "y" * 100_000}
        self.refused(packed((info, b"")), "extended header of")
        info = tarfile.TarInfo("x")
        info.pax_headers = {"size": "-1"}
        self.refused(packed((info, b"")), "malformed size")
        long = packed((tarfile.TarInfo("n" * 100_000), b""), form=tarfile.GNU_FORMAT)
        self.refused(long, "extended header of")
        garbled = packed((tarfile.TarInfo(NAME), b"")).replace(b"path=", b"path\n")
        self.assertRaises(TarError, read, garbled.replace(b" path\n", b"xpath\n"))

    def test_sizes(self) -> None:
        """A size that is malformed, too large, or more than there is, is refused."""
        data = packed((tarfile.TarInfo("x"), b"content"))

        def size(text: bytes) -> bytes:
            return changed(data, lambda whole: whole.__setitem__(slice(124, 136), text))

        self.refused(size(b"00000777777\0"), "truncated")
        self.refused(size(b"0000000000z\0"), "malformed number")
        self.refused(size(b"\x80" + b"\xff" * 11), "more than")
        self.refused(size(b"\xff" * 12), "malformed number")

    def test_limits(self) -> None:
        """There is a limit for members."""
        members = [(tarfile.TarInfo(str(number)), b"") for number in range(4)]
        self.refused(packed(*members), "more than 3", TarLimits(members=3))

    def test_damage(self) -> None:
        """An archive that is cut anywhere, or is none, is refused."""
        data = packed((tarfile.TarInfo("x"), b"y" * 700))
        for length in (0, 100, 512, 800, 1212, 1300, 1536):
            self.assertRaises(TarError, read, data[:length])
        self.refused(b"no archive " * 100, "not a tar archive")
        self.refused(changed(data, lambda _: None)[:500] + b"x" + data[501:], "corrupt")

    @given(st.binary(max_size=3000), st.integers(0, 2600), st.binary(min_size=1, max_size=40))
    def test_any_bytes(self, start: bytes, at: int, patch: bytes) -> None:
        """Whatever the bytes, they are read or refused."""
        whole = bytearray(packed((tarfile.TarInfo(NAME), b"y" * 700)))
        whole[at : at + len(patch)] = patch
        for data in (start, bytes(whole)):
            try:
                read(data)
            except TarError:
                continue

    @given(
        st.dictionaries(
            st.from_regex(r"\A[a-z]{1,20}(/[a-z0-9]{1,150})?\Z"),
            st.binary(max_size=2000),
            max_size=5,
        )
    )
    def test_round_trip(self, files: dict[str, bytes]) -> None:
        """What the writer has written is read, by tarfile too, and is the same each time."""
        archives = []
        for _ in range(2):
            made = io.BytesIO()
            writer = TarWriter(made)
            for name, data in files.items():
                writer.file(name, len(data), iter([data]))
            writer.end()
            archives.append(made.getvalue())
        self.assertEqual(archives[0], archives[1])
        self.assertEqual(files, read(archives[0]))
        with tarfile.open(fileobj=io.BytesIO(archives[0])) as tar:
            self.assertEqual(list(files), tar.getnames())
            self.assertEqual({0}, {0, *(info.mtime for info in tar.getmembers())})
