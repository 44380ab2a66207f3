"""Lists of tags, page by page."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from oci_registry.spec.errors import BadGateway, Denied, GatewayTimeout, NameUnknown
from oci_registry.upstream.errors import TimedOut
from oci_registry.upstream.interfaces import IncompleteList, Page
from oci_registry.upstream.tags import MAX_LIST, TagsLister
from tests.support.fake_http import FakeResponse
from tests.unit.upstream.listing import HOST, URL, ListTestCase, page, tags


class TagsTestCase(ListTestCase):
    """One repository."""

    def begin(
        self, n: int | None = None, last: str | None = None, query: str | None = None
    ) -> Deferred[Page]:
        lister = TagsLister(HOST, self.clock, "a/b")
        return Deferred.fromCoroutine(lister.fetch(self.ask, n, last, query))

    def fetch(
        self, n: int | None = None, last: str | None = None, query: str | None = None
    ) -> Page:
        return self.successResultOf(self.begin(n, last, query))


class Paged(TagsTestCase):
    """Upstreams that say where the next page begins."""

    def test_whole(self) -> None:
        """A list without a next page is passed on in upstream's order."""
        self.pages["a/b/tags/list"] = tags("b", "a", "C")
        self.assertEqual(Page(("b", "a", "C"), None), self.fetch())

    def test_query(self) -> None:
        """``n`` and ``last`` are passed on."""
        self.pages["a/b/tags/list?n=2&last=x"] = tags("y", "z")
        self.assertEqual(Page(("y", "z"), None), self.fetch(2, "x"))

    def test_warning(self) -> None:
        """What a mirror says about a list that is not upstream's own is passed on, if it can be."""
        for value, text in (
            ('299 - "quay.io is unavailable"', "quay.io is unavailable"),
            ('299 mirror:5000 "x"', "x"),
            *((value, None) for value in ("", "x", '110 - "x"', '299 - "a\x07b"', '299 - "\xe9"')),
            ('299 - "' + "x" * 301 + '"', None),
        ):
            body = b'{"tags": ["a"]}'
            self.pages["a/b/tags/list"] = FakeResponse(body=body, headers={"Warning": value})
            self.assertEqual(Page(("a",), None, None, text), self.fetch(), value)

    def test_next_page(self) -> None:
        """The next page begins where the link says, wherever that leads; only this host is asked."""
        for link in (
            *("/v2/a/b/tags/list?last=b&n=2", "list?n=2&last=b", "?last=b", "?n=0&last=b"),
            *(f"{URL}/v2/a/b/tags/list?last=b&n=2", f"https://{HOST}/v2/a/b/tags/list?last=b"),
            *("http://registry.internal:5000/v2/a/b/tags/list?last=b", f"//{HOST}:5000/x?last=b"),
            *(
                "/artifactory/api/docker/x/v2/a/b/tags/list?last=b",
                "http://evil.example.net/?last=b",
            ),
            *("?last=b&ns=evil.example.net", "http://user:secret@h/?last=b", "javascript:x?last=b"),
        ):
            self.pages["a/b/tags/list?n=2"] = tags("a", "b", following=link)
            self.assertEqual(Page(("a", "b"), "b"), self.fetch(2), link)
        self.assertEqual({"a/b/tags/list?n=2"}, set(self.asked))

    def test_opaque_links(self) -> None:
        """A link that names no tag is for the client to bring back, and then passed on to the letter."""
        self.pages["a/b/tags/list?n=1"] = tags(
            "a", following="/v2/a/b/tags/list?next_page=q%3D&n=1"
        )
        self.assertEqual(Page(("a",), None, "next_page=q%3D&n=1"), self.fetch(1))
        self.pages["a/b/tags/list?next_page=q%3D&n=1"] = tags("b", "c", following="?cursor=2&last=")
        self.assertEqual(
            Page(("b", "c"), None, "cursor=2&last="), self.fetch(1, None, "next_page=q%3D&n=1")
        )
        self.pages["a/b/tags/list?cursor=2&last="] = tags("d", "e")
        self.assertEqual(Page(("d", "e"), None), self.fetch(None, None, "cursor=2&last="))

    def test_token_as_last(self) -> None:
        """A ``last`` that is no tag is as opaque as others (Amazon's)."""
        token = "x" * 600 + "%3D%3D"
        self.pages["a/b/tags/list"] = tags("a", following=f"/v2/a/b/tags/list?n=100&last={token}")
        self.assertEqual(Page(("a",), None, f"n=100&last={token}"), self.fetch())

    def test_leading_nowhere(self) -> None:
        """A link that cannot be followed, or repeats the page, is an error: a part is not the whole."""
        for link in (
            *("/v2/a/b/tags/list", "?n=2", "?", "#", "?last=&n=2", "page2.html", "?last=x"),
            *("?n=5&last=x", "http://evil.example.net/v2/?x=" + "y" * 2048, "?last=b c"),
        ):
            self.pages["a/b/tags/list?n=2&last=x"] = tags("y", "z", following=link)
            self.failureResultOf(self.begin(2, "x"), IncompleteList)
        self.pages["a/b/tags/list?page=1"] = tags("a", following="?n=5&page=1")
        self.failureResultOf(self.begin(query="page=1"), IncompleteList)

    def test_other_links(self) -> None:
        """Links that lead elsewhere than to a next page do not count."""
        answer = tags("a")
        answer.headers.addRawHeader(b"Link", b'</v2/a/b/tags/list?last=0>; rel="first"')
        self.pages["a/b/tags/list"] = answer
        self.assertEqual(Page(("a",), None), self.fetch())


