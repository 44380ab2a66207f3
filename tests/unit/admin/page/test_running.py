"""Parts of the page about what the daemon is doing."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.admin.answers import (
    BreakerStatus,
    ErrorList,
    ErrorStatus,
    EventRecord,
    HostStatus,
    PauseStatus,
    RunningTransfer,
    Top,
    UpstreamPage,
    UpstreamStatus,
)
from oci_registry.admin.page.running import MOST_ERRORS, MOST_TRANSFERS
from oci_registry.management.problems import NotReady
from tests.unit.admin.page.support import DIGEST, STATUS, PageTestCase

TRANSFER = RunningTransfer(
    DIGEST, "docker.io", "library/app", "receiving", 250_000, 1_000_000, 2e6, 3, 4, True, 9.0
)
HOST = HostStatus("mirror.example", True, True, (), (), 100, 40, False, 1, 2, None)


class Running(PageTestCase):
    """What the daemon is doing."""

    def test_daemon(self) -> None:
        """It is said whether the store can be read and written, and why not."""
        self.assertIn("Ready Version 1.0", self.part("daemon").text)
        for changed, said in (
            ({"unwritable": "No space"}, "Ready, but nothing new is stored No space"),
            ({"unreadable": "No disk"}, "Not ready: the store cannot be read No disk"),
        ):
            self.answers["GET", "/status"] = evolve(STATUS, **changed)
            self.clock.advance(5)
            self.assertIn(said, self.part("daemon").text)

    def test_transfers(self) -> None:
        """A download is shown with its progress, rate and readers."""
        self.answers["GET", "/top"] = Top(0.0, 1, 2e6, (TRANSFER,))
        part = self.part("transfers")
        self.assertIn("1 download is running 2.0 MB/s in total", part.text)
        for said in (
            "docker.io/library/app",
            "25%, 250 kB of 1.0 MB",
            "2.0 MB/s",
            " 3 ",
            "receiving",
        ):
            self.assertIn(said, part.text)
        progress = part.one("progress").attributes
        self.assertEqual(("0.25", "1"), (progress["value"], progress["max"]))
        self.assertIn("docker.io/library/app", progress["aria-label"])

    def test_other_transfers(self) -> None:
        """A size that is not known, and one that is not stored, are said; there are only so many rows."""
        odd = evolve(TRANSFER, size=None, stored=False)
        self.answers["GET", "/top"] = Top(0.0, 70, 2e6, (odd,) * 70)
        part = self.part("transfers")
        self.assertIn("250 kB received, size unknown", part.text)
        self.assertIn("receiving for 9.0 s, not stored", part.text)
        self.assertEqual(MOST_TRANSFERS + 1, len(part.all("tr")))
        self.assertIn("and 20 more", part.text)

    def test_upstreams(self) -> None:
        """Each host is shown with its breakers, its rate limit and its last error."""
        breaker = BreakerStatus("blobs", "open", "answered <500>", 90.0, 5.0)
        error = ErrorStatus(-60.0, "connection refused")
        down = evolve(
            HOST, available=False, breakers=(breaker,), remaining=2, low=True, last_error=error
        )
        limited = evolve(HOST, paused=(PauseStatus("manifests", 30.0),), limit=None, remaining=None)
        self.answers["GET", "/upstreams"] = UpstreamPage(
            (
                UpstreamStatus("docker.io", True, False, (down,)),
                UpstreamStatus("quay.io", True, False, (HOST, limited)),
                UpstreamStatus("away.example", True, True, ()),
            ),
            "quay.io",
        )
        part = self.part("upstreams")
        self.assertIn("1 of 3 registries down", part.text)
        for said in (
            "down",
            "blobs: open for 1 minute, probe in 5.0 s. answered <500>",
            "2 of 100 left",
            "1 minute ago : connection refused",
            "rate limited",
            "manifests: rate limited for 30.0 s",
            "none reported",
            "40 of 100 left",
            "2 running, 1 waiting",
            "offline",
            "More are in",
        ):
            self.assertIn(said, part.text)
        self.assertEqual(5, len(part.all("tr")))

    def test_all_available(self) -> None:
        """Before anything was asked, and while all is well, that is said."""
        self.assertIn("No registry has been contacted yet", self.part("upstreams").text)
        unused = UpstreamStatus("docker.io", True, False, (evolve(HOST, used=False),))
        self.answers["GET", "/upstreams"] = UpstreamPage((unused,), None)
        self.clock.advance(5)
        self.assertIn("All registries are available", self.part("upstreams").text)
        self.assertIn("not contacted yet", self.part("upstreams").text)

    def test_errors(self) -> None:
        """The newest errors come first, and not all of them."""
        self.assertIn("No warnings or errors", self.part("errors").text)
        self.answers["GET", "/errors"] = ErrorList(
            tuple(
                EventRecord(
                    number, float(-number), "error", {"level": "warn", "text": f"e{number}"}
                )
                for number in range(100, 0, -1)
            )
        )
        self.clock.advance(5)
        rows = self.part("errors").all("tr")
        self.assertEqual(MOST_ERRORS + 1, len(rows))
        self.assertIn("warn e1", rows[1].text)
        self.assertIn("100 or more warnings and errors since the start", self.part("errors").text)

    def test_failing_part(self) -> None:
        """Whatever cannot be had is not known, with the reason; the page comes nevertheless."""
        for key in [key for key in self.answers if key[0] == "GET"]:
            self.answers[key] = NotReady("the index is gone")
        document = self.get()
        sections = document.all("section")
        self.assertEqual(9, len(sections))
        for section in sections:
            self.assertIn("available: the index is gone", section.text)

    def test_pauses(self) -> None:
        """Between its parts others are served."""
        waiting: list[Deferred[None]] = []

        def pause() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        self.serve_page(pause=pause)
        connection = self.ask("/")
        rounds = 0
        while waiting:
            self.assertEqual((b"", 1), (connection.got, len(waiting)))
            waiting.pop().callback(None)
            rounds += 1
        # They are made, and then written.
        sections = len(self.checked(connection.answer()).all("section"))
        self.assertEqual(2 * sections - 1, rounds)

    def test_left(self) -> None:
        """For clients that leave meanwhile nothing is rendered."""
        self.serve_page(pause=lambda: Deferred(lambda _: left.append(True)))
        left: list[bool] = []
        connection = self.ask("/")
        connection.leave()
        self.assertEqual(([True], b""), (left, connection.got))

    def test_slow(self) -> None:
        """However slow the store is, the page comes; what is found later is on the next one."""
        late: Deferred[Top] = Deferred()
        for key in [key for key in self.answers if key[0] == "GET"]:
            self.answers[key] = Deferred()
        self.answers["GET", "/top"] = late
        connection = self.ask("/")
        self.clock.advance(1.4)
        self.assertEqual(b"", connection.got)
        self.clock.advance(0.2)
        sections = self.checked(connection.answer()).all("section")
        self.assertEqual(9, len(sections))
        for section in sections:
            self.assertIn("available: there was no answer within 1.5 s", section.text)
        late.callback(Top(0.0, 1, 2e6, (TRANSFER,)))
        again = self.ask("/page/parts?part=transfers").answer()
        self.assertIn(b"1 download is running", again.body)
        # The questions are given up in the end.
        self.clock.advance(60)

    def test_odd_answer(self) -> None:
        """An answer that cannot be shown affects its own part only."""
        self.answers["GET", "/errors"] = ErrorList((1,))  # type: ignore[arg-type]
        document = self.get()
        self.assertIn("internal error; see the log", document.with_id("errors").text)
        self.assertIn("No download", document.with_id("transfers").text)
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))

    def test_defect(self) -> None:
        """A defect affects its own part of the page only, and is logged."""
        self.answers["GET", "/top"] = ZeroDivisionError("secret")
        part = self.part("transfers")
        self.assertIn("internal error; see the log", part.text)
        self.assertNotIn("secret", part.text)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
