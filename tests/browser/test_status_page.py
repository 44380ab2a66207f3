"""What the status page shows, and what can be done with it."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.support import SCREENSHOTS, BrowserTestCase, browsing
from tests.support.patterns import pattern


class Reading(BrowserTestCase):
    """What is there for those who only look."""

    @browsing
    def test_without_script(self) -> None:
        """Everything is there without JavaScript."""
        self.pull("team/app", "1", pattern(200_000))
        page = self.open(java_script_enabled=False)
        expect(page.locator("#daemon")).to_contain_text("Ready")
        expect(page.locator("#images")).to_contain_text("docker.io/team/app:1")
        expect(page.locator("#disk")).to_contain_text("stored")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "plain.png", full_page=True)
