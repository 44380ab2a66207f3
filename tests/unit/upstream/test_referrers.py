"""What refers to a manifest: by the API, by the tag, or not at all."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.upstream.errors import TimedOut, WrongAnswer
from oci_registry.upstream.interfaces import IncompleteList, Referrers
from oci_registry.upstream.referrers import MAX_PAGES, MAX_REFERRERS, ReferrersLister
from tests.support.fake_http import FakeResponse
from tests.unit.upstream.listing import HOST, ListTestCase, page
from tests.unit.upstream.support import A, B, HostsTestCase

SUBJECT = json.dumps({"manifests": [{"digest": "child"}]}).encode()
DIGEST = Digest.of(SUBJECT)
ONE: dict[str, object] = {"n": 1}
EMPTY: tuple[object, ...] = ({"manifests": None}, {"manifests": []}, {"mediaType": OCI_INDEX})


class ReferrersTestCase(ListTestCase):
    """One manifest."""

    api = f"a/b/referrers/{DIGEST}"
    tag = f"a/b/manifests/sha256-{DIGEST.encoded}"

    def begin(self, digest: Digest = DIGEST) -> Deferred[Referrers]:
        lister = ReferrersLister(HOST, self.clock, "a/b")
        return Deferred.fromCoroutine(lister.fetch(self.ask, digest))

    def fetch(self, digest: Digest = DIGEST) -> Referrers:
        return self.successResultOf(self.begin(digest))


class Api(ReferrersTestCase):
    """Upstreams that have it."""

    def test_passed_on(self) -> None:
        """Descriptors are passed on as they are."""
        known: list[Any] = [{"digest": "d", "annotations": {"a": "ü"}, "x": [1, {"y": None}]}]
        self.pages[self.api] = page({"manifests": known})
        self.assertEqual(Referrers(tuple(known)), self.fetch())

    def test_pages(self) -> None:
        """All pages are put together, wherever their links lead; clients do not follow them."""
        self.pages[self.api] = page({"manifests": [{"n": 1}]}, "https://inner.example/x?page=2")
        self.pages[f"{self.api}?page=2"] = page({"manifests": [{"n": 2}]}, "?page=3")
        self.pages[f"{self.api}?page=3"] = page({"manifests": [{"n": 3}]})
        self.assertEqual(Referrers(({"n": 1}, {"n": 2}, {"n": 3})), self.fetch())

    def test_warning(self) -> None:
        """What a mirror says about its list is passed on."""
        body, headers = b'{"manifests": []}', {"Warning": '299 - "down"'}
        self.pages[self.api] = FakeResponse(body=body, headers=headers)
        self.assertEqual("down", self.fetch().warning)

    def test_circles(self) -> None:
        """Pages that lead in a circle, or on and on, are an error and not a short list."""
        self.pages[self.api] = page({"manifests": []}, "?page=1")
        self.pages[f"{self.api}?page=1"] = page({"manifests": []}, "?page=2")
        self.pages[f"{self.api}?page=2"] = page({"manifests": []}, "?page=1")
        self.failureResultOf(self.begin(), IncompleteList)
        self.assertEqual(3, len(self.asked))
        self.asked.clear()
        for number in range(2 * MAX_PAGES):
            self.pages[f"{self.api}?page={number}"] = page({"manifests": []}, f"?page={number + 1}")
        self.failureResultOf(self.begin(), IncompleteList)
        self.assertEqual(MAX_PAGES, len(self.asked))

    def test_next_page_gone(self) -> None:
        """If a later page is missing, the first ones do not pass for all, nor does the tag."""
        self.pages[self.tag] = page({"manifests": [ONE]})
        self.pages[self.api] = page({"manifests": [ONE]}, "?page=2")
        self.failureResultOf(self.begin(), IncompleteList)
        self.pages[f"{self.api}?page=2"] = FakeResponse(503)
        self.failureResultOf(self.begin(), BadGateway)
        self.assertNotIn(self.tag, self.asked)

    def test_too_much(self) -> None:
        """All pages together have at most as many bytes as clients take; more are an error."""
        filler = {"f": "x" * 30_000}
        self.pages[self.api] = page({"manifests": [filler]}, "?page=1")
        for number in range(1, 150):
            self.pages[f"{self.api}?page={number}"] = page(
                {"manifests": [filler]}, f"?page={number + 1}"
            )
        self.failureResultOf(self.begin(), IncompleteList)
        self.assertTrue(139 <= len(self.asked) <= 141, len(self.asked))
        self.pages[self.api] = FakeResponse(body=b" " * (MAX_REFERRERS + 1))
        self.failureResultOf(self.begin(), IncompleteList)

    def test_odd_entries(self) -> None:
        """What is no descriptor is left out."""
        self.pages[self.api] = page({"manifests": [1, None, "x", [], ONE]})
        self.assertEqual((ONE,), self.fetch().manifests)

    def test_nothing(self) -> None:
        """Null is an empty list, and so is an index without manifests: the tag is not asked."""
        for value in EMPTY:
            self.pages[self.api] = page(value)
            self.assertEqual(Referrers(()), self.fetch())
            self.assertTrue(self.fetch().listed)
        self.pages[self.api] = FakeResponse(body=b"{}", headers={"Content-Type": OCI_INDEX})
        self.assertEqual(Referrers(()), self.fetch())
        self.assertNotIn(self.tag, self.asked)


FINAL: tuple[FakeResponse | RegistryError, ...] = (
    *(FakeResponse(code) for code in (204, 304, 400, 401, 403, 404, 405, 406, 410, 415, 451, 501)),
    *(FakeResponse(body=body) for body in (b"<html>", b"", b"[]", b"null", b"{}", b"\xff")),
    FakeResponse(body=b"<html>" * 20_000),
    *(ManifestUnknown("x"), Denied("x"), WrongAnswer("sent a redirect without a valid Location")),
)
PASSING: tuple[FakeResponse | RegistryError, ...] = (
    *(FakeResponse(code) for code in (408, 429, 500, 502, 503, 504)),
    *(TimedOut("x"), BadGateway("x"), Unavailable("x"), TooManyRequests("x")),
    FakeResponse(body=b"{", length=2),
)


class Without(ReferrersTestCase):
    """Upstreams that do not have it, or not now."""

    def answers(self, answer: FakeResponse | RegistryError) -> None:
        self.pages[self.api] = answer
        self.asked.clear()

    def test_tag_instead(self) -> None:
        """Whatever is wrong with the API, the referrers tag is read."""
        self.pages[self.tag] = page({"manifests": [ONE]})
        for answer in (*FINAL, *PASSING):
            self.answers(answer)
            self.assertEqual(Referrers((ONE,)), self.fetch())
            self.assertEqual([self.api, self.tag], self.asked)

    def test_neither(self) -> None:
        """Where there is no API and no tag the list is empty: that is no error."""
        for answer in FINAL:
            self.answers(answer)
            self.assertEqual(Referrers(()), self.fetch())
            self.assertFalse(self.fetch().listed)

    def test_not_known(self) -> None:
        """Where the API may work later and there is no tag, the result is unknown: the API's error."""
        for answer in PASSING:
            self.answers(answer)
            error = self.failureResultOf(self.begin(), BadGateway, GatewayTimeout, *_PAUSES).value
            if isinstance(answer, RegistryError):
                self.assertIs(answer, error)

    def test_something_else_as_the_tag(self) -> None:
        """The subject itself, an image or a page under such a tag are no referrers."""
        image = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}
        for other in (
            FakeResponse(body=SUBJECT, headers={"Content-Type": OCI_INDEX}),
            page(image),
            FakeResponse(body=b"<html>", headers={"Content-Type": "text/html"}),
            FakeResponse(405),
        ):
            self.pages[self.tag] = other
            self.answers(FakeResponse(404))
            self.assertEqual(Referrers(()), self.fetch())
            self.answers(TimedOut("x"))
            self.failureResultOf(self.begin(), TimedOut)

    def test_empty_index_as_the_tag(self) -> None:
        """An empty index is one that says so, whatever the API may know later."""
        for value in EMPTY:
            self.pages[self.tag] = page(value)
            self.answers(TimedOut("x"))
            self.assertEqual(Referrers(()), self.fetch())

    def test_trouble_with_the_tag(self) -> None:
        """A tag that cannot be asked is an error; the API's, if that may pass."""
        self.pages[self.tag] = FakeResponse(500)
        self.answers(FakeResponse(404))
        self.failureResultOf(self.begin(), BadGateway)
        self.answers(GatewayTimeout("api"))
        self.failureResultOf(self.begin(), GatewayTimeout)
        for status in (401, 404):
            self.pages[self.tag] = FakeResponse(401)
            self.answers(FakeResponse(status))
            self.failureResultOf(self.begin(), Denied)

    def test_too_much_as_the_tag(self) -> None:
        """An index that is too large is an error, and not an empty list."""
        self.pages[self.tag] = FakeResponse(body=b" " * (MAX_REFERRERS + 1))
        self.failureResultOf(self.begin(), IncompleteList)

    def test_sha512(self) -> None:
        """The tag for a longer digest is cut short, as tags are not that long."""
        digest = Digest.of(b"x", "sha512")
        self.pages[f"a/b/manifests/sha512-{digest.encoded[:64]}"] = page({"manifests": [ONE]})
        self.assertEqual((ONE,), self.fetch(digest).manifests)


