"""Pictures of the status page, for reviewers of a run and for the documentation."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import expect

from tests.browser.support import PHONE, SCREENSHOTS, BrowserTestCase, browsing
from tests.support.daemon import until
from tests.support.fake_replies import Reply
from tests.support.patterns import pattern

IMAGES = (
    ("library/postgres", "16.4", 3_100_000),
    ("library/nginx", "1.27", 1_900_000),
    ("grafana/grafana", "11.2.0", 2_400_000),
    ("library/redis", "7.4-alpine", 900_000),
    ("library/busybox", "latest", 300_000),
)


class Pictures(BrowserTestCase):
    """A daemon that has something to show."""

    async def work(self) -> list[Any]:
        """Pull images, some of them again, and begin two downloads; return what those wait for."""
        await self.account_complete()
        for number, (repository, tag, size) in enumerate(IMAGES):
            layers = pattern(size), pattern(size // 3 + number)
            _, blobs = self.registry.add_image(repository, tag, *layers)
            for _ in range(4 - number % 3):
                await self.client.get(f"/v2/{repository}/manifests/{tag}")
                for blob in blobs:
                    await self.client.get(f"/v2/{repository}/blobs/{blob}")
                await self.idle()
                self.time.forward(70)
        await until(lambda: not len(self.daemons[-1].parts.records))
        self.registry.script("/v2/team/broken/manifests/", Reply(500, body=b"no"))
        await self.client.get("/v2/team/broken/manifests/1?ns=example.com")
        gates = []
        for name, size, part in (("prometheus", 910_000, 610_000), ("loki", 710_000, 90_000)):
            data = pattern(size)
            digest = self.registry.add_blob(data)
            gates.append(self.registry.hold(f"/{name}/blobs/", data, part))
            pulling = await self.client.begin(f"/v2/grafana/{name}/blobs/{digest}")
            await until(lambda pulling=pulling, part=part: len(pulling.body) == part)  # type: ignore[misc]
        return gates

    @browsing
    def test_pictures(self) -> None:
        """The page is pictured in light and dark and on a phone, and the page of an image."""
        gates = self.wait(self.work)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        screen = {"width": 1280, "height": 1130}
        for name, path, options in (
            (
                "status-page-light",
                "",
                {"viewport": screen, "color_scheme": "light", "device_scale_factor": 0.7},
            ),
            ("status-page-dark", "", {"viewport": screen, "color_scheme": "dark"}),
            ("status-page-phone", "", {"viewport": PHONE, "color_scheme": "dark"}),
            ("image-page", "page/image?image=nginx:1.27", {"viewport": screen}),
        ):
            page = self.open(path, **options)
            if not path:
                expect(page.locator("#live")).to_have_text("Updating live")
                expect(page.locator("#transfers")).to_contain_text("2 downloads are running")
            page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
            page.screenshot(path=SCREENSHOTS / f"{name}-top.png")
            page.close()

        async def end() -> None:
            for gate in gates:
                gate.callback(None)
            await self.idle()

        self.wait(end)
