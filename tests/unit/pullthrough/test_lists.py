"""Lists of tags, with and without the upstream."""

from __future__ import annotations

from attrs import evolve

from oci_registry.pullthrough.lists import ServedPage, TagLists
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    NameUnknown,
    TooManyRequests,
)
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.storage.tags import TagRecord
from oci_registry.upstream.errors import CircuitOpen, LocalFailure, TimedOut, WrongAnswer
from oci_registry.upstream.interfaces import IncompleteList, Page
from tests.support.reports import Lines
from tests.unit.pullthrough.support import CacheTestCase

DIGEST = Digest.of(b"subject")


class ListsTestCase(CacheTestCase):
    """An upstream with some lists."""

    def setUp(self) -> None:
        super().setUp()
        self.lists = TagLists(self.tag_store, self.health, self.repeats)

    def keep(self, *tags: str, host: str = "example.com", repository: str = "library/app") -> None:
        """Have tags in the store."""
        for tag in tags:
            record = TagRecord(DIGEST, OCI_INDEX, self.clock.seconds())
            self.now(self.tag_store.put(host, repository, tag, record))

    def tags(self, n: int | None = None, last: str | None = None) -> ServedPage:
        return self.now(self.lists.get(self.target, n, last))


class Tags(ListsTestCase):
    """Lists of tags."""

    def test_passed_on(self) -> None:
        """Upstream's page is passed on as it is, whatever is stored."""
        self.keep("stored")
        self.upstream.page = Page(("b", "a"), "a")
        self.assertEqual(ServedPage(Page(("b", "a"), "a"), False), self.tags(2, "x"))
        self.assertEqual(["tags library/app 2 x"], self.upstream.asked)

    def test_few_lines(self) -> None:
        """However often an upstream fails, and for however many repositories, there are few lines."""
        lines = Lines(self)
        for number in range(100):
            self.keep("1", repository=f"library/app{number}")
            self.upstream.error = BadGateway(f"library/app{number} is out of order")
            target = evolve(self.target, repository=f"library/app{number}")
            self.now(self.lists.get(target, None, None))
        expected = "tags of example.com/library/app0 are listed from the store: library/app0 is out"
        self.assertEqual([f"{expected} of order"], lines.warnings)

    def test_none_wanted(self) -> None:
        """A page of no tags needs no upstream, and has no next."""
        self.assertEqual(ServedPage(Page((), None), False, False), self.tags(0))
        self.assertEqual([], self.upstream.asked)

    def test_from_the_store(self) -> None:
        """If upstream cannot be asked, the tags that are stored are listed, in lexical order."""
        self.keep("b", "a", "C", "10", "2")
        self.keep("elsewhere", repository="library/other")
        self.keep("deeper", repository="library/app/deeper")
        self.keep("foreign", host="other.example.com")
        for error in (BadGateway("x"), GatewayTimeout("x"), TooManyRequests("x")):
            self.upstream.error = error
            page = Page(("10", "2", "C", "a", "b"), None)
            self.assertEqual(ServedPage(page, True), self.tags())

    def test_pages_of_the_store(self) -> None:
        """Stored tags come in pages, too."""
        self.keep("a", "b", "c", "d", "e")
        self.upstream.error = BadGateway("x")
        for n, last, expected in (
            (2, None, Page(("a", "b"), "b")),
            (2, "b", Page(("c", "d"), "d")),
            (2, "d", Page(("e",), None)),
            (5, None, Page(("a", "b", "c", "d", "e"), None)),
            (9, "b", Page(("c", "d", "e"), None)),
            (None, "b", Page(("c", "d", "e"), None)),
            (2, "e", Page((), None)),
        ):
            self.assertEqual(ServedPage(expected, True), self.tags(n, last), (n, last))

    def test_nothing_else_to_show(self) -> None:
        """With nothing stored a host that fails, or has failed a moment ago, is asked once more."""
        for error in (CircuitOpen("not asked"), BadGateway("x"), TooManyRequests("x")):
            self.upstream.asked.clear()
            self.upstream.error = error
            self.fails(self.lists.get(self.target, None, None), type(error))
            self.assertEqual(
                ["tags library/app None None", "tags library/app None None waiting"],
                self.upstream.asked,
            )
        self.keep("a")
        self.assertEqual(ServedPage(Page(("a",), None), True), self.tags())

    def test_no_use(self) -> None:
        """A host that was too slow, or answers nonsense, is not asked again at once, nor after a defect."""
        for error in (TimedOut("x"), WrongAnswer("x"), LocalFailure("x")):
            self.upstream.error = error
            self.fails(self.lists.get(self.target, None, None), type(error))
        self.assertEqual(["tags library/app None None"] * 3, self.upstream.asked)

    def test_not_the_rest_of_upstreams(self) -> None:
        """After pages from upstream the rest does not come from the store: tags would be missing."""
        self.keep("a", "b", "c")
        self.upstream.error = GatewayTimeout("x")
        self.fails(self.lists.get(self.target, 2, "bb"), GatewayTimeout)
        self.fails(self.lists.get(self.target, 2, None, "page=2"), GatewayTimeout)

    def test_part_of_a_list(self) -> None:
        """A list whose rest cannot be had is an error, and no reason to list what is stored."""
        self.keep("a")
        self.upstream.error = IncompleteList("x")
        self.fails(self.lists.get(self.target, None, None), IncompleteList)

    def test_query_of_upstream(self) -> None:
        """What upstream's link says is passed on, with a page size of none too."""
        self.upstream.page = Page(("b",), None, "page=3")
        served = self.now(self.lists.get(self.target, 0, None, "page=2&n=0"))
        self.assertEqual(ServedPage(Page(("b",), None, "page=3"), False), served)
        self.assertEqual(["tags library/app 0 None page=2&n=0"], self.upstream.asked)

    def test_nothing_stored(self) -> None:
        """If nothing is stored, upstream's error is the answer."""
        self.upstream.error = GatewayTimeout("x")
        self.fails(self.lists.get(self.target, None, None), GatewayTimeout)

    def test_nothing_may_be_stale(self) -> None:
        """Where no tag may be served stale, upstream's error is the answer."""
        self.keep("a")
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = GatewayTimeout("x")
        self.fails(self.lists.get(self.target, None, None), GatewayTimeout)

    def test_definite_answers(self) -> None:
        """A 404 and a 403 are answers: the store does not know better."""
        self.keep("a")
        for trusted in (True, False):
            self.upstream.change(trust_not_found=trusted)
            for error in (NameUnknown("x"), Denied("x")):
                self.upstream.error = error
                self.fails(self.lists.get(self.target, None, None), type(error))

    def test_broken_store(self) -> None:
        """If the store fails as well, upstream's error is the answer."""
        self.keep("a")
        self.upstream.error = GatewayTimeout("x")
        self.driver.broken = "disk on fire"
        self.fails(self.lists.get(self.target, None, None), GatewayTimeout)
