"""Byte ranges asked for and answered."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import RangeInvalid
from oci_registry.spec.ranges import (
    ByteRange,
    RequestedRange,
    parse_content_range,
    parse_range,
    parse_unsatisfied,
)

WHOLE = RequestedRange()


def part_of(header: str | None, size: int) -> ByteRange | None:
    """Return the part of so many bytes that a header asks for."""
    asked = parse_range(header)
    return None if asked is None else asked.of(size)


SIZES = st.integers(0, 2**63 - 1)


class Values(SynchronousTestCase):
    """A range as a value."""

    def test_value(self) -> None:
        """A range knows its length and its header."""
        part = ByteRange(0, 100)
        self.assertEqual(part.length, 100)
        self.assertEqual(part.content_range(1000), "bytes 0-99/1000")


class Asked(SynchronousTestCase):
    """The Range header of a request for ten bytes."""

    def test_parts(self) -> None:
        """A part is served as it is asked for, and ends where the content does."""
        for header, (start, stop) in {
            "bytes=0-": (0, 10),
            "bytes=0-0": (0, 1),
            "bytes=0-9": (0, 10),
            "bytes=3-5": (3, 6),
            "bytes=9-": (9, 10),
            "bytes=9-9": (9, 10),
            "bytes=0-10": (0, 10),
            "bytes=5-10": (5, 10),
            "bytes=5-" + "9" * 19: (5, 10),
            "bytes=5-" + "9" * 150: (5, 10),
            "bytes=" + "0" * 100 + "5-": (5, 10),
            "bytes=-1": (9, 10),
            "bytes=-10": (0, 10),
            "bytes=-11": (0, 10),
            "bytes=-" + "9" * 150: (0, 10),
            "Bytes=3-5": (3, 6),
            " bytes=3-5 ": (3, 6),
            "bytes= 3-5": (3, 6),
            "bytes=3-" + "9" * 192: (3, 10),
        }.items():
            self.assertEqual(part_of(header, 10), ByteRange(start, stop), header)

    def test_whole(self) -> None:
        """A header that is missing, malformed, absurd or for several parts is ignored."""
        for header in (
            None,
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=--1",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-3",
            "bytes=99-98",
            "bytes=+1-",
            "bytes=1-+2",
            "bytes=-1-2",
            "bytes=1-2-3",
            "bytes=0x1-",
            "bytes=1.0-",
            "bytes=1 - 2",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=,0-1",
            "bytes:0-1",
            "bytes 0-1",
            "bytes =0-1",
            "items=0-1",
            "none",
            "bytes=0-1\n",
            "bytes=\u0661-\u0662",
            "b\u0443tes=0-1",
            "byte\u017f=0-1",
            "bytes=0-" + "9" * 193,
            "bytes=" + "0-1," * 10_000,
            "bytes=" + "9" * 1_000_000 + "-",
        ):
            self.assertIsNone(part_of(header, 10), header)

    def test_nothing_there(self) -> None:
        """A range without a byte is refused with the size there is."""
        for header, size in (
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=11-12", 10),
            ("bytes=" + "9" * 19 + "-", 10),
            ("bytes=" + "9" * 150 + "-", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
            ("bytes=-5", 0),
        ):
            error = self.assertRaises(RangeInvalid, part_of, header, size)
            self.assertEqual(error.headers["Content-Range"], f"bytes */{size}")

    @settings(deadline=None)
    @given(SIZES, SIZES, SIZES)
    def test_like_a_slice(self, first: int, last: int, size: int) -> None:
        """Any range is what the slice of the content would be."""
        try:
            part = part_of(f"bytes={first}-{last}", size)
        except RangeInvalid:
            self.assertGreaterEqual(first, size)
            return
        if part is None:
            self.assertLess(last, first)
            return
        self.assertEqual((part.start, part.stop), (first, min(last + 1, size)))

    @settings(deadline=None)
    @given(st.integers(0, 60), st.integers(0, 50))
    def test_suffix(self, length: int, size: int) -> None:
        """A suffix is the end of the content, or all of it."""
        content = bytes(size)
        try:
            part = part_of(f"bytes=-{length}", size)
        except RangeInvalid:
            self.assertTrue(length == 0 or size == 0)
            return
        assert part is not None
        self.assertEqual(part.stop, size)
        self.assertEqual(part.length, len(content[-length:]))

    @settings(deadline=None)
    @given(
        st.text(max_size=30)
        | st.from_regex(r"bytes=[0-9 ,-]{0,30}")
        | st.from_regex(r"\Abytes=[0-9]{0,3}-[0-9]{0,3}\Z"),
        st.integers(0, 1000),
    )
    def test_any_header(self, header: str, size: int) -> None:
        """Any header asks for the whole, for a part within, or for nothing there is."""
        try:
            part = part_of(header, size)
        except RangeInvalid:
            return
        if part is not None:
            self.assertTrue(0 <= part.start < part.stop <= size)


class Answered(SynchronousTestCase):
    """The Content-Range header of an upstream."""

    def test_good(self) -> None:
        """Start, stop and size are read; the size may not be told."""
        for header, expected in {
            "bytes 5-9/10": (5, 10, 10),
            "bytes 0-0/1": (0, 1, 1),
            "bytes 5-9/*": (5, 10, None),
            "Bytes  5-9/10": (5, 10, 10),
            " bytes 5-9/10 ": (5, 10, 10),
            "bytes 5-9/10".ljust(200): (5, 10, 10),
        }.items():
            self.assertEqual(parse_content_range(header), expected)

    def test_bad(self) -> None:
        """A header that is missing, malformed or contradicts itself tells nothing."""
        for header in (
            None,
            "",
            "bytes",
            "bytes */10",
            "bytes */*",
            "bytes 5-9",
            "bytes 5-9/",
            "bytes 9-5/10",
            "bytes 9-8/10",
            "bytes 5-9/10".ljust(201),
            "bytes 5-10/10",
            "bytes 0-0/0",
            "bytes=5-9/10",
            "bytes5-9/10",
            "items 5-9/10",
            "bytes -5-9/10",
            "bytes 5-9/10\n",
            "bytes 5-9/10/10",
            "bytes \u0665-9/10",
            "bytes 0-" + "9" * 300 + "/*",
        ):
            self.assertIsNone(parse_content_range(header), header)

    def test_nothing_there(self) -> None:
        """A 416 tells the size in one form only."""
        for header, expected in {
            "bytes */10": 10,
            " Bytes  */0 ": 0,
            None: None,
            "": None,
            "bytes */*": None,
            "bytes */": None,
            "bytes */-1": None,
            "bytes 5-9/10": None,
            "bytes=*/10": None,
            "bytes */\u0665": None,
            "bytes */" + "9" * 300: None,
        }.items():
            self.assertEqual(expected, parse_unsatisfied(header), header)

    @settings(deadline=None)
    @given(SIZES, SIZES, SIZES)
    def test_round_trip(self, one: int, other: int, more: int) -> None:
        """What one end writes the other reads."""
        start, stop = sorted((one, other))
        size = stop + 1 + more
        part = ByteRange(start, stop + 1)
        self.assertEqual(parse_content_range(part.content_range(size)), (start, stop + 1, size))

    @settings(deadline=None)
    @given(
        st.text(max_size=30)
        | st.from_regex(r"bytes [0-9/*-]{0,30}")
        | st.builds(
            "bytes {}-{}/{}".format,
            st.integers(0, 9),
            st.integers(0, 20),
            st.integers(0, 40) | st.just("*"),
        )
    )
    def test_any_header(self, header: str) -> None:
        """Any header tells a range that is possible, or nothing."""
        found = parse_content_range(header)
        if found is not None:
            start, stop, size = found
            self.assertTrue(0 <= start < stop)
            self.assertTrue(size is None or stop <= size)


class ExpectedPart(SynchronousTestCase):
    """What can be told of a range before the size is known."""

    def test_known(self) -> None:
        """A range from the start tells where it is; all else may be anything."""
        for header, part in (
            ("bytes=0-99", (0, 100)),
            ("bytes=5-5", (5, 6)),
            ("Bytes= 7-", (7, None)),
            ("bytes=-5", (0, None)),
            ("bytes=9-5", (0, None)),
            ("bytes=0-1,5-6", (0, None)),
            (f"bytes={2**63}-", (0, None)),
            ("nonsense", (0, None)),
            ("", (0, None)),
            (None, (0, None)),
        ):
            self.assertEqual((parse_range(header) or WHOLE).expected, part, header)

    @settings(deadline=None)
    @given(SIZES, st.text(max_size=30) | st.from_regex(r"bytes=[0-9-]{0,30}"))
    def test_agrees(self, size: int, header: str) -> None:
        """What is expected holds what is served, whatever the size turns out to be."""
        start, stop = (parse_range(header) or WHOLE).expected
        self.assertTrue(start >= 0 and (stop is None or stop > start))
        try:
            part = part_of(header, size)
        except RangeInvalid:
            return
        if part is not None:
            self.assertTrue(start <= part.start and (stop is None or part.stop <= stop))
