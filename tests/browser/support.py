"""Chromium in a thread, beside a daemon in the reactor of the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from oci_registry.spec.sizes import parse_size
from tests.support.admin import AdminTestCase
from tests.support.daemon import reactor, until

TOKEN = "0123456789-abcdefghij"
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
PHONE = {"width": 360, "height": 740}
PATIENCE = 40.0
"""Seconds after which a test does not wait for the daemon any longer."""
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str | None:
    """Return where Chromium is; None: playwright's own is used, if it has one."""
    return next((found for name in _CHROMIUM if (found := shutil.which(name))), None)


class Seen:
    """What a page did that it must not do: errors, and requests to other places than *origin*."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.problems: list[str] = []
        self.weight: dict[str, int] = {}

    def watch(self, context: BrowserContext) -> None:
        """Watch all pages of a context."""
        context.on("console", self._said)
        context.on("weberror", lambda error: self.problems.append(f"error: {error.error}"))
        context.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        # Violations of the content security policy are errors too.
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        url = urlsplit(request.url)
        if f"{url.scheme}://{url.netloc}" != self.origin:
            self.problems.append(f"request to {request.url}")


def browsing(test: Callable[[Any], None]) -> Callable[[Any], Deferred[None]]:
    """Make a function a test, which is run in a thread with `browser`, while the daemon runs."""

    @wraps(test)
    def run(self: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(self.run_in_browser(test))

    return run


class BrowserTestCase(AdminTestCase):
    """A daemon with an admin port, and a browser that knows its token.

    Tests run in a thread: `wait` runs a coroutine in the reactor meanwhile.
    """

    browser: Browser

    async def begin(self) -> None:
        """Start the daemon."""
        await self.start(
            admin_listen=("tcp:0:interface=127.0.0.1",),
            admin_token=TOKEN,
            max_size=parse_size("1GB"),
        )

    async def run_in_browser(self, test: Callable[[Any], None]) -> None:
        """Start the daemon, and run *test* in a thread."""
        await self.begin()
        port = await self.daemons[-1].parts.ports.services[1]._waitingForPort
        self.base = f"http://127.0.0.1:{port.getHost().port}/"
        self.seen = Seen(self.base.rstrip("/"))

        def drive() -> None:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            with sync_playwright() as playwright:
                self.browser = playwright.chromium.launch(
                    executable_path=chromium(), args=arguments
                )
                try:
                    test(self)
                finally:
                    self.browser.close()

        await deferToThread(drive)
        self.assertEqual([], self.seen.problems)

    def context(self, **options: Any) -> BrowserContext:
        """Return a new context, whose pages are watched."""
        options.setdefault("http_credentials", {"username": "admin", "password": TOKEN})
        context = self.browser.new_context(**options)
        context.set_default_timeout(10_000)
        self.seen.watch(context)
        return context

    def open(self, path: str = "", **options: Any) -> Page:
        """Return a page of the daemon in a context of its own."""
        page = self.context(**options).new_page()
        answer = page.goto(self.base + path)
        assert answer is not None
        self.assertEqual(200, answer.status)
        return page

    def wait(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine in the reactor, and return what it does; for the thread of the browser."""

        def begin() -> Deferred[Any]:
            # The time limit of a test does not end what a thread waits for.
            return Deferred.fromCoroutine(work()).addTimeout(PATIENCE, reactor)

        return blockingCallFromThread(reactor, begin)

    def pull(self, repository: str, tag: str, *layers: bytes) -> None:
        """Have an image in the store."""

        async def pulled() -> None:
            _, blobs = self.registry.add_image(repository, tag, *layers)
            await self.client.get(f"/v2/{repository}/manifests/{tag}")
            for blob in blobs:
                await self.client.get(f"/v2/{repository}/blobs/{blob}")
            await self.idle()
            await until(lambda: not len(self.daemons[-1].parts.records))

        self.wait(pulled)
