"""Lists in pages: tags are passed on page by page, referrers are put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IResponse

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, Denied, NameUnknown
from oci_registry.streams.body import BodyTooLong
from oci_registry.upstream.interfaces import Page, Referrers
from oci_registry.upstream.lists import MAX_PAGES, MAX_REFERRERS, ReferrersLister, TagsLister
from tests.support.fake_http import FakeResponse, as_response

URL = "http://registry.example.com"
DIGEST = Digest.of(b"subject")


def page(value: object, following: str | None = None) -> FakeResponse:
    """Return a page with a link to the next."""
    headers = {} if following is None else {"Link": f'<{following}>; rel="next"'}
    return FakeResponse(body=json.dumps(value).encode(), headers=headers)


def tags(*names: str, following: str | None = None) -> FakeResponse:
    """Return a page of tags."""
    return page({"name": "a/b", "tags": list(names)}, following)


class ListTestCase(SynchronousTestCase):
    """Pages by path; what is not there is a 404."""

    def setUp(self) -> None:
        self.pages: dict[str, FakeResponse] = {}
        self.asked: list[str] = []

    async def ask(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> IResponse:
        self.assertEqual(("GET", "a/b"), (method, repository))
        path = path.removeprefix(f"{URL}/v2/")
        self.asked.append(path)
        return as_response(self.pages.get(path) or FakeResponse(404))


class Tags(ListTestCase):
    """Lists of tags."""

    def begin(self, n: int | None = None, last: str | None = None) -> Deferred[Page]:
        lister = TagsLister("registry.example.com", Clock(), "a/b", URL)
        return Deferred.fromCoroutine(lister.fetch(self.ask, n, last))

    def fetch(self, n: int | None = None, last: str | None = None) -> Page:
        return self.successResultOf(self.begin(n, last))

    def test_whole(self) -> None:
        """A list without a next page is passed on in upstream's order."""
        self.pages["a/b/tags/list"] = tags("b", "a", "C")
        self.assertEqual(Page(("b", "a", "C"), None), self.fetch())

    def test_query(self) -> None:
        """``n`` and ``last`` are passed on."""
        self.pages["a/b/tags/list?n=2&last=x"] = tags("y", "z")
        self.assertEqual(Page(("y", "z"), None), self.fetch(2, "x"))

    def test_next_page(self) -> None:
        """Where the next page begins is read from the link, relative or absolute."""
        for link in (
            "/v2/a/b/tags/list?last=b&n=2",
            "list?n=2&last=b",
            "?last=b",
            f"{URL}/v2/a/b/tags/list?last=b&n=2",
        ):
            self.pages["a/b/tags/list?n=2"] = tags("a", "b", following=link)
            self.assertEqual(Page(("a", "b"), "b"), self.fetch(2), link)

    def test_foreign_link(self) -> None:
        """A link that leads away from the upstream is not followed and not passed on."""
        for link in (
            "http://evil.example.net/v2/a/b/tags/list?last=b",
            "https://registry.example.com/v2/a/b/tags/list?last=b",
            "http://registry.example.com.evil.net/v2/?last=b",
            "http://registry.example.com@evil.net/v2/?last=b",
            "//evil.net/v2/x?last=b",
            "/admin?last=b",
            "file:///v2/etc/passwd",
            "javascript:alert(1)",
        ):
            self.pages["a/b/tags/list?n=2"] = tags("a", "b", following=link)
            self.assertEqual(Page(("a", "b"), None), self.fetch(2), link)
        self.assertEqual({"a/b/tags/list?n=2"}, set(self.asked))

    def test_opaque_links(self) -> None:
        """Pages whose links name no tag are put together."""
        self.pages["a/b/tags/list"] = tags("a", following="/v2/a/b/tags/list?next_page=q%3D")
        self.pages["a/b/tags/list?next_page=q%3D"] = tags("b", following="?cursor=2&last=")
        self.pages["a/b/tags/list?cursor=2&last="] = tags("c")
        self.assertEqual(Page(("a", "b", "c"), None), self.fetch())

    def test_opaque_links_with_a_limit(self) -> None:
        """Put together, no more is given than was asked for, and where to go on."""
        self.pages["a/b/tags/list?n=2"] = tags("a", "b", following="?n=2&cursor=1")
        self.pages["a/b/tags/list?n=2&cursor=1"] = tags("c", "d")
        self.assertEqual(Page(("a", "b"), "b"), self.fetch(2))

    def test_without_end(self) -> None:
        """Pages that lead in a circle come to an end."""
        self.pages["a/b/tags/list"] = tags("a", following="?cursor=1")
        self.pages["a/b/tags/list?cursor=1"] = tags("b", following="?cursor=1")
        fetched = self.fetch()
        self.assertEqual(MAX_PAGES, len(self.asked))
        self.assertEqual("b", fetched.last)

    def test_upstream_that_knows_no_pages(self) -> None:
        """From an upstream that always sends everything the page asked for is cut out."""
        for path in ("?n=2", "?n=2&last=b", "?n=2&last=d", "?last=c"):
            self.pages[f"a/b/tags/list{path}"] = tags("d", "a", "c", "b")
        self.assertEqual(Page(("a", "b"), "b"), self.fetch(2))
        self.assertEqual(Page(("c", "d"), None), self.fetch(2, "b"))
        self.assertEqual(Page((), None), self.fetch(2, "d"))
        self.assertEqual(Page(("d",), None), self.fetch(None, "c"))

    @given(
        st.lists(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,3}", fullmatch=True), unique=True),
        st.integers(1, 5),
    )
    def test_pages_cut_out_are_complete(self, names: list[str], n: int) -> None:
        """Going through such pages gives every tag once."""
        self.setUp()
        found: list[str] = []
        last = None
        for _ in range(len(names) + 1):
            query = f"?n={n}" + (f"&last={last}" if last else "")
            self.pages[f"a/b/tags/list{query}"] = tags(*names)
            fetched = self.fetch(n, last)
            found += fetched.tags
            last = fetched.last
            if last is None:
                break
        self.assertEqual(sorted(names), sorted(found))

    def test_odd_lists(self) -> None:
        """What is no tag is left out; no list at all is none."""
        for value, expected in (
            ({"tags": ["a", "", "..", "-x", "a/b", 1, None, ["b"], "b\n", "c"]}, ("a", "c")),
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
        """A 404 means that there is no such repository."""
        self.failureResultOf(self.begin(), NameUnknown)
        self.pages["a/b/tags/list"] = FakeResponse(403)
        self.failureResultOf(self.begin(), Denied)
        self.assertTrue(self.pages["a/b/tags/list"].taken)


class ReferrersLists(ListTestCase):
    """What refers to a manifest."""

    api = f"a/b/referrers/{DIGEST}"
    tag = f"a/b/manifests/sha256-{DIGEST.encoded}"

    def begin(self, digest: Digest = DIGEST) -> Deferred[Referrers]:
        lister = ReferrersLister("registry.example.com", Clock(), "a/b", URL)
        return Deferred.fromCoroutine(lister.fetch(self.ask, digest))

    def fetch(self, digest: Digest = DIGEST) -> Referrers:
        return self.successResultOf(self.begin(digest))

    def test_api(self) -> None:
        """Descriptors are passed on as they are."""
        known: list[Any] = [{"digest": "d", "annotations": {"a": "ü"}, "x": [1, {"y": None}]}]
        self.pages[self.api] = page({"manifests": known})
        self.assertEqual(Referrers(tuple(known)), self.fetch())

    def test_pages(self) -> None:
        """All pages are put together, for clients do not follow their links."""
        self.pages[self.api] = page({"manifests": [{"n": 1}]}, "?page=2")
        self.pages[f"{self.api}?page=2"] = page({"manifests": [{"n": 2}]}, "?page=3")
        self.pages[f"{self.api}?page=3"] = page({"manifests": [{"n": 3}]})
        self.assertEqual(Referrers(({"n": 1}, {"n": 2}, {"n": 3})), self.fetch())

    def test_without_end(self) -> None:
        """Pages that lead in a circle come to an end, which is an error and not a short list."""
        self.pages[f"{self.api}?page=1"] = page({"manifests": []}, "?page=1")
        self.pages[self.api] = page({"manifests": []}, "?page=1")
        self.failureResultOf(self.begin(), BadGateway)
        self.assertEqual(MAX_PAGES, len(self.asked))

    def test_tag_instead(self) -> None:
        """Where upstream has no such API, the referrers tag is read."""
        self.pages[self.tag] = page({"manifests": [{"n": 1}]})
        self.assertEqual(Referrers(({"n": 1},)), self.fetch())
        self.assertEqual([self.api, self.tag], self.asked)

    def test_none(self) -> None:
        """With neither, the list is empty: that is no error."""
        self.assertEqual(Referrers(()), self.fetch())

    def test_trouble_with_the_tag(self) -> None:
        """Another error than a 404 is one."""
        self.pages[self.tag] = FakeResponse(500)
        self.failureResultOf(self.begin(), BadGateway)
        self.pages[self.api] = FakeResponse(401)
        self.failureResultOf(self.begin(), Denied)

    def test_next_page_gone(self) -> None:
        """If a later page is missing the tag is asked; the first pages do not pass for all."""
        self.pages[self.api] = page({"manifests": [{"n": 1}]}, "?page=2")
        self.assertEqual(Referrers(()), self.fetch())
        self.assertEqual(self.tag, self.asked[-1])

    def test_too_much(self) -> None:
        """All pages together have at most as many bytes as clients take."""
        filler = "x" * (MAX_REFERRERS // 2)
        self.pages[self.api] = page({"manifests": [{"f": filler}]}, "?page=2")
        self.pages[f"{self.api}?page=2"] = page({"manifests": [{"f": filler}]})
        self.failureResultOf(self.begin(), BodyTooLong)

    def test_odd_lists(self) -> None:
        """What is no descriptor is left out; what is no index is an error."""
        self.pages[self.api] = page({"manifests": [1, None, "x", [], {"n": 1}]})
        self.assertEqual(({"n": 1},), self.fetch().manifests)
        odd: list[Any] = [{}, {"manifests": None}, {"manifests": {}}, [], None]
        for value in odd:
            self.pages[self.api] = page(value)
            self.failureResultOf(self.begin(), BadGateway)

    def test_sha512(self) -> None:
        """The tag for a longer digest is cut short, as tags are not that long."""
        digest = Digest.of(b"x", "sha512")
        tag = f"sha512-{digest.encoded[:64]}"
        self.pages[f"a/b/manifests/{tag}"] = page({"manifests": [{"n": 1}]})
        self.assertEqual(({"n": 1},), self.fetch(digest).manifests)
