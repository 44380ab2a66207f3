"""Durations as people write them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.durations import format_duration, parse_duration

HUNDRED_YEARS = 3_155_760_000
UNITS = ["ms", "msec", "s", "sec", "m", "min", "minutes", "h", "hr", "hours", "d", "w", "M", "y"]


class Parsing(SynchronousTestCase):
    """From text to seconds."""

    def test_accepted(self) -> None:
        """Numbers with units are added up, with or without spaces."""
        for text, seconds in {
            "0": 0,
            "0s": 0,
            "0d": 0,
            "500ms": 0.5,
            "1ms": 0.001,
            "90s": 90,
            "90sec": 90,
            "90secs": 90,
            "1second": 1,
            "90 seconds": 90,
            "90m": 5400,
            "90min": 5400,
            "90mins": 5400,
            "1 minute": 60,
            "90 minutes": 5400,
            "2h": 7200,
            "2hr": 7200,
            "1hour": 3600,
            "2 hours": 7200,
            "14d": 1209600,
            "1day": 86400,
            "14 days": 1209600,
            "2w": 1209600,
            "1week": 604800,
            "2 weeks": 1209600,
            "2wks": 1209600,
            "1M": 2630016,
            "3 months": 7890048,
            "1y": 31557600,
            "1yr": 31557600,
            "31msec": 0.031,
            "31millis": 0.031,
            "100 years": HUNDRED_YEARS,
            "1h 30m": 5400,
            "1h30m": 5400,
            " 1h\t30m ": 5400,
            "1m 500ms": 60.5,
            "1d 1h 1m 1s 1ms": 90061.001,
            "007s": 7,
            "1s".rjust(100): 1,
        }.items():
            self.assertEqual(parse_duration(text), seconds, text)

    def test_long(self) -> None:
        """More than a hundred years count as a hundred years."""
        for text in ("101y", "200 years", "1000000d", "100y 1ms", "9" * 90 + "d"):
            self.assertEqual(parse_duration(text), HUNDRED_YEARS, text)

    def test_short(self) -> None:
        """Less than a millisecond is a millisecond, unless it is nothing."""
        for text in ("1ns", "17nsec", "17nanos", "3us", "3usec", "3\u00b5s", "999us 999ns"):
            self.assertEqual(parse_duration(text), 0.001, text)
        self.assertEqual(parse_duration("1001us"), 0.002)
        for text in ("0ns", "0us", "0 millis"):
            self.assertEqual(parse_duration(text), 0.0, text)

    def test_result_is_float(self) -> None:
        """Seconds are a float, so that halves have a place."""
        for value in ("0", "14d", 0):
            self.assertIsInstance(parse_duration(value), float)

    def test_zero_as_a_number(self) -> None:
        """The number 0 needs no unit, as YAML would have it."""
        self.assertEqual(parse_duration(0), 0.0)

    def test_refused(self) -> None:
        """Anything else is refused; the message names the text, the reason and a way out."""
        table: list[tuple[Any, str]] = [
            (5, "needs a unit"),
            (-5, "negative"),
            (True, "not a duration"),
            (False, "not a duration"),
            (None, "not a duration"),
            (1.5, "not a duration"),
            (float("nan"), "not a duration"),
            ([], "not a duration"),
            ("", "empty"),
            (" ", "empty"),
            ("5", "needs a unit"),
            ("00", "needs a unit"),
            ("1h30", "needs a unit"),
            ("1 2s", "needs a unit"),
            ("-5s", "negative"),
            ("-0s", "negative"),
            ("+5s", "not a list"),
            ("1h -5s", "not a list"),
            ("1.5h", "needs a unit"),
            ("1,5h", "needs a unit"),
            ("h", "not a list"),
            ("s5", "not a list"),
            ("nan", "not a list"),
            ("NaN", "not a list"),
            ("inf", "not a list"),
            ("infinity", "not a list"),
            ("1e3s", "'e' is not a unit"),
            ("5x", "'x' is not a unit"),
            ("5ss", "'ss' is not a unit"),
            ("5S", "'S' is not a unit"),
            ("1Month", "'Month' is not a unit"),
            ("5m s", "not a list"),
            ("5s,", "not a list"),
            ("5s\n", "not a list"),
            ("5s\x00", "not a list"),
            ("\u0665s", "not a list"),
            ("never", "not a list"),
            ("1s" * 1000, "too long"),
            ("1s".ljust(101), "too long"),
        ]
        for text, reason in table:
            error = self.assertRaises(ValueError, parse_duration, text)
            self.assertIn(reason, str(error), repr(text))
            self.assertIn("accepted", str(error))
            self.assertIn(repr(text)[:20], str(error))

    @settings(deadline=None)
    @given(st.text(max_size=20) | st.from_regex(r"\A([0-9]{1,5} ?[a-zM]{1,3} ?){0,4}\Z"))
    def test_any_text(self, text: str) -> None:
        """Any text is a duration up to a hundred years, or a ValueError."""
        try:
            seconds = parse_duration(text)
        except ValueError:
            return
        self.assertTrue(0 <= seconds <= HUNDRED_YEARS)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(UNITS)), min_size=1, max_size=4))
    def test_sums(self, parts: list[tuple[int, str]]) -> None:
        """The whole is the sum of its parts."""
        texts = [f"{count}{unit}" for count, unit in parts]
        self.assertAlmostEqual(
            parse_duration(" ".join(texts)), sum(parse_duration(text) for text in texts), places=3
        )


class Formatting(SynchronousTestCase):
    """From seconds to text."""

    def test_format(self) -> None:
        """Durations are written in the largest units that fit."""
        for seconds, text in {
            0: "0s",
            0.0004: "0s",
            0.0006: "1ms",
            0.5: "500ms",
            59.9996: "1m",
            60: "1m",
            5400: "1h 30m",
            1209600: "14d",
            90061.001: "1d 1h 1m 1s 1ms",
        }.items():
            self.assertEqual(format_duration(seconds), text)

    def test_refused(self) -> None:
        """What is no length of time cannot be written."""
        for seconds in (-1, -0.001, float("nan"), float("inf"), float("-inf")):
            self.assertRaises(ValueError, format_duration, seconds)

    @settings(deadline=None)
    @given(st.integers(0, HUNDRED_YEARS * 1000))
    def test_round_trip(self, milliseconds: int) -> None:
        """What is written is read as the same."""
        seconds = milliseconds / 1000
        self.assertEqual(parse_duration(format_duration(seconds)), seconds)
