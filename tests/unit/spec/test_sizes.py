"""Sizes as people write them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.sizes import Size, parse_bytes, parse_rate, parse_size

GIB = 2**30


class Sizes(SynchronousTestCase):
    """Numbers with units, and shares."""

    def test_sizes(self) -> None:
        """Units are powers of 1024 or of 1000, in any case."""
        for text, size in (
            ("200GiB", 200 * GIB),
            ("200 gib", 200 * GIB),
            ("200G", 200 * GIB),
            ("200Gi", 200 * GIB),
            ("200GB", 200 * 10**9),
            ("1.5TiB", 3 * 2**39),
            ("500MB", 500 * 10**6),
            ("20m", 20 * 2**20),
            ("64 kB", 64_000),
            ("0", 0),
        ):
            self.assertEqual(parse_size(text).bytes, size, text)
            self.assertIsNone(parse_size(text).share, text)

    def test_shares(self) -> None:
        """A share is one of the volume."""
        self.assertEqual(parse_size("80%").of(1000), 800)
        self.assertEqual(parse_size("12.5 %").of(1000), 125)
        self.assertEqual(parse_size("1GiB").of(1000), GIB)

    def test_rates(self) -> None:
        """A rate is a size for each second, which may be said."""
        for text, size in (
            ("20MB", 20_000_000),
            ("20MiB/s", 20 * 2**20),
            ("1 kB / s", 1000),
            ("0", 0),
        ):
            self.assertEqual(parse_rate(text).bytes, size, text)
        for text in ("5%", "20", "/s", "MB/s", "20MB/m"):
            with self.assertRaisesRegex(ValueError, "^bad rate '.*; accepted: bytes per second"):
                parse_rate(text)

    def test_bytes(self) -> None:
        """Where a share has no meaning, none is accepted, and none is offered."""
        self.assertEqual(GIB, parse_bytes("1GiB").bytes)
        for text in ("5%", "20", "lots"):
            with self.assertRaisesRegex(ValueError, "^bad size '.*; accepted: a number [^%]*$"):
                parse_bytes(text)

    def test_refused(self) -> None:
        """What is no size is refused, with a reason."""
        for text, reason in (
            ("", "it is not a size"),
            ("lots", "it is not a size"),
            ("-5G", "it is negative"),
            ("200", "it needs a unit"),
            ("5 parsecs", "it is not a size"),
            ("0%", "a share is more than 0% and at most 100%"),
            ("101%", "a share is more than 0% and at most 100%"),
            ("9999999PiB", "it is too large"),
            ("1GiB" * 50, "it is too long"),
        ):
            error = self.assertRaises(ValueError, parse_size, text)
            self.assertIn(reason, str(error), text)

    @given(
        st.text(max_size=30)
        | st.from_regex(r"\A[0-9]{1,9}(\.[0-9]{1,3})? ?([kKMGTP]i?B|B|%)?\Z")
        | st.from_regex(r"\A[1-9][0-9]{0,3}([MGT]i?)?B\Z")
    )
    def test_anything(self, text: str) -> None:
        """Any text is a size or a ValueError."""
        try:
            size = parse_size(text)
        except ValueError:
            return
        assert isinstance(size, Size)
        assert 0 <= size.bytes <= 2**60
