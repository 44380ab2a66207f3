"""Parts of the page in figures, and their charts."""

from __future__ import annotations

from attrs import evolve

from oci_registry.admin.figures_answers import ActivityCounts, TopImages, Victim
from oci_registry.admin.page.charts import Piece, Series, bars, level
from oci_registry.management.problems import NotReady
from tests.unit.admin.page.support import DISK, IMAGE, PageTestCase, activity

COUNTS = ActivityCounts(
    requests=20, errors=1, hits=15, misses=5, bytes_sent=4_000_000, bytes_fetched=1_000_000,
    bytes_saved=3_000_000, images=4, images_cached=3, pulls_saved=6,
)  # fmt: skip


class Hits(PageTestCase):
    """Hits, and what was saved."""

    def test_numbers(self) -> None:
        """Hits by bytes, requests and images, and what was saved, are in a table of all periods."""
        self.answers["GET", "/activity"] = activity("hour", COUNTS)
        part = self.part("hits")
        rows = {
            row.all("th")[0].text: [cell.text for cell in row.all("td")] for row in part.all("tr")
        }
        for title, cell in (
            ("Hit rate by bytes", "75% of 4.0 MB"),
            ("Hit rate by requests", "75% of 20"),
            ("Hit rate by whole images (estimate)", "75% of 4"),
            ("Bytes saved", "3.0 MB"),
            ("Rate-limit units saved", "6"),
            ("Failed requests", "1 of 20"),
        ):
            self.assertEqual([cell] * 3, rows[title])
        periods = [values["period"] for _, path, values in self.asked if path == "/activity"]
        self.assertEqual(["day", "hour", "week"], sorted(periods))

    def test_nothing_yet(self) -> None:
        """Without any request there are no percentages."""
        self.assertIn("no data", self.part("hits").text)
        self.assertNotIn("%", self.part("hits").text)

    def test_chart(self) -> None:
        """The chart has its numbers in words and as a table; another period is a link away."""
        self.answers["GET", "/activity"] = activity("day", COUNTS)
        part = self.part("hits", "/?period=day")
        picture = part.one("svg")
        self.assertIn("4.0 MB were sent to clients", picture.one("title").text)
        self.assertEqual(2, len(picture.all("rect")))
        self.assertIn("Highest: 4.0 MB in 1 minute", part.text)
        self.assertIn("1970-01-01 00:01", part.one("details").text)
        (current,) = [each for each in part.all("a") if "aria-current" in each.attributes]
        self.assertEqual("Last day", current.text)
        self.assertEqual("./?period=week#hits", part.all("a")[2].attributes["href"])

    def test_not_known(self) -> None:
        """What is not known is said for each period."""
        self.answers["GET", "/activity"] = NotReady("later")
        self.assertIn("Last week not available: later", self.part("hits").text)


class Disks(PageTestCase):
    """The disk."""

    def test_limit(self) -> None:
        """Size, limit, watermark and the age of the next victim are shown."""
        victim = Victim("image", IMAGE.name, IMAGE.digest, -7200.0, 100, 90, "main")
        self.answers["GET", "/disk"] = evolve(DISK, next=victim, min_free=300)
        part = self.part("disk")
        for said in (
            "700 B stored, 70% of the limit of 1.0 kB",
            "Eviction stops at 950 B",
            "Reserved for downloads 50 B",
            "Free on the volume 4.0 kB of 5.0 kB",
            "Minimum free 300 B",
            "docker.io/library/app:1 , last used 2 hours ago , frees 90 B",
        ):
            self.assertIn(said, part.text)
        picture = part.one("svg")
        self.assertIn("eviction stops at 950 B", picture.text)
        self.assertEqual("570", picture.one("line").attributes["x1"])

    def test_no_limit(self) -> None:
        """Without a limit the volume is shown, if there is one."""
        self.answers["GET", "/disk"] = evolve(DISK, limit=None, low=None)
        part = self.part("disk")
        self.assertIn("700 B stored, no limit set", part.text)
        self.assertIn("700 B of 5.0 kB used", part.one("svg").text)
        self.assertNotIn("Evicted next", part.text)

    def test_bucket(self) -> None:
        """Of a bucket nothing need be known."""
        self.answers["GET", "/disk"] = evolve(
            DISK, size=None, limit=None, low=None, volume_size=None, volume_free=None
        )
        part = self.part("disk")
        self.assertIn("Stored size unknown", part.text)
        self.assertEqual([], part.all("svg"))

    def test_top(self) -> None:
        """The largest and the most used images are shown."""
        self.answers["GET", "/images/top"] = TopImages("size", 0.0, (IMAGE,), False)
        document = self.get()
        for name in ("largest", "used"):
            text = document.with_id(name).text
            self.assertIn("docker.io/library/app:1 5.0 MB 7 just now", text)
            self.assertIn("there may be more images", text)
        orders = [values["order"] for _, path, values in self.asked if path == "/images/top"]
        self.assertEqual(["pulls", "size"], sorted(orders))


class Charts(PageTestCase):
    """Charts at their limits."""

    def test_bars(self) -> None:
        """The highest bar takes the whole height; what is small can be seen."""
        series = [Series("a", "cached", [0, 1, 1000]), Series("b", "fetched", [0, 0, 1000])]
        rects = [
            {str(key): value for key, value in each.attributes.items()}
            for each in _tags(bars("T", "t", series, "m"), "rect")
        ]
        self.assertEqual(["0.5", "60", "60"], [each["height"] for each in rects])
        self.assertEqual("0", rects[-1]["y"])

    def test_level(self) -> None:
        """More than everything is everything; of nothing there is nothing."""
        over = _tags(level("t", 10, [Piece("a", 8), Piece("b", 8)], [20]), "rect")
        self.assertEqual(["600", "480", "120"], [each.attributes["width"] for each in over])
        self.assertEqual(1, len(_tags(level("t", 0, [Piece("a", 8)], [1]), "rect")))


def _tags(tag, name):  # type: ignore[no-untyped-def]
    """Return all tags of a name in a tag."""
    found = [tag] if tag.tagName == name else []
    for child in tag.children:
        if hasattr(child, "tagName"):
            found += _tags(child, name)
    return found
