"""Figures of a daemon, by its API."""

from __future__ import annotations

import json
from typing import Any, cast

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed

from oci_registry.account.database import AccountOff
from oci_registry.account.nouns import MAIN
from oci_registry.account.victims import Victim
from oci_registry.activity.counts import Counts
from oci_registry.activity.recorder import Recorder
from oci_registry.admin import daemon_figures
from oci_registry.admin.daemon_figures import DaemonFigures, FigureParts
from oci_registry.admin.figures import FigureHandlers, figure_routes
from oci_registry.admin.figures_answers import Disk
from oci_registry.admin.routes import Served
from oci_registry.admin.stream import MEDIA_TYPE, EventStreams
from oci_registry.admin.summary import INTERVAL, Summaries
from oci_registry.admin.table import events_query
from oci_registry.events import EventLog
from oci_registry.management.problems import NotReady
from oci_registry.management.ranking import FirstImages, Rank
from oci_registry.metrics import Metrics
from oci_registry.spec.digest import Digest
from oci_registry.storage.interfaces import Space, StoreError
from oci_registry.storage.totals import StoredTotals
from oci_registry.web.client_watch import ClientWatch
from tests.support.streams import run_at_once
from tests.unit.admin.support import ApiTestCase

DIGEST = Digest.of(b"victim")
VICTIM = Victim("docker.io", "library/x", "1", DIGEST, 5.0, 8192, 4096, MAIN)


class FakeLimit:
    """A limit."""

    reserved = 7

    def __init__(self) -> None:
        self.spaces: list[Space | None] = []
        self.use = self

    def see(self, space: Space | None) -> tuple[int, int, int]:
        self.spaces.append(space)
        return 100, 1000, 50


class FakeDriver:
    """A volume."""

    answer: Deferred[Any] | None = None

    def space(self) -> Deferred[Any]:
        return self.answer or succeed(Space(200, 3000))


class FakeRanking:
    """Images that are compared."""

    async def first(self) -> FirstImages:
        raise NotReady("not yet")


class FiguresTestCase(ApiTestCase):
    """The routes of figures."""

    def setUp(self) -> None:
        super().setUp()
        self.numbers, self.counts = Metrics(), Counts()
        self.limit, self.driver, self.totals = FakeLimit(), FakeDriver(), StoredTotals()
        self.numbers.watch_connections(lambda: 3)
        self.asked = 0
        self.found: Victim | Exception | None = VICTIM
        self.patch(daemon_figures, "next_victim", self.next_victim)
        self.make()

    async def next_victim(self, *_: object) -> Victim | None:
        """Return what is evicted next, and count how often that is looked for."""
        self.asked += 1
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def make(self, **parts: Any) -> None:
        recorder = Recorder(self.clock, lambda: self.counts, run_at_once)
        made = FigureParts(
            self.clock.seconds,
            self.numbers,
            recorder,
            cast(Any, "an account"),
            cast(Any, self.limit),
            cast(Any, self.driver),
            self.totals,
            cast(Any, FakeRanking()),
            lambda: (2, 10.04),
            lambda: 4,
        )
        self.figures = DaemonFigures(evolve(made, **parts))
        self.serve_routes(figure_routes(FigureHandlers(self.figures)))

    def get(self, path: str) -> Any:
        answer = self.call("GET", f"/api/v1{path}")
        self.assertEqual(200, answer.status)
        return json.loads(answer.body)


class Activities(FiguresTestCase):
    """What has happened."""

    def test_periods(self) -> None:
        """Each period has all its points; the totals are those of all of them."""
        self.counts = Counts(requests=9, errors=1, hits=6, misses=2, sent=100, fetched=30, images=3,
                             images_fetched=1, limited=5, limited_fetched=2)  # fmt: skip
        for period, count, step in (("hour", 60, 60), ("day", 96, 900), ("week", 84, 7200)):
            got = self.get(f"/activity?period={period}")
            points = got["points"]
            self.assertEqual((period, count), (got["period"], len(points)))
            self.assertEqual({step}, {point["seconds"] for point in points})
            times = [point["time"] for point in points]
            self.assertEqual([times[0] + at * step for at in range(count)], times)
            self.assertEqual(times[0], got["since"])
            self.assertTrue(times[-1] <= got["time"] < times[-1] + step)
            expected = {"requests": 9, "errors": 1, "hits": 6, "misses": 2, "bytes_sent": 100,
                        "bytes_fetched": 30, "bytes_saved": 70, "images": 3, "images_cached": 2,
                        "pulls_saved": 3}  # fmt: skip
            self.assertEqual((expected, expected), (got["totals"], points[-1]["counts"]))

    def test_saved(self) -> None:
        """What is saved in all is not the sum of the points: more may be fetched than sent in one of them."""
        self.counts = Counts(fetched=30)
        self.get("/activity")
        self.clock.advance(120)
        self.counts = Counts(fetched=30, sent=100)
        got = self.get("/activity")
        self.assertEqual(70, got["totals"]["bytes_saved"])
        self.assertEqual(100, sum(point["counts"]["bytes_saved"] for point in got["points"]))

    def test_refused(self) -> None:
        """Another period is an error; the default is an hour."""
        self.assertEqual(400, self.call("GET", "/api/v1/activity?period=year").status)
        self.assertEqual("hour", self.get("/activity")["period"])