class Hosts(HostsTestCase):
    """A mirror without lists of referrers, before a host that may have them."""

    def ask(self) -> Deferred[Referrers]:
        self.asked.clear()
        return self.start(self.upstream.referrers("a/b", DIGEST))

    def found(self) -> Referrers:
        return self.successResultOf(self.ask())

    def test_next(self) -> None:
        """Where the first has neither the API nor the tag, the next is asked, each time."""
        self.answer(A, FakeResponse(404))
        self.answer(B, page({"manifests": [ONE]}))
        for _ in range(2):
            self.assertEqual((ONE,), self.found().manifests)
            self.assertEqual((2, 1), (self.asked_of(A), self.asked_of(B)))

    def test_empty(self) -> None:
        """A list that is empty is one."""
        self.answer(A, page({"manifests": []}))
        self.assertEqual(Referrers(()), self.found())
        self.assertEqual(0, self.asked_of(B))

    def test_none(self) -> None:
        """If none has a list there is nothing, which is not remembered."""
        self.answer(A, FakeResponse(404))
        for status in (404, 403):
            self.answer(B, FakeResponse(status))
            for _ in range(2):
                self.assertEqual(Referrers(()), self.found())
                self.assertEqual((2, 2), (self.asked_of(A), self.asked_of(B)))

    def test_unknown(self) -> None:
        """If the next cannot be asked, the result is unknown: signatures do not vanish with it."""
        self.answer(A, FakeResponse(404))
        self.answer(B, FakeResponse(500))
        asked = self.ask()
        self.clock.pump([1.0] * 30)
        self.failureResultOf(asked, BadGateway)


_PAUSES = (Unavailable, TooManyRequests)
