"""When a daemon scrubs, and what it says of that."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from oci_registry.scrub.nouns import Progress
from oci_registry.scrub.one_pass import Pass, Save
from oci_registry.scrub.pace import Pace, sleeping
from oci_registry.scrub.record import KEY, Record
from oci_registry.scrub.report import LoggedReport
from oci_registry.scrub.scrub import Scrub
from oci_registry.scrub.times import ScrubTimes
from tests.unit.scrub.support import ScrubTestCase

DAY = 86400.0


class Scrubs(ScrubTestCase):
    """A scrub whose passes take as long as a test wants."""

    def setUp(self) -> None:
        super().setUp()
        self.waiting: list[Deferred[None]] = []
        self.blob(b"content")

    def make_scrub(self, interval: float = 30 * DAY, owner: str = "me") -> Scrub:
        """Make a scrub; its passes end when `finish` says so."""
        test = self

        class Slow(Pass):
            """A pass that waits before it runs."""

            async def run(self, pace: Any) -> Progress:
                test.pace = pace
                test.waiting.append(Deferred())
                await test.waiting[-1]
                return await super().run(Pace(0.0, test.clock.seconds, sleeping(test.clock)))

        def make_pass(progress: Progress, save: Save) -> Pass:
            made = self.make(progress)
            made.__class__ = Slow
            made._save = save
            made._report = LoggedReport(self.metrics)
            return made

        times = ScrubTimes(interval=interval)
        return Scrub(make_pass, Record(self.driver), self.clock, self.metrics, owner, 20.0, times)

    def finish(self) -> None:
        """End the pass that is running."""
        self.waiting[-1].callback(None)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"oci_registry_scrub_{name}", labels)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in steps in which what is due happens."""
        for _ in range(int(seconds // 1800)):
            self.clock.advance(1800)
        self.clock.advance(seconds % 1800)

    def test_off(self) -> None:
        """Without an interval nothing happens by itself."""
        scrub = self.make_scrub(interval=0.0)
        scrub.open()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertFalse(scrub.status.running)
        self.assertIsNone(scrub.status.since)

    def test_on_demand(self) -> None:
        """One pass runs at a time, at the rate that it was given."""
        scrub = self.make_scrub(interval=0.0)
        self.assertTrue(scrub.start(7.0))
        self.assertFalse(scrub.start())
        self.assertEqual((True, 7.0), (scrub.status.running, scrub.status.rate))
        self.assertEqual((7.0, 1), (self.pace.rate, self.value("running")))
        self.finish()
        status = scrub.status
        self.assertEqual(
            (False, 1, 1, 7, 0),
            (status.running, status.objects, status.blobs, status.bytes, status.found),
        )
        self.assertEqual(self.clock.seconds(), status.ended)
        self.assertEqual(
            (0, self.clock.seconds()), (self.value("running"), self.value("ended_seconds"))
        )
        self.assertEqual(1, self.value("checked_total", kind="blob"))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertTrue(scrub.start())
        self.assertEqual(20.0, scrub.status.rate)
        self.finish()

    def test_interval(self) -> None:
        """A pass begins a minute after the first start, and then at intervals, also after a restart."""
        scrub = self.make_scrub()
        scrub.open()
        self.clock.advance(59)
        self.assertEqual([], self.waiting)
        self.clock.advance(1)
        self.assertEqual(1, len(self.waiting))
        self.finish()
        self.pass_time(20 * DAY)
        self.assertEqual(1, len(self.waiting))
        self.successResultOf(scrub.close())
        self.assertEqual([], self.clock.getDelayedCalls())
        scrub = self.make_scrub(owner="other")
        scrub.open()
        self.pass_time(9 * DAY)
        self.assertEqual(1, len(self.waiting))
        self.pass_time(1 * DAY + 3600)
        self.assertEqual(2, len(self.waiting))
        self.finish()

    def test_saved_in_order(self) -> None:
        """What is being saved when a pass is stopped does not come after what that saves."""
        record = Record(self.driver)
        puts: list[tuple[bytes, Deferred[None]]] = []

        def put(key: str, data: bytes) -> Deferred[None]:
            puts.append((data, Deferred()))
            return puts[-1][1]

        self.patch(self.driver, "put", put)
        first = Deferred.fromCoroutine(record.save(Progress(1.0, 2.0, "me")))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        last = Deferred.fromCoroutine(record.save(Progress(1.0, 3.0, "")))
        self.assertEqual(1, len(puts))
        puts[0][1].callback(None)
        self.assertNoResult(last)
        self.assertEqual("", Progress.from_json(puts[1][0]).owner)
        puts[1][1].callback(None)
        self.successResultOf(last)

    def test_another_process(self) -> None:
        """A pass of another process is left to it, until that has stored no progress for an hour."""
        record = Record(self.driver)
        now = self.clock.seconds()
        self.result(record.save(Progress(now - 100, now, "other", "blobs/a")))
        scrub = self.make_scrub()
        scrub.open()
        self.clock.advance(60)
        self.assertEqual([], self.waiting)
        self.pass_time(3000)
        self.assertEqual([], self.waiting)
        self.pass_time(1200)
        self.assertEqual(1, len(self.waiting))
        self.assertEqual("blobs/a", scrub.status.position)
        self.assertEqual(now - 100, scrub.status.since)
        self.finish()

    def test_wrong_clock(self) -> None:
        """Times in the future, which a wrong clock has left, do not put off a pass for ever."""
        record = Record(self.driver)
        future = self.clock.seconds() + 1000 * DAY
        for progress in (
            Progress(future, future, "", ended=future),
            Progress(future, future, "other", "blobs/a"),
        ):
            self.result(record.save(progress))
            scrub = self.make_scrub()
            scrub.open()
            begun = len(self.waiting)
            self.clock.advance(60)
            self.assertEqual(begun + 1, len(self.waiting))
            self.finish()
            self.successResultOf(scrub.close())

    def test_stopped(self) -> None:
        """A pass that is stopped saves its progress, and the next one continues."""
        scrub = self.make_scrub(interval=0.0)
        scrub.start()
        since = scrub.status.since
        self.clock.advance(10)
        self.successResultOf(scrub.stop())
        self.assertEqual((False, "it was stopped"), (scrub.status.running, scrub.status.problem))
        scrub.start()
        self.assertEqual((since, None), (scrub.status.since, scrub.status.problem))
        self.finish()
        scrub.start()
        self.assertNotEqual(since, scrub.status.since)
        self.successResultOf(scrub.close())
        self.assertFalse(scrub.start())

    def test_failing_store(self) -> None:
        """If the store fails, the pass continues ten minutes later."""
        scrub = self.make_scrub(interval=0.0)
        scrub.start()
        self.driver.broken = "the disk is gone"
        self.finish()
        self.assertEqual("the disk is gone", scrub.status.problem)
        errors = self.metrics.registry.get_sample_value(
            "oci_registry_errors_total", {"kind": "scrub"}
        )
        self.assertEqual(1, errors)
        self.driver.broken = None
        self.clock.advance(600)
        self.finish()
        self.assertIsNone(scrub.status.problem)
        self.assertEqual(1, scrub.status.objects)

    def test_finished_by_another(self) -> None:
        """A pass on demand that failed, and that another process has finished, is not begun again."""
        scrub = self.make_scrub(interval=0.0)
        scrub.start()
        self.driver.broken = "the disk is gone"
        self.finish()
        self.driver.broken = None
        now = self.clock.seconds()
        self.result(Record(self.driver).save(Progress(now, now + 60, "", ended=now + 60)))
        self.clock.advance(600)
        self.assertEqual((1, []), (len(self.waiting), self.clock.getDelayedCalls()))
        self.assertEqual((now + 60, None), (scrub.status.ended, scrub.status.problem))

    def test_unreadable_progress(self) -> None:
        """Stored progress that makes no sense is replaced."""
        self.driver.place(KEY, b"nonsense", sealed=True)
        scrub = self.make_scrub(interval=0.0)
        scrub.start()
        self.finish()
        self.assertEqual(1, scrub.status.objects)
        self.assertIsNotNone(self.result(Record(self.driver).load()))
