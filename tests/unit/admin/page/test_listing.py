"""The list of images, the page of an image, and their forms."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from oci_registry.admin.answers import HeldDigest, SeenDigest, TagState, WaitingDigest
from oci_registry.management.answers import (
    ImageDetails,
    ImagePage,
    ShownBlob,
    ShownManifest,
)
from oci_registry.management.pinned import CONFIGURATION, OPERATOR
from oci_registry.management.problems import IsPinned
from tests.unit.admin.page.support import DIGEST, IMAGE, MANIFEST, WHY, PageTestCase

OTHER = "sha256:" + "1" * 64
SEEN = SeenDigest(DIGEST, "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", True)


class Listing(PageTestCase):
    """The list of images."""

    def wanted(self) -> dict[str, object]:
        """Return what the API was last asked for."""
        return dict(next(values for _, path, values in reversed(self.asked) if path == "/images"))

    def test_search(self) -> None:
        """A part of a name, or a pattern, is searched for, and stays in the form."""
        for text, pattern in (("app", ("*app*",)), ("*/a?p:*", ("*/a?p:*",)), ("", ())):
            part = self.part("images", f"/?search={text}&order=size")
            self.assertEqual((pattern, "size"), (self.wanted()["pattern"], self.wanted()["order"]))
            form = part.one("form", role="search")
            self.assertEqual("get", form.attributes["method"])
            self.assertEqual(text, form.one("input").attributes["value"])
            (chosen,) = [each for each in form.all("option") if "selected" in each.attributes]
            self.assertEqual("size", chosen.attributes["value"])

    def test_pages(self) -> None:
        """Further pages are links, which keep the search."""
        self.answers["GET", "/images"] = ImagePage((IMAGE,), "a/b:1", True)
        (following,) = self.part("images", "/?search=app").one("nav").all("a")
        self.assertEqual(
            "./?after=a%2Fb%3A1&search=app&order=name#images", following.attributes["href"]
        )
        self.answers["GET", "/images"] = ImagePage((IMAGE,), None, True)
        part = self.part("images", "/?search=app&order=name&after=a%2Fb%3A1")
        self.assertEqual("a/b:1", self.wanted()["after"])
        self.assertEqual(["First page"], [each.text for each in part.one("nav").all("a")])

    def test_rows(self) -> None:
        """Each row has the actions that are possible, whose names say of what."""
        odd = evolve(
            IMAGE, name=f"docker.io/@{DIGEST}", repository=None, tag=None, complete=False,
            stored_blobs=1, pinned=True, used=None, platforms=("a",) * 6,
        )  # fmt: skip
        self.answers["GET", "/images"] = ImagePage((IMAGE, odd), None, False)
        part = self.part("images")
        first, second = part.all("form", class_="actions")
        labels = [each.attributes["aria-label"] for each in first.all("button") + first.all("a")]
        self.assertEqual([f"{one} {IMAGE.name}" for one in ("Refresh", "Pin")], labels[:2])
        self.assertEqual([f"Remove {odd.name}..."], [
            each.attributes["aria-label"] for each in second.all("button") + second.all("a")
        ])  # fmt: skip
        self.assertIn("1 of 3 blobs, pinned", part.text)
        self.assertIn("a, a, a, a, ...", part.text)
        self.assertIn("there may be more images", part.text)

    def test_none(self) -> None:
        """That nothing was found is said, with what was searched for."""
        self.answers["GET", "/images"] = ImagePage((), None, True)
        self.assertIn("No images with x in the name", self.part("images", "/?search=x").text)

    def test_slow(self) -> None:
        """The list may take a moment, a search longer; then the question is cancelled."""
        for query, seconds in (("", 1.5), ("?search=x", 10.0)):
            cancelled: list[object] = []
            self.answers["GET", "/images"] = Deferred(cancelled.append)
            connection = self.ask(f"/{query}")
            self.clock.advance(seconds - 0.1)
            self.assertEqual(b"", connection.got)
            self.clock.advance(0.2)
            self.assertEqual(1, len(cancelled))
            text = self.checked(connection.answer()).with_id("images").text
            self.assertIn(f"Not available: there was no answer within {seconds:g} s", text)


class OneImage(PageTestCase):
    """The page of an image."""

    def buttons(self) -> list[str]:
        """Return what can be done."""
        form = self.get("/page/image?image=app").with_id("actions")
        return [each.attributes["value"] for each in form.all("button")]

    def test_content(self) -> None:
        """What is stored, why it is kept, and other images are shown."""
        blob = ShownBlob(OTHER, "application/layer", 5000, False, None, 1)
        child = evolve(MANIFEST, digest=OTHER, platform="linux/arm64", blobs=(blob,), problem="odd")
        index = evolve(MANIFEST, manifests=(child,))
        self.answers["GET", "/image"] = ImageDetails(IMAGE, index, (IMAGE.name, "x:2"), ("y:1",))
        document = self.get("/page/image?image=app")
        self.assertIn("It is.", document.with_id("why").text)
        content = document.with_id("content")
        for said in ("linux/arm64: application/x", "odd", "5.0 kB no", "5.0 MB, of which"):
            self.assertIn(said, content.text)
        links = [each.attributes["href"] for each in content.all("a")]
        self.assertEqual(["image?image=x%3A2", "image?image=y%3A1"], links)

    def test_large(self) -> None:
        """Of a very large image not every blob is shown."""
        blob = ShownBlob(OTHER, None, None, True, None, 1)
        manifest = ShownManifest(DIGEST, None, None, True, None, None, (blob,) * 500, ())
        self.answers["GET", "/image"] = ImageDetails(IMAGE, manifest, (), ())
        content = self.get("/page/image?image=app").with_id("content")
        self.assertEqual(201, len(content.all("tr")))
        self.assertIn("and 301 more", content.text)

    def test_no_wasted_rows(self) -> None:
        """Nothing is made of the blobs that are not shown: a hostile image has very many."""
        blob = ShownBlob(OTHER, None, None, True, None, 1)
        unread: Any = (None,) * 1000
        blobs = (blob,) * 199 + unread
        manifest = ShownManifest(DIGEST, None, None, True, None, None, blobs, ())
        self.answers["GET", "/image"] = ImageDetails(IMAGE, manifest, (), ())
        self.assertIn("and 1000 more", self.get("/page/image?image=app").with_id("content").text)

    def test_actions(self) -> None:
        """Only what is possible is offered."""
        state = TagState(DIGEST, None, None, (SEEN,))
        held = HeldDigest(OTHER, "2026-01-01T00:00:00Z")
        waiting = WaitingDigest(OTHER, "2026-01-01T00:00:00Z", None)
        for why, tag, expected in (
            (WHY, state, ["refresh", "pin", "hold"]),
            (evolve(WHY, pinned=(OPERATOR,)), state, ["refresh", "unpin", "hold"]),
            (evolve(WHY, pinned=(CONFIGURATION,)), state, ["refresh", "pin", "hold"]),
            (WHY, evolve(state, hold=held, history=(SEEN, SEEN)),
             ["refresh", "pin", "release", "rollback"]),
            (WHY, evolve(state, waiting=waiting), ["refresh", "pin", "hold", "adopt"]),
        ):  # fmt: skip
            self.answers["GET", "/why"], self.answers["GET", "/history"] = why, tag
            self.assertEqual(expected, self.buttons())
        text = self.get("/page/image?image=app").with_id("history").text
        self.assertIn("New digest, not served yet: sha256:111111111111...", text)

    def test_digest(self) -> None:
        """An image by digest has no history."""
        document = self.get(f"/page/image?image=app@{DIGEST}")
        self.assertNotIn("/history", [path for _, path, _ in self.asked])
        self.assertEqual([], document.all("section", id="history"))

    def test_removal(self) -> None:
        """A removal is asked for first, with what it frees."""
        self.answers["GET", "/image"] = ImageDetails(evolve(IMAGE, pinned=True), MANIFEST, (), ())
        document = self.get("/page/remove?image=app")
        for said in ("Its size is 5.0 MB", "unpin it first", "Cancel"):
            self.assertIn(said, document.text)
        self.assertEqual({"GET"}, {method for method, _, _ in self.asked})


class Forms(PageTestCase):
    """What forms do."""

    def test_actions(self) -> None:
        """Each does one thing, and then leads to where it can be seen."""
        for fields, method, path, values in (
            ({"action": "refresh"}, "POST", "/refresh", {}),
            ({"action": "pin"}, "POST", "/pins", {}),
            ({"action": "unpin"}, "DELETE", "/pins", {}),
            ({"action": "remove"}, "DELETE", "/image", {"blobs": False}),
            ({"action": "remove", "blobs": "true"}, "DELETE", "/image", {"blobs": True}),
            ({"action": "hold", "digest": DIGEST}, "POST", "/hold", {"digest": DIGEST}),
            ({"action": "rollback", "digest": ""}, "POST", "/rollback", {"digest": None}),
            ({"action": "release"}, "POST", "/release", {}),
            ({"action": "adopt"}, "POST", "/adopt", {}),
        ):
            answer = self.post(image="app:1", **fields)
            self.assertEqual(303, answer.status, answer.body)
            self.assertEqual((method, path, {"image": "app:1", **values}), self.asked[-1])
            place = answer.headers["location"]
            removed = fields["action"] == "remove"
            self.assertTrue(place.startswith("../?" if removed else "image?"), place)
            shown = self.get(f"/{place.removeprefix('../')}" if removed else f"/page/{place}")
            self.assertEqual(1, len(shown.all("p", class_="notice")))

    def test_sweep(self) -> None:
        """A sweep needs no image."""
        answer = self.post(action="sweep")
        self.assertEqual((303, "../?done=sweep#disk"), (answer.status, answer.headers["location"]))

    def test_refused(self) -> None:
        """What is not possible is said on a page with the status of the API."""
        self.answers["DELETE", "/image"] = IsPinned("app is pinned")
        answer = self.post(action="remove", image="app")
        self.assertEqual(409, answer.status)
        self.assertIn("app is pinned", self.checked(answer).text)

    def test_wrong(self) -> None:
        """A form that cannot be one of this page does nothing."""
        for body, media_type, status in (
            ("action=explode&image=app", "", 400),
            ("action=pin", "", 400),
            ("image=app", "", 400),
            ("action=pin&image=app&image=b", "", 400),
            ("action=pin&image=app", "text/plain", 415),
            ("action=pin&image=" + "x" * 70_000, "", 413),
        ):
            answer = self.post(body, media_type)
            self.assertEqual(status, answer.status, body[:50])
            self.checked(answer)
        self.assertEqual([], self.asked)
