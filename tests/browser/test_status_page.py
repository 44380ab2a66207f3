"""What the status page shows, and what can be done with it."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, Response, expect

from tests.browser.proxy import PrefixProxy
from tests.browser.support import PHONE, TOKEN, BrowserTestCase, browsing
from tests.support.daemon import until
from tests.support.fake_replies import Reply
from tests.support.html import faults, read_html
from tests.support.patterns import pattern


class Reading(BrowserTestCase):
    """What is there for those who only look."""

    @browsing
    def test_without_script(self) -> None:
        """All numbers are there without JavaScript; so are search, pages and actions."""
        for tag in range(30):
            self.pull("team/app", f"v{tag}", b"layer %d" % tag)
        page = self.open(java_script_enabled=False)
        expect(page.locator("#daemon")).to_contain_text("Ready")
        expect(page.locator("#disk")).to_contain_text("stored")
        expect(page.locator("#upstreams")).to_contain_text("docker.io")
        expect(page.locator("#hits")).to_contain_text("Hit rate by whole images")
        rows = page.locator("#images tbody tr")
        expect(rows).to_have_count(25)
        page.get_by_role("link", name="Next page").click()
        expect(rows).to_have_count(5)
        page.get_by_role("searchbox", name="Name").fill("v7")
        page.get_by_role("button", name="Search").click()
        expect(rows).to_have_count(1)
        page.get_by_role("button", name="Pin docker.io/team/app:v7").click()
        expect(page.get_by_role("status")).to_have_text("Pinned")
        page.get_by_role("button", name="Unpin").click()
        expect(page.get_by_role("status")).to_have_text("Unpinned")

    @browsing
    def test_looks(self) -> None:
        """It is light or dark as the user prefers."""
        backs = set()
        for scheme in ("light", "dark"):
            page = self.open(color_scheme=scheme)
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            text = page.evaluate("getComputedStyle(document.body).color")
            self.assertGreater(_contrast(back, text), 7)
            for name, places in (
                *((name, ("--back", "--card")) for name in ("--link", "--soft", "--good", "--bad")),
                ("--text", ("--notice", "--card")),
            ):
                for place in places:
                    contrast = _contrast(_variable(page, place), _variable(page, name))
                    self.assertGreater(contrast, 4.5, (scheme, name, place))
            backs.add(back)
        self.assertEqual(2, len(backs))

    @browsing
    def test_phone(self) -> None:
        """On a phone nothing is scrolled sideways, tables included: each row is a card with labels."""
        name = "team/with-a-very-long-name/and-another-one-behind-it:1." + "0" * 60
        self.pull(*name.split(":"), b"x")
        for path in ("", f"page/image?image={name}", f"page/remove?image={name}"):
            page = self.context(viewport=PHONE, is_mobile=True, has_touch=True).new_page()
            page.goto(self.base + path)
            for width in (PHONE["width"], 1280):
                page.set_viewport_size({"width": width, "height": 740})
                scrolled = page.evaluate("document.documentElement.scrollWidth")
                self.assertLessEqual(scrolled, width, path)
            page.set_viewport_size({"width": PHONE["width"], "height": 740})
            wide = page.locator(".wide").evaluate_all(
                "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)"
            )
            self.assertEqual([], wide, path)
            # The layout of cards must not keep screen readers from finding rows.
            part = page.locator("#images, #content")
            expect(part.get_by_role("rowheader")).to_have_count(part.locator("tbody tr").count())

    @browsing
    def test_names(self) -> None:
        """All controls and charts have names, also after they were updated."""
        self.pull("team/app", "1", b"x")
        page = self.open()
        self.assertEqual([], faults(read_html(page.content())))
        with page.expect_response(re.compile("/page/parts")):
            self.wait(self._event)
        page.wait_for_timeout(200)
        self.assertEqual([], faults(read_html(page.content())))
        for name in (
            "Running downloads",
            "Hits and savings",
            "Disk",
            "Registries",
            "Images",
            "Recent errors",
        ):
            expect(page.get_by_role("region", name=name, exact=True)).to_have_count(1)
        expect(page.get_by_role("main")).to_have_count(1)
        expect(page.get_by_role("img").first).to_have_accessible_name(re.compile("were sent"))

    async def _event(self) -> None:
        self.daemons[-1].parts.events.record("download", phase="begun")

    @browsing
    def test_weight(self) -> None:
        """With all that belongs to it, a full page has less than 150 kB."""
        for tag in range(30):
            self.pull("team/some-application", f"version-{tag}", b"layer %d" % tag)
        context = self.context()
        answers: list[Response] = []
        # What is built in cannot be called by playwright.
        context.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108
        page = context.new_page()
        page.goto(self.base)
        expect(page.locator("#live")).to_have_text("Updating live")
        weight = {
            path: len(answer.body())
            for answer in answers
            # A response without an end.
            if (path := urlsplit(answer.url).path) != "/api/v1/events"
        }
        self.assertLessEqual({"/", "/page/style.css", "/page/script.js"}, weight.keys())
        self.assertLess(sum(weight.values()), 150_000)


class Watching(BrowserTestCase):
    """What changes while somebody looks."""

    @browsing
    def test_live(self) -> None:
        """A download is seen from its beginning to its end, and an error when it is logged."""
        page = self.open()
        expect(page.locator("#live")).to_have_text("Updating live")
        transfers, errors = page.locator("#transfers"), page.locator("#errors")
        expect(transfers).to_contain_text("No download is running")
        data = pattern(500_000)
        digest = self.registry.add_blob(data)
        gate = self.registry.hold("/blobs/", data, 200_000)

        async def pull() -> Any:
            pulling = await self.client.begin(f"/v2/team/app/blobs/{digest}")
            await until(lambda: len(pulling.body) == 200_000)
            return pulling

        pulling = self.wait(pull)
        expect(transfers).to_contain_text("1 download is running")
        expect(transfers).to_contain_text("40%, 200 kB of 500 kB")
        expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.4")

        async def end() -> None:
            gate.callback(None)
            await pulling.done

        self.wait(end)
        expect(transfers).to_contain_text("No download is running")
        # The next summary says that more was sent.
        sent = page.get_by_role("row", name=re.compile("^Sent to clients"))
        expect(sent).to_contain_text("500 kB")

        async def log() -> None:
            self.daemons[-1].parts.events.record("error", level="warn", text="<b>a warning</b>")

        self.wait(log)
        expect(errors).to_contain_text("<b>a warning</b>")

    @browsing
    def test_kept(self) -> None:
        """An update keeps the focus, and what was unfolded."""
        page = self.context().new_page()
        page.clock.install()
        page.goto(f"{self.base}?period=day")
        link = page.get_by_role("link", name="Last week")
        link.focus()
        before = page.locator("#daemon").inner_text()
        for _ in range(2):
            with page.expect_response(re.compile("/page/parts.*part=hits")) as asked:
                page.clock.run_for(31_000)
            self.assertIn("period=day", asked.value.url)
        expect(page.locator("#daemon")).not_to_have_text(before)
        expect(link).to_be_focused()

    @browsing
    def test_away(self) -> None:
        """When the daemon does not answer, the page says so."""
        page = self.open()
        expect(page.locator("#live")).to_have_text("Updating live")
        page.route("**/page/parts*", lambda route: route.fulfill(status=503))
        self.wait(self._event)
        expect(page.locator("#live")).to_contain_text("Not up to date")
        page.unroute("**/page/parts*")
        expect(page.locator("#live")).to_have_text("Updating live")
        self.assertTrue(all("503" in each for each in self.seen.problems), self.seen.problems)
        self.seen.problems.clear()

    async def _event(self) -> None:
        self.daemons[-1].parts.events.record("download", phase="begun")


class Acting(BrowserTestCase):
    """What can be done."""

    @browsing
    def test_removal(self) -> None:
        """An image is removed after a confirmation, which can be cancelled."""
        self.pull("team/app", "1", b"x")
        page = self.open()
        name = "docker.io/team/app:1"
        page.get_by_role("link", name=f"Remove {name}").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Remove {name}?")
        page.get_by_role("link", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        page.get_by_role("link", name="Remove...").click()
        page.get_by_role("checkbox").check()
        page.get_by_role("button", name="Remove it").click()
        expect(page.locator(".notice")).to_have_text(f"Removed: {name}")
        expect(page.locator("#images")).to_contain_text("No images")

    @browsing
    def test_keyboard(self) -> None:
        """Everything can be done with the keyboard alone, and the focus can be seen."""
        self.pull("team/app", "1", b"x")
        page = self.open()
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the images")
        expect(skip).to_be_focused()
        outline = skip.evaluate("e => getComputedStyle(e).outlineStyle")
        self.assertEqual("solid", outline)
        page.keyboard.press("Enter")
        page.wait_for_url("**#images")
        _tab_to(page, "searchbox")
        page.keyboard.type("app")
        page.keyboard.press("Enter")
        page.wait_for_url("**search=app**")
        _tab_to(page, "button", "Pin docker.io/team/app:1")
        page.keyboard.press("Space")
        expect(page.get_by_role("status")).to_have_text("Pinned")

    @browsing
    def test_refused(self) -> None:
        """What is not possible is said."""
        self.pull("team/app", "1", b"x")
        page = self.open("page/image?image=team/app:1")
        page.get_by_role("button", name="Pin").click()
        expect(page.get_by_role("status")).to_have_text("Pinned")
        page.get_by_role("link", name="Remove...").click()
        expect(page.get_by_text("unpin it first")).to_be_visible()
        page.get_by_role("button", name="Remove it").click()
        expect(page.get_by_role("main")).to_contain_text("pinned")
        self.seen.problems.clear()


class Places(BrowserTestCase):
    """Where the page is, and who may see it."""

    @browsing
    def test_prefix(self) -> None:
        """Behind a proxy that strips a prefix everything works: the style, events, search and forms."""
        self.pull("team/app", "1", b"x")
        proxy = PrefixProxy("tools/cache", urlsplit(self.base).port or 0)
        try:
            self.base = proxy.base
            url = urlsplit(proxy.base)
            self.seen.origin = f"{url.scheme}://{url.netloc}"
            page = self.open()
            expect(page.locator("#live")).to_have_text("Updating live")
            border = page.locator("main section").first.evaluate(
                "e => getComputedStyle(e).borderTopStyle"
            )
            self.assertEqual("solid", border)
            with page.expect_response(re.compile("/tools/cache/page/parts")):
                self.wait(self._event)
            page.get_by_role("searchbox").fill("app")
            page.get_by_role("button", name="Search").click()
            page.wait_for_url("**/tools/cache/?search=app**")
            page.get_by_role("button", name="Pin docker.io/team/app:1").click()
            expect(page.get_by_role("status")).to_have_text("Pinned")
            page.get_by_role("link", name="oci-registry: status").click()
            page.wait_for_url(proxy.base)
            page.close()
        finally:
            proxy.close()

    async def _event(self) -> None:
        self.daemons[-1].parts.events.record("download", phase="begun")

    @browsing
    def test_password(self) -> None:
        """Without the token there is a page that asks for it, and a wrong one is refused."""
        for credentials in (None, {"username": "admin", "password": TOKEN + "x"}):
            page = self.context(http_credentials=credentials).new_page()
            answer = page.request.get(self.base)
            self.assertEqual(401, answer.status)
            self.assertIn("--admin-token-file", answer.text())

    @browsing
    def test_other_site(self) -> None:
        """A page of another site cannot do anything with the password that the browser knows."""
        self.pull("team/app", "1", b"x")
        page = self.open()
        form = (
            f'<form method="post" action="{self.base}page/act"><input name="action" value="remove">'
            '<input name="image" value="docker.io/team/app:1"><button>Win</button></form>'
        )
        page.route(
            "http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html")
        )
        page.goto("http://evil.example/")
        with page.expect_response(re.compile("/page/act")) as sent:
            page.get_by_role("button").click()
        self.assertEqual(403, sent.value.status)
        page.goto(self.base)
        expect(page.locator("#images")).to_contain_text("docker.io/team/app:1")
        self.seen.problems.clear()

    @browsing
    def test_hostile(self) -> None:
        """Scripts in errors of registries are text."""

        async def fail() -> None:
            self.registry.script("/manifests/", Reply(500, body=b"<script>alert(1)</script>"))
            for number in range(6):
                await self.client.get(f"/v2/team/app{number}/manifests/1")
            text = "<img src=x onerror=alert(1)>"
            self.daemons[-1].parts.events.record("error", level="error", text=text)

        self.wait(fail)
        page = self.open("?search=%3Cscript%3Ealert(1)%3C/script%3E")
        page.on("dialog", lambda dialog: self.seen.problems.append(dialog.message))
        expect(page.locator("#errors")).to_contain_text("<img src=x")
        expect(page.locator("script")).to_have_count(1)
        expect(page.locator("img")).to_have_count(0)


def _tab_to(page: Page, role: Any, name: str | None = None) -> None:
    """Press Tab until a control has the focus."""
    wanted = page.get_by_role(role, name=name) if name else page.get_by_role(role)
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("e => e === document.activeElement"):
            return
    raise AssertionError(f"{role} {name} cannot be reached")


def _variable(page: Page, name: str) -> str:
    """Return a colour of the style sheet as numbers."""
    found = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{name}')")
    return " ".join(str(each) for each in bytes.fromhex(found.strip().removeprefix("#")))


def _contrast(one: str, other: str) -> float:
    """Return the contrast of two colours (WCAG 2.2)."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    parts = [int(each) / 255 for each in re.findall(r"\d+", color)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
