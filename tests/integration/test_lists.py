"""Lists of tags through the daemon, as registries really page them."""

from __future__ import annotations

import json
import time
from urllib.parse import parse_qs

from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running
from tests.support.fake_registry import Asked, Reply

LIST = "/v2/library/app/tags/list"


class ListsTestCase(MirrorTestCase):
    """A registry with many tags, whose pages are made by the test."""

    def setUp(self) -> None:
        super().setUp()
        self.tags = [f"t{number:03}" for number in range(700)]
        self.registry.add_image("library/app", "1")

    def pages(self, link: str, size: int = 10) -> None:
        """Send pages of *size*, with links in the form *link*."""

        def answer(asked: Asked) -> Reply:
            query = parse_qs(asked.query)
            start = int(query.get("page", ["0"])[0])
            if "last" in query:
                start = sum(tag <= query["last"][0] for tag in self.tags)
            part = self.tags[start : start + size]
            more = start + size < len(self.tags)
            target = link.format(page=start + size, last=part[-1])
            return Reply(body=listed(part), headers={"Link": target} if more else {})

        self.registry.script("/tags/list", answer)

    async def walk(self, path: str = LIST) -> tuple[list[str], Response]:
        """Follow the links; return all tags and the last response."""
        found: list[str] = []
        while True:
            response = await self.client.get(path)
            if response.status != 200:
                return found, response
            found += json.loads(response.body)["tags"]
            if "link" not in response.headers:
                return found, response
            path = response.headers["link"][1:].partition(">; ")[0]


def listed(tags: list[str]) -> bytes:
    """Return a page."""
    return json.dumps({"name": "library/app", "tags": tags}).encode()


class Pages(ListsTestCase):
    """From page to page."""

    @running
    async def test_without_end(self) -> None:
        """However many pages there are, each tag comes once, in order, at one request a page."""
        await self.start()
        self.pages('</v2/library/app/tags/list?page={page}>; rel="next"')
        for path in (LIST, f"{LIST}?ns=docker.io", "/v2/docker.io/app/tags/list"):
            self.registry.asked.clear()
            found, _ = await self.walk(path)
            self.assertEqual(self.tags, found)
            self.assertEqual(70, self.registry.count("/tags/list"))

    @running
    async def test_leading_elsewhere(self) -> None:
        """Wherever a link seems to lead, the rest is asked of the registry that was asked."""
        other = self.another()
        self.tags = self.tags[:25]
        await self.start()
        for link in (
            f'<http://{other.host}/v2/library/app/tags/list?page={{page}}>; rel="next"',
            '<https://registry.internal/x/v2/library/app/tags/list?last={last}&n=0>; rel="next"',
            "?last={last}",
            '</v2/>; rel="first", < /repository/x?page={page}&amp;n=9 >',
        ):
            self.pages(link)
            self.assertEqual(self.tags, (await self.walk())[0], link)
        self.assertEqual([], other.asked)

    @running
    async def test_cut_short(self) -> None:
        """A list whose rest cannot be had is an error, which says why, and never a part of it."""
        await self.start()
        for link in ("</v2/library/app/tags/list>; rel=next", "<page2>", "<broken"):
            self.pages(link)
            found, response = await self.walk()
            self.assertEqual(([], 502), (found, response.status), link)
            self.assertIn(b"without a valid link", bytes(response.body))

    @running
    async def test_later_page_fails(self) -> None:
        """When the registry fails in the middle, that is an error: what is stored is not the rest."""
        await self.start()
        self.assertEqual(200, (await self.client.get("/v2/library/app/manifests/1")).status)
        for link in ("<?page={page}>", "<?last={last}>"):
            self.pages(link)
            page = await self.client.get(LIST)
            self.registry.script("/tags/list", Reply(400))
            following = page.headers["link"][1:].partition(">; ")[0]
            self.assertEqual(502, (await self.client.get(following)).status)


class Large(ListsTestCase):
    """Very many tags at once."""

    timeout = 120

    @running
    async def test_responsive(self) -> None:
        """While a list of 8 MiB is read and sent, others are answered at once."""
        self.tags = [f"{number:047}" for number in range(170_000)]
        self.registry.script("/tags/list", Reply(body=listed(self.tags)))
        await self.start()
        self.assertEqual(200, (await self.client.get("/v2/library/app/manifests/1")).status)
        whole = await self.client.begin(LIST)
        slowest = 0.0
        while not whole.done.called:
            # Of this process, so that others on the machine do not matter.
            began = time.process_time()
            self.assertEqual(200, (await self.client.get("/v2/library/app/manifests/1")).status)
            slowest = max(slowest, time.process_time() - began)
        self.assertEqual(self.tags, json.loads(whole.body)["tags"])
        self.assertLess(slowest, 1.0)
