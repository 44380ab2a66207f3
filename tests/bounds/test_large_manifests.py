"""The largest manifests there may be cost other clients no time, and the process no memory."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, gatherResults

from oci_registry.spec.digest import Digest
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE
from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.support.client import Client, Response
from tests.support.daemon import running
from tests.support.fake_registry import Asked, Reply
from tests.support.process import DaemonProcess, ProcessTestCase

MIB = 1024 * 1024
BUSY = 0.5
"""Seconds of the processor that the daemon may take for them before it answers others."""
CPU = 2.5
"""Seconds of the processor for five of them, without the start; parsed, each costs three."""
LEFT = 20 * MIB
"""By how much ten of them may have made the process grow when they have been sent."""
PATH = "/v2/library/app/manifests"

ENTRIES = b"[],"
LAYER = b'{"mediaType":"a/b","digest":"sha256:%s","size":1},' % (b"a" * 64)
SPACE = b" "


def document(number: int, filling: bytes) -> bytes:
    """Return a manifest of nearly 4 MiB that is full of something."""
    head, end = b'{"schemaVersion":2,"n":%d,"layers":[' % number, b"[]]}"
    return head + filling * ((MAX_MANIFEST_SIZE - len(head + end)) // len(filling)) + end


class LargeManifests(ProcessTestCase):
    """The daemon as a process, an upstream of large manifests, and one small one that is cached."""

    timeout = 180

    def setUp(self) -> None:
        super().setUp()
        self.registry.script("/manifests/(entries|layers|spaces)", self.answer)
        self.small, _ = self.registry.add_image("library/app", "small", b"layer")
        self.waited: list[float] = []

    def answer(self, asked: Asked) -> Reply:
        """Return the manifest that a tag tells of."""
        name, number = asked.path.rsplit("/", 1)[1].split("-")
        filling = {"entries": ENTRIES, "layers": LAYER, "spaces": SPACE}[name]
        return Reply(body=document(int(number), filling), headers={"Content-Type": OCI_MANIFEST})

    async def at_once(
        self, daemon: DaemonProcess, client: Client, references: list[str]
    ) -> list[Response]:
        """Pull manifests all at the same time, and nothing but these may take long."""
        pulls = gatherResults([self.pull(client, reference) for reference in references])
        others = [
            self.repeat(daemon, client, path, lambda: bool(pulls.called))
            for path in ("/healthz", f"{PATH}/small")
        ]
        responses = await pulls
        await gatherResults(others)
        self.assertEqual({200}, {response.status for response in responses})
        self.assertTrue(all(response.complete for response in responses))
        return list(responses)

    def pull(self, client: Client, reference: str) -> Deferred[Response]:
        async def pull() -> Response:
            return await (await client.begin_hashed(f"{PATH}/{reference}")).done

        return Deferred.fromCoroutine(pull())

    def repeat(
        self, daemon: DaemonProcess, client: Client, path: str, over: Callable[[], bool]
    ) -> Deferred[None]:
        async def repeat() -> None:
            while not over():
                before = daemon.cpu()
                self.assertEqual(200, (await client.get(path)).status)
                self.waited.append(daemon.cpu() - before)

        return Deferred.fromCoroutine(repeat())

    async def warm(self, *names: str) -> tuple[DaemonProcess, Client]:
        """Start a daemon that has served what others ask for meanwhile."""
        daemon, client = await self.start()
        for path in ("/healthz", f"{PATH}/small", *names):
            await client.get(path)
        return daemon, client

    async def serve_five(self, kind: str) -> None:
        """Pull five cold, and again after a restart from the store, at once each time."""
        daemon, client = await self.warm()
        responses = await self.at_once(daemon, client, [f"{kind}-{number}" for number in range(5)])
        digests = [response.headers["docker-content-digest"] for response in responses]
        self.bounded(daemon)
        await self.end(daemon, client)

        daemon, client = await self.warm()
        self.registry.asked.clear()
        for _ in range(2):
            await self.at_once(daemon, client, digests)
        self.assertEqual([], self.registry.asked)
        self.bounded(daemon)
        await self.end(daemon, client)

    def bounded(self, daemon: DaemonProcess) -> None:
        """Nobody has had to wait for long, and it was not much work."""
        self.assertGreater(len(self.waited), 5)
        self.assertLess(max(self.waited), BUSY)
        self.assertLess(daemon.cpu(), CPU)
        self.waited.clear()

    async def end(self, daemon: DaemonProcess, client: Client) -> None:
        client.close()
        await daemon.kill("TERM")

    @running
    async def test_nothing_but_entries(self) -> None:
        """A million entries in each of five manifests delay nobody, from the store neither."""
        await self.serve_five("entries")

    @running
    async def test_nothing_but_layers(self) -> None:
        """Tens of thousands of layers in each of five manifests delay nobody."""
        await self.serve_five("layers")

    @running
    async def test_memory(self) -> None:
        """When ten have been served, cold, and twice at the same time, their memory is free again."""
        daemon, client = await self.warm()
        before = daemon.memory()
        digests = []
        for number in range(10):
            data = document(number, SPACE)
            response = await self.pull(client, f"spaces-{number}")
            self.assertEqual(Digest.of(data).encoded, response.body.sha256.hexdigest())
            digests.append(response.headers["docker-content-digest"])
        for _ in range(2):
            await self.at_once(daemon, client, digests)
        grown = daemon.memory() - before
        await self.end(daemon, client)
        self.assertLess(grown, LEFT, f"{grown / MIB:.1f} MiB")