class Disks(FiguresTestCase):
    """The disk."""

    def disk(self) -> Disk:
        return Disk.from_json(self.get("/disk"))

    def test_all(self) -> None:
        """The limits, the volume, and what comes next with the name that commands take."""
        disk = self.disk()
        self.assertEqual((100, 1000, 950, 50, 7), (disk.size, disk.limit, disk.low, disk.min_free,
                                                   disk.reserved))  # fmt: skip
        self.assertEqual((3000, 200), (disk.volume_size, disk.volume_free))
        assert disk.next is not None
        found = disk.next
        self.assertEqual(("image", "docker.io/library/x:1", str(DIGEST), "main"),
                         (found.kind, found.name, found.digest, found.queue))  # fmt: skip
        self.assertEqual((5.0, 8192, 4096), (found.used, found.size, found.frees))

    def test_blob(self) -> None:
        """A blob has its digest as a name, and an image without a repository its registry."""
        self.found = Victim(None, None, None, DIGEST, 5.0, 1, 1, None)
        found = self.disk().next
        assert found is not None
        self.assertEqual(("blob", str(DIGEST), None), (found.kind, found.name, found.queue))
        self.found = Victim("docker.io", None, None, DIGEST, 5.0, 1, 1, MAIN)
        self.clock.advance(31)
        found = self.disk().next
        assert found is not None
        self.assertEqual(f"docker.io/@{DIGEST}", found.name)

    def test_looked_for_once(self) -> None:
        """What comes next is looked for every half minute at most."""
        for _ in range(5):
            self.disk()
            self.clock.advance(10)
        self.assertEqual(2, self.asked)
        self.clock.rightNow -= 1000
        self.disk()
        self.assertEqual(3, self.asked)

    def test_failures(self) -> None:
        """A store that fails, or an account that is off, leave out what is not known."""
        self.driver.answer = fail(StoreError("broken"))
        self.found = AccountOff("off")
        disk = self.disk()
        self.assertEqual((None, None, None), (disk.volume_size, disk.volume_free, disk.next))
        self.assertEqual([None], self.limit.spaces)

    def test_without_account(self) -> None:
        """A bucket without a limit has a size, once that is known, and nothing else."""
        self.driver.answer = succeed(None)
        self.make(account=None, limit=None)
        self.assertEqual(Disk(self.clock.seconds(), None, None, None, 0, None, None, None, None),
                         self.disk())  # fmt: skip
        self.totals.add(5)
        self.totals.size = 5
        self.driver.answer = succeed(None)
        self.assertEqual(5, self.disk().size)


class First(FiguresTestCase):
    """The first images in some order."""

    def test_not_ready(self) -> None:
        """While the images cannot be compared the API says so."""
        answer = self.call("GET", "/api/v1/images/top?order=pulls")
        self.assertEqual((503, "UNAVAILABLE"), self.failure(answer)[:2])

    def test_limit(self) -> None:
        """There are as many as are asked for, twenty at most."""
        images = {Rank.SIZE: ("a", "b", "c"), Rank.PULLS: ("c",)}

        class Ranked(FakeRanking):
            """A ranking with fixed images."""

            async def first(self) -> FirstImages:
                return FirstImages(5.0, cast(Any, images), True)

        self.make(ranking=Ranked())
        got = self.get("/images/top?order=size&limit=2")
        expected = {"order": "size", "time": 5.0, "images": ["a", "b"], "whole": True}
        self.assertEqual(expected, got)
        self.assertEqual(["c"], self.get("/images/top?order=pulls")["images"])
        for query in ("order=name", "limit=21", "limit=0"):
            self.assertEqual(400, self.call("GET", f"/api/v1/images/top?{query}").status)


class SummaryEvents(FiguresTestCase):
    """Summaries, for those who follow them."""

    def setUp(self) -> None:
        super().setUp()
        self.events = EventLog(self.clock)
        streams = EventStreams(self.events, ClientWatch(self.clock), self.clock)
        self.made = 0

        def summarize() -> Any:
            self.made += 1
            return self.figures.summary()

        Summaries(self.events, self.clock, summarize)
        self.serve_routes(
            [Served("/events", "events", "D", "Events", MEDIA_TYPE, streams.serve, events_query())]
        )

    def test_followed(self) -> None:
        """Each two seconds those who ask for it get one; nothing is done when they have left."""
        self.counts = Counts()
        self.numbers.hit("blob", "docker.io")
        connection, other = self.ask("/api/v1/events?kind=summary"), self.ask("/api/v1/events")
        self.clock.pump([INTERVAL] * 3)
        data = [json.loads(line[6:]) for line in connection.got.decode().splitlines()
                if line.startswith("data: ")]  # fmt: skip
        self.assertEqual([("summary", 0)] * 4, [(each["kind"], each["id"]) for each in data])
        fields = data[0]["fields"]
        self.assertEqual((2, 10.0, 3, 4, 7, 1, None),
                         tuple(fields[name] for name in ("transfers", "rate", "connections", "sending",
                                                         "reserved", "hits", "size")))  # fmt: skip
        self.assertNotIn(b"summary", other.got)
        connection.leave()
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual(4, self.made)

    def test_many(self) -> None:
        """Several readers get the same one, which is made once."""
        connections = [self.ask("/api/v1/events?kind=summary&kind=sweep") for _ in range(5)]
        self.events.record("sweep", phase="begun")
        self.clock.advance(INTERVAL)
        self.assertEqual(2, self.made)
        for connection in connections:
            self.assertIn(b"event: sweep", connection.got)
            self.assertRegex(connection.got, rb"id: [0-9a-f]+-1\r?\nevent: summary")

    def test_not_kept(self) -> None:
        """A summary is no event that can be had again."""
        connection = self.ask("/api/v1/events?kind=summary")
        self.clock.pump([INTERVAL] * 3)
        self.assertEqual([], self.events.since(0))
        connection.leave()
        self.assertEqual(0, self.events.last)