class AtOnce(TagsTestCase):
    """Upstreams that send everything, whatever they are asked."""

    def everything(self, *names: str) -> None:
        for n in ("", "n=1&", "n=2&", "n=3&", "n=4&", "n=5&"):
            for last in (
                "",
                *(f"last={name}" for name in "abcdefgx"),
                *(f"last={x}" for x in names),
            ):
                query = f"{n}{last}".rstrip("&")
                self.pages["a/b/tags/list" + (f"?{query}" if query else "")] = tags(*names)

    def test_cut_out(self) -> None:
        """The page asked for is cut out, in lexical order; without such a wish the order is kept."""
        self.everything("d", "a", "c", "b")
        self.assertEqual(Page(("a", "b"), "b"), self.fetch(2))
        self.assertEqual(Page(("c", "d"), None), self.fetch(2, "b"))
        self.assertEqual(Page((), None), self.fetch(2, "d"))
        self.assertEqual(Page(("d",), None), self.fetch(None, "c"))
        self.assertEqual(Page(("d", "a", "c", "b"), None), self.fetch())
        self.assertEqual(Page(("d", "a", "c", "b"), None), self.fetch(4))

    def test_deleted_meanwhile(self) -> None:
        """It continues after where the last tag was, in whatever order upstream sends."""
        self.everything("a", "b", "d", "e")
        self.assertEqual(Page(("d", "e"), None), self.fetch(2, "c"))
        self.assertEqual(Page((), None), self.fetch(2, "x"))
        self.everything("d", "a", "b")
        self.assertEqual(Page(("d",), None), self.fetch(2, "c"))

    def test_an_order_of_its_own(self) -> None:
        """What an upstream that knows ``last`` sends after it is passed on, in whatever order."""
        self.pages["a/b/tags/list?n=3"] = tags("a", "B", "c")
        self.pages["a/b/tags/list?n=3&last=b"] = tags("C", "D")
        self.assertEqual(Page(("C", "D"), None), self.fetch(3, "b"))
        self.pages["a/b/tags/list?n=3&last=v9"] = tags("v11", "v10")
        self.assertEqual(Page(("v11", "v10"), None), self.fetch(3, "v9"))

    @given(
        st.lists(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,3}", fullmatch=True)),
        st.integers(1, 5),
    )
    def test_pages_are_complete(self, names: list[str], n: int) -> None:
        """Going through such pages gives every tag once, in order, though upstream has some twice."""
        self.setUp()
        self.everything(*names)
        found: list[str] = []
        fetched = self.fetch(n)
        while True:
            self.assertLessEqual(len(fetched.tags), n)
            found += fetched.tags
            if fetched.last is None:
                break
            fetched = self.fetch(n, fetched.last)
        unique = list(dict.fromkeys(names))
        self.assertEqual(sorted(unique) if len(unique) > n else unique, found)

    def test_odd_tags(self) -> None:
        """A page ends at a tag after which a client can ask for the next."""
        self.everything("a", "ü", "b", "é", "è")
        self.assertEqual(Page(("a", "b"), "b"), self.fetch(2))
        self.assertEqual(Page(("è", "é", "ü"), None), self.fetch(1, "b"))


