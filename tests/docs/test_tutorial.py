"""Anyone who follows the first tutorial sees what it says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

from tests.docs.blocks import ROOT, shown_blocks
from tests.docs.machine import Done, Machine, Terminal, busybox, upstream_file
from tests.docs.shown import SCRIPTS, How
from tests.docs.test_blocks import script_of
from tests.support.client import Client
from tests.support.daemon import reactor, running, until

PAGE = "docs/tutorials/first-mirror.md"
_LINE = r'^[0-9T:.-]+Z info 127\.0\.0\.1 "HEAD {}" 200 0 [0-9.]+ "curl/[0-9.]+" cache=miss\r?$'


class FirstMirror(TestCase):
    """The scripts of the page, one after the other, with a registry of ours for Docker Hub."""

    timeout = 90

    def setUp(self) -> None:
        for program in ("make", "curl"):
            if shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")
        self.registry = busybox()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.registry.stop()))
        root = Path(self.mktemp()).absolute()
        upstreams = root / "upstreams.yaml"
        self.machine = Machine.new(
            root,
            UPSTREAM_CONFIG_FILE=str(upstreams),
            ROOT=str(root / "cache"),
            MAKEFLAGS=f"-- VENV={root / 'venv'}",
        )
        self.install(root / "venv")
        upstreams.write_text(upstream_file(self.registry), "utf-8")
        told = zip(SCRIPTS[PAGE], shown_blocks("sh", "console", page=PAGE), strict=True)
        self.blocks = [block for (_, how), block in told if how is How.TUTORIAL]

    def install(self, place: Path) -> None:
        """Have make find the environment of the tests there, instead of making one, which takes minutes."""
        (place / "bin").mkdir(parents=True)
        python = place / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "ascii")
        python.chmod(0o755)
        (place / ".installed").touch()

    async def make_run(self) -> Terminal:
        """Do the first step in a terminal; `port` is where the mirror is then."""
        terminal = self.machine.start("make run", ROOT)
        self.addCleanup(terminal.end)
        self.port = await terminal.listening
        await until(lambda: b"storing in" in terminal.output)
        return terminal

    async def step(self) -> tuple[Done, str]:
        """Do the next step in the other terminal; return what it says and what is on the page."""
        block = self.blocks.pop(0)
        done = await self.machine.run(self.machine.adapted(script_of(block), self.port))
        self.assertEqual(0, done.status, f"{block.where}: {done}")
        return done, block.text

    async def pull(self) -> None:
        """Do as a client that pulls an image under the name of the mirror."""
        client = Client(reactor, self.port)
        repository = "/v2/docker.io/library/busybox"
        index = json.loads((await client.get(f"{repository}/manifests/latest")).body)
        digest = index["manifests"][0]["digest"]
        manifest = json.loads((await client.get(f"{repository}/manifests/{digest}")).body)
        for blob in (manifest["config"], *manifest["layers"]):
            response = await client.get(f"{repository}/blobs/{blob['digest']}")
            self.assertEqual((200, blob["size"]), (response.status, len(response.body)))
        client.close()

    @running
    async def test_all(self) -> None:
        """Every step does what the page says, down to Ctrl-C and a start with everything there."""
        self.assertEqual("make run\n", self.blocks.pop(0).text)
        terminal = await self.make_run()

        done, shown = await self.step()
        self.assertEqual(shown.partition("\n")[2].strip(), done.output.strip())

        done, _ = await self.step()
        headers = done.output.lower()
        for header in ("docker-content-digest: sha256:", "oci-namespace: docker.io"):
            self.assertIn(header, headers)
        path = re.escape("/v2/library/busybox/manifests/latest")
        line = re.compile(_LINE.format(path).encode(), re.M)
        await until(lambda: line.search(terminal.output) is not None)
        page = (ROOT / PAGE).read_text("utf-8")
        self.assertRegex(page, re.compile(_LINE.format(path), re.M))

        done, _ = await self.step()
        self.assertEqual(2, done.output.count("HTTP/1.1 200"))
        self.assertEqual(2, done.output.lower().count("oci-namespace: quay.io"))

        await self.pull()
        done, shown = await self.step()
        for name in shown.splitlines()[1:-1]:
            pattern = re.sub(r"/[0-9a-f]{2}/[0-9a-f]+\.\.\.", "/[0-9a-f]{2}/[0-9a-f]+", name)
            self.assertRegex(done.output, re.compile(rf"^{pattern}$", re.M))

        count = self.blocks[0]
        before, _ = await self.step()
        asked = len(self.registry.asked)
        # With the network unplugged.
        await self.registry.stop()
        await self.pull()
        self.blocks.insert(0, count)
        after, _ = await self.step()
        self.assertEqual(asked, len(self.registry.asked))
        self.assertEqual([], self.blocks)
        self.assertGreater(counted(after, "blob_cache_hits"), counted(before, "blob_cache_hits"))
        received = "oci_registry_upstream_bytes_total"
        self.assertEqual(counted(before, received), counted(after, received))
        self.assertGreater(counted(after, received), 0)

        await terminal.interrupt()
        again = await self.make_run()
        await self.pull()
        await again.interrupt()


def counted(done: Done, name: str) -> float:
    """Return a figure for docker.io out of what a script has printed of the metrics, 0 if it has none."""
    found = re.search(rf'^{name}{{namespace="docker.io"}} (\S+)$', done.output, re.M)
    return float(found[1]) if found else 0
