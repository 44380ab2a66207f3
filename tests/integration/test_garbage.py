"""What the garbage collector has to free, and to traverse, in a daemon that serves requests and reloads."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CoroutineType, FrameType, FunctionType
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

import oci_registry
from oci_registry.config.settings import FilesystemSettings, Settings, UpstreamSources
from oci_registry.config.sources import reread_upstreams
from oci_registry.spec.digest import Digest
from tests.support.admin import AdminTestCase
from tests.support.daemon import MirrorTestCase, running, until
from tests.support.fake_replies import Reply
from tests.support.patterns import pattern

OURS = str(Path(oci_registry.__file__).parent)
COUNT = 5
"""How often each kind of request is sent."""
SIZE = 200_000
FACTORY = "_Factory"
"""That of a connection to a registry: Twisted's connectors and clients refer to each other, and one to it."""


def ours(found: object) -> str | None:
    """Return what an object is, if it is an object of the daemon or a frame of its code; else None."""
    if isinstance(found, FrameType):
        return found.f_code.co_qualname if found.f_code.co_filename.startswith(OURS) else None
    if isinstance(found, CoroutineType):
        return found.cr_code.co_qualname if found.cr_code.co_filename.startswith(OURS) else None
    if isinstance(found, FunctionType):
        return found.__qualname__ if found.__module__.startswith("oci_registry.") else None
    kind = type(found)
    return kind.__qualname__ if kind.__module__.startswith("oci_registry.") else None