class Odd(TagsTestCase):
    """What else upstreams answer."""

    def test_odd_lists(self) -> None:
        """What no terminal should see is left out; no list at all is none."""
        for value, expected in (
            (
                {"tags": ["a", "", "..", "-x", "a/b", 1, None, ["b"], "b\n", "c+d", "a"]},
                ("a", "..", "-x", "a/b", "c+d"),
            ),
            ({"tags": ["x" * 255, "x" * 256, "\x1b[2J", "\ud800"]}, ("x" * 255,)),
            ({"tags": None}, ()),
            ({}, ()),
            ({"tags": {"a": 1}}, ()),
        ):
            self.pages["a/b/tags/list"] = page(value)
            self.assertEqual(Page(expected, None), self.fetch())

    def test_not_a_list(self) -> None:
        """An answer that is no JSON object is an error."""
        for body in (b"", b"<html>", b"[]", b"null", b"\xff", b"[" * 100_000):
            self.pages["a/b/tags/list"] = FakeResponse(body=body)
            self.failureResultOf(self.begin(), BadGateway)

    def test_statuses(self) -> None:
        """A 404 means that there is no such repository; other errors are passed on."""
        self.failureResultOf(self.begin(), NameUnknown)
        refused = FakeResponse(403)
        self.pages["a/b/tags/list"] = refused
        self.failureResultOf(self.begin(), Denied)
        self.assertTrue(refused.taken)
        self.pages["a/b/tags/list"] = GatewayTimeout("x")
        self.failureResultOf(self.begin(), GatewayTimeout)

    def test_large(self) -> None:
        """A long list is read in turns with everything else; one that is too long is an error."""
        names = [f"{number:040}" for number in range(20_000)]
        self.pages["a/b/tags/list"] = tags(*names)
        reading = self.begin()
        self.assertNoResult(reading)
        self.clock.advance(0)
        self.assertEqual(Page(tuple(names), None), self.successResultOf(reading))
        self.pages["a/b/tags/list"] = FakeResponse(body=b" " * (MAX_LIST + 1))
        self.failureResultOf(self.begin(), IncompleteList)

    def test_broken_off(self) -> None:
        """A list that ends early is an error."""
        body = json.dumps({"tags": ["a"]}).encode()
        self.pages["a/b/tags/list"] = FakeResponse(body=body, length=len(body) + 1)
        self.failureResultOf(self.begin(), BadGateway)

    def test_slow(self) -> None:
        """Each page has a time in which it must arrive; anyone who leaves before does not blame the host."""
        for ending in (TimedOut, CancelledError):
            self.pages["a/b/tags/list"] = Silent()
            reading = self.begin()
            if ending is CancelledError:
                reading.cancel()
            else:
                self.clock.pump([1] * 61)
            self.failureResultOf(reading, ending)


class Silent(FakeResponse):
    """A list that is cut off after its beginning."""

    def deliverBody(self, protocol: object) -> None:
        self.taken = True
