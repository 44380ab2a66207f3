"""The recorder of activity, with numbers of the test and a file in memory."""

from __future__ import annotations

from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.activity.counts import Counts
from oci_registry.activity.file import HistoryFile, OfAnother
from oci_registry.activity.history import LONGEST, PERIODS, BadHistory, History
from oci_registry.activity.recorder import Recorder

NOW = 1_700_000_000.0 - 1_700_000_000 % 7200


class FakeFile:
    """A file in memory; `error` is raised instead of anything else."""

    def __init__(self) -> None:
        self.data = b""
        self.written = 0
        self.closed = False
        self.error: Exception | None = None

    def take(self) -> bytes:
        if self.error is not None:
            raise self.error
        return self.data

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.data, self.written = data, self.written + 1

    def close(self) -> None:
        self.closed = True


class RecorderTestCase(SynchronousTestCase):
    """A recorder of `counts`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.rightNow = NOW
        self.counts, self.file = Counts(), FakeFile()
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self.at_once = True
        self.lines: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.begin()

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").endswith("Recorder"):
            self.lines.append(formatEvent(event))

    def run_call(self, call: Any, *args: object) -> Deferred[Any]:
        """Run a call at once, or when `run_waiting` is called."""
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, lambda: call(*args)))
        if self.at_once:
            self.run_waiting()
        return done

    def run_waiting(self) -> None:
        while self.waiting:
            done, call = self.waiting.pop(0)
            try:
                done.callback(call())
            except Exception:
                done.errback()

    def begin(self) -> None:
        """Start, as a daemon does."""
        self.recorder = Recorder(
            self.clock, lambda: self.counts, self.run_call, cast(HistoryFile, self.file)
        )
        self.recorder.start()

    def end(self) -> None:
        """Stop; what was counted is gone."""
        self.successResultOf(Deferred.fromCoroutine(self.recorder.stop()))
        self.counts = Counts()

    def count(self, **numbers: int) -> None:
        now = {name: getattr(self.counts, name) + more for name, more in numbers.items()}
        self.counts = evolve(self.counts, **now)

    def pass_minutes(self, minutes: int) -> None:
        self.clock.pump([60.0] * minutes)

    def requests(self, period: str = "hour") -> list[int]:
        return [part.counts.requests for part in self.recorder.parts(period)]


class Recorders(RecorderTestCase):
    """What is recorded."""

    def test_minutes(self) -> None:
        """What is counted in a minute is in its part, in each of the periods, and once."""
        for number in (1, 2, 3):
            self.count(requests=number)
            self.pass_minutes(1)
        self.assertEqual([1, 2, 3, 0], self.requests()[-4:])
        for period, (count, _) in PERIODS.items():
            found = self.requests(period)
            self.assertEqual((count, 6), (len(found), sum(found)), period)

    def test_now(self) -> None:
        """What was counted a moment ago is there when it is asked for."""
        self.clock.advance(10)
        self.count(requests=5)
        self.assertEqual(5, self.requests()[-1])
        self.assertEqual(5, self.requests()[-1])

    def test_older(self) -> None:
        """What is older than a period is in the longer ones alone."""
        self.count(requests=1)
        self.pass_minutes(61)
        self.assertEqual([0, 1, 1], [sum(self.requests(period)) for period in PERIODS])
        self.pass_minutes(24 * 60)
        self.assertEqual([0, 0, 1], [sum(self.requests(period)) for period in PERIODS])

    def test_resets(self) -> None:
        """A number that becomes smaller has not grown; from then on it counts again."""
        self.count(requests=100)
        self.pass_minutes(1)
        self.counts = Counts(requests=3)
        self.pass_minutes(1)
        self.count(requests=4)
        self.assertEqual(104, sum(self.requests()))

    def test_before(self) -> None:
        """What was counted before the start is no part of it."""
        self.end()
        self.counts = Counts(requests=50)
        self.begin()
        self.count(requests=1)
        self.assertEqual(1, sum(self.requests()))

    def test_clock_back(self) -> None:
        """When the clock is set back nothing is lost of what comes then, and nothing is negative."""
        self.count(requests=1)
        self.pass_minutes(30)
        self.clock.rightNow -= 1200
        self.count(requests=2)
        found = self.requests()
        self.assertEqual((2, 3), (found[-1], sum(found)))
        self.assertTrue(all(number >= 0 for number in found))
        self.assertLessEqual(self.recorder.began, self.clock.seconds())

    def test_clock_forward(self) -> None:
        """After a jump of the clock everything is in the minutes before, and the rest is empty."""
        self.count(requests=1)
        self.clock.rightNow += 1800
        self.assertEqual(1, sum(self.requests()[-2:]))

    def test_saved(self) -> None:
        """What is saved is never below zero."""
        counts = Counts(sent=5, fetched=9, images=1, images_fetched=2, limited=1, limited_fetched=3)
        self.assertEqual((0, 0, 0), (counts.saved, counts.images_cached, counts.pulls_saved))


class Kept(RecorderTestCase):
    """What is kept over a restart."""

    def test_restart(self) -> None:
        """It continues where it was, with what was counted up to the end."""
        began = self.recorder.began
        self.count(requests=1)
        self.pass_minutes(2)
        self.count(requests=2)
        self.end()
        self.assertTrue(self.file.closed)
        self.clock.advance(300)
        self.begin()
        self.count(requests=4)
        self.assertEqual(7, sum(self.requests()))
        self.assertEqual(began, self.recorder.began)
        self.assertEqual([], self.lines)

    def test_written(self) -> None:
        """The file is written once a minute at most, and only if something has happened."""
        self.pass_minutes(5)
        self.assertEqual(0, self.file.written)
        for _ in range(10):
            self.count(requests=1)
            self.clock.advance(6)
            self.requests()
        self.assertEqual(1, self.file.written)
        self.pass_minutes(5)
        self.assertEqual(1, self.file.written)

    def test_slow_disk(self) -> None:
        """While a write is under way there is no other; the recording continues."""
        self.at_once = False
        self.count(requests=1)
        self.pass_minutes(3)
        self.count(requests=1)
        self.pass_minutes(3)
        self.assertEqual(1, len(self.waiting))
        self.at_once = True
        self.run_waiting()
        self.assertEqual(1, self.file.written)
        self.end()
        self.begin()
        self.assertEqual(2, sum(self.requests()))

    def test_broken(self) -> None:
        """An unreadable file is replaced, and one line of the log says so."""
        row = [int(NOW) // 60, *[0] * 10]
        good = History(NOW)
        good.add(NOW, Counts(requests=1).row())
        text = good.to_json().decode()
        broken = [b"{", b"[]", b"null", b"7", b'{"version":1}', b"\xff", b"[" * 50_000,
                  text.replace('"version":1', '"version":2').encode(),
                  text.replace(str(row[0]), "-1").encode(),
                  text.replace(str(row[0]), '"x"').encode(),
                  text.replace('"began":', '"began":-').encode(),
                  text.replace('"began":', '"began":1e400,"b":').encode(),
                  text.replace('"requests"', '["x"]').encode(),
            text.replace(f"[{row[0]}", "[").replace("[,", "[").encode(),
            text.replace(f"[{row[0]},1,", "[1],[").encode(),
                  text.encode() + b" " * LONGEST]  # fmt: skip
        for data in broken:
            self.end()
            self.file.data, self.lines[:] = data, []
            self.begin()
            self.assertEqual(0, sum(self.requests()), data[:60])
            self.assertEqual(1, len(self.lines), data[:60])
            self.assertIn("begins anew", self.lines[0])
            self.count(requests=1)
            self.end()
            self.begin()
            self.assertEqual(1, sum(self.requests()))

    def test_unknown_columns(self) -> None:
        """Numbers of another version are read as far as they are known here."""
        history = History(NOW)
        history.add(NOW, Counts(requests=7, errors=3).row())
        data = history.to_json().replace(b'"errors"', b'"others"')
        restored = History(NOW)
        restored.restore(data)
        (part,) = [part for part in restored.parts("hour", NOW) if part.counts.requests]
        self.assertEqual((7, 0), (part.counts.requests, part.counts.errors))

    def test_all_or_nothing(self) -> None:
        """Of a history that is wrong in one place nothing is used."""
        history = History(NOW)
        history.add(NOW, Counts(requests=7).row())
        data = history.to_json()
        cut = data[: data.rindex(b"[[")] + b'"x"}}'
        restored = History(NOW)
        with self.assertRaises(BadHistory):
            restored.restore(cut)
        self.assertEqual(0, sum(part.counts.requests for part in restored.parts("hour", NOW)))

    def test_bounds(self) -> None:
        """A full history is far below what is read, whatever the numbers are."""
        history = History(NOW)
        for minute in range(0, 7 * 24 * 60, 1):
            history.add(NOW + minute * 60, [10**12] * 10)
        self.assertLess(len(history.to_json()), LONGEST // 4)

    def test_cannot_be_kept(self) -> None:
        """A disk that fails is logged once, until it works again; everything is there then."""
        self.file.error = OSError("no space left")
        self.count(requests=1)
        self.pass_minutes(3)
        self.assertEqual(1, len(self.lines))
        self.assertIn("no space left", self.lines[0])
        self.file.error = None
        self.pass_minutes(1)
        self.assertEqual(1, self.file.written)
        self.file.error = OSError("again")
        self.count(requests=1)
        self.pass_minutes(2)
        self.assertEqual(2, len(self.lines))

    def test_of_another(self) -> None:
        """While another process has the file it is left to it; afterwards both histories are one."""
        self.end()
        kept = self.file.data
        self.file.error = OfAnother()
        self.begin()
        self.count(requests=2)
        self.pass_minutes(2)
        self.assertEqual(1, len(self.lines))
        self.assertEqual((kept, 0), (self.file.data, self.file.written))
        other = History(NOW)
        other.add(NOW, Counts(requests=5).row())
        self.file.error, self.file.data = None, other.to_json()
        self.pass_minutes(1)
        self.assertEqual(7, sum(self.requests()))

    def test_never_started(self) -> None:
        """One that is stopped before its store was ready does nothing later."""
        self.end()
        recorder = Recorder(
            self.clock, lambda: self.counts, self.run_call, cast(HistoryFile, self.file)
        )
        self.successResultOf(Deferred.fromCoroutine(recorder.stop()))
        recorder.start()
        self.assertEqual([], self.clock.getDelayedCalls())