class Cycles(AdminTestCase):
    """Objects that become garbage in cycles, which reference counting does not free."""

    async def cycles(self, work: Callable[[int], Awaitable[object]]) -> Counter[str]:
        """Return the objects of the daemon that only the collector frees after some requests."""
        # What is made once is no garbage of each request.
        await work(COUNT)
        await self.ended()
        gc.collect()
        gc.disable()
        try:
            for number in range(COUNT):
                await work(number)
            await self.ended()
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = Counter(name for name in map(ours, gc.garbage) if name is not None)
            del found[FACTORY]
            return found
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    async def ended(self) -> None:
        """Wait until all downloads and connections have ended."""
        for client in (self.client, self.admin):
            client.close()
            client.responses.clear()
        await self.idle()
        await until(lambda: not self.daemons[-1].parts.site._channels)

    async def assert_none(self, **kinds: Callable[[int], Awaitable[object]]) -> None:
        for name, work in kinds.items():
            self.assertEqual(Counter(), await self.cycles(work), name)

    def blobs(self) -> list[str]:
        """Return the paths of some blobs upstream, each to be pulled once."""
        digests = [self.registry.add_blob(pattern(SIZE + n)) for n in range(COUNT + 1)]
        return [f"/v2/team/app/blobs/{digest}" for digest in digests]

    @running
    async def test_manifests(self) -> None:
        """Requests for manifests leave none: misses, hits, and those that upstream does not have."""
        for number in range(COUNT + 1):
            self.registry.add_image("team/app", str(number))
        await self.start()

        async def manifest(number: int) -> None:
            got = await self.client.get(f"/v2/team/app/manifests/{number}")
            self.assertEqual(200, got.status)

        async def missing(number: int) -> None:
            got = await self.client.get(f"/v2/team/missing/manifests/{number}")
            self.assertEqual(404, got.status)

        await self.assert_none(miss=manifest, hit=manifest, missing=missing, negative=missing)

    @running
    async def test_blobs(self) -> None:
        """Downloads leave none, and neither do hits and ranges."""
        paths = self.blobs()
        await self.start()

        async def blob(number: int) -> None:
            got = await self.client.get(paths[number])
            self.assertEqual((200, SIZE + number), (got.status, len(got.body)))

        async def part(number: int) -> None:
            got = await self.client.get(paths[number], Range="bytes=5-900")
            self.assertEqual(206, got.status)

        await self.assert_none(miss=blob, hit=blob, part=part)

    @running
    async def test_aborted(self) -> None:
        """Clients that leave in the middle of a download, or of a hit, leave none."""
        paths = self.blobs()
        await self.start()

        async def leave(number: int) -> None:
            got = await self.client.begin(paths[number], leave_at=1)
            await got.done
            self.assertFalse(got.complete)

        await self.assert_none(miss=leave, hit=leave)

    @running
    async def test_failures(self) -> None:
        """Upstreams that fail leave none: with wrong bytes, bodies that end early, or an error."""
        paths = self.blobs()
        await self.start(self.upstream("docker.io", retries=0))

        async def fail(number: int) -> None:
            got = await self.time.hurry(self.client.get(paths[number]))
            self.assertFalse(got.status == 200 and got.complete)

        for reply in (
            Reply(body=bytes(SIZE), length=None, close=True),
            Reply(body=pattern(SIZE), cut=SIZE // 2),
            Reply(500),
        ):
            self.registry.unscript()
            self.registry.script("/blobs/", reply)
            await self.assert_none(**{repr(reply)[:60]: fail})

    @running
    async def test_others(self) -> None:
        """Lists, pages, requests that cannot be parsed, and questions of the admin API leave none."""
        self.registry.add_image("team/app", "1")
        await self.start()
        absent = Digest.of(b"absent")

        async def get(path: str, status: int) -> None:
            self.assertEqual(status, (await self.client.get(path)).status)

        async def ask(path: str) -> None:
            self.assertEqual(200, (await self.call("GET", path))[0])

        await self.assert_none(
            base=lambda _: get("/v2/", 200),
            tags=lambda _: get("/v2/team/app/tags/list", 200),
            absent=lambda _: get(f"/v2/team/app/blobs/{absent}", 404),
            name=lambda _: get("/v2/UPPER//x/manifests/1", 400),
            page=lambda _: get("/metrics", 200),
            images=lambda _: ask("/images"),
            usage=lambda _: ask("/usage"),
        )


class Reloads(MirrorTestCase):
    """What the collector traverses after a reload."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "upstreams.yaml"
        self.said = 0
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        self.said += event.get("log_namespace") == "oci_registry.reload.Reloader"

    def write(self, retries: int) -> None:
        """Write the file of 50 upstreams."""
        lines = [f'- {{namespace: docker.io, host: "{self.registry.host}", tls: false}}']
        for number in range(49):
            host = f"{{namespace: r{number}.example, host: m{number}.example, retries: {retries}}}"
            lines.append(f"- {host}")
        self.file.write_text("\n".join(lines))

    def traversed(self) -> Counter[str]:
        """Return the objects of the daemon that a full collection traverses."""
        kinds: list[Any] = [type(one) for one in gc.get_objects()]
        return Counter(k.__qualname__ for k in kinds if k.__module__.startswith("oci_registry."))

    @running
    async def test_settings(self) -> None:
        """Not the settings of the upstreams, however often they change, nor what depends on them."""
        self.registry.add_image("team/app", "1")
        self.write(1)
        sources = UpstreamSources(str(self.file))
        read = reread_upstreams(Settings((), FilesystemSettings("/"), sources=sources))
        await self.start(*read.upstreams, sources=sources)
        self.assertEqual(200, (await self.client.get("/v2/team/app/manifests/1")).status)
        for retries in (2, 3):
            self.write(retries)
            said = self.said
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda before=said: self.said > before)  # type: ignore[misc]
            await until(lambda: gc.get_threshold()[0] < 10_000)
            found = self.traversed()
            for kind in ("UpstreamSettings", "HostSettings", "LateUpstream", "HostMetrics"):
                self.assertEqual(0, found[kind], kind)
            # What a request or a timer of the daemon has made since.
            self.assertLess(sum(found.values()), 50, found)
        table = self.daemons[-1].parts
        self.assertEqual(50, len(table.metrics.configured))
