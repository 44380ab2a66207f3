"""Names of registries that a name server does not answer for, in daemons with real threads."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from threading import Event
from typing import Any

from attrs import evolve

from oci_registry.upstream.names import ThreadedResolver
from tests.support.client import Response
from tests.support.daemon import MirrorTestCase, running, until

APP = "library/app"
REQUESTS = 60


class NameServer:
    """A name server in place of the system's: it knows no name but *known*, and does not answer for `*.dead`.

    ``asked``: the names that it was asked for. ``answers`` is set when it answers for all.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.answers = Event()

    def look_up(self, host: str, *_: Any) -> list[Any]:
        self.asked.append(host)
        if host.endswith(".dead"):
            self.answers.wait(60)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


class Silent(MirrorTestCase):
    """Some names are never answered for."""

    def setUp(self) -> None:
        super().setUp()
        self.names = NameServer(["good.example"])
        self.addCleanup(self.names.answers.set)
        self.makers = evolve(
            self.makers,
            resolver=lambda _, in_thread: ThreadedResolver(in_thread, self.names.look_up),
        )
        self.registry.add_image(APP, "latest")

    async def begin(self) -> list[Response]:
        """Start a daemon, and ask a registry for many images whose name server does not answer."""
        _, _, port = self.registry.host.rpartition(":")
        await self.start(
            self.upstream("docker.io", host=f"good.example:{port}"),
            self.upstream("corp.example", host=f"registry.dead:{port}"),
        )
        asked = [
            await self.client.begin(f"/v2/app{number}/manifests/latest?ns=corp.example")
            for number in range(REQUESTS)
        ]
        await until(lambda: self.names.asked)
        return asked

    @running
    async def test_others(self) -> None:
        """Many pulls from that registry do not hold up those from another; they all hear of the answer."""
        asked = await self.begin()
        response = await self.client.get(f"/v2/{APP}/manifests/latest")
        self.assertEqual(200, response.status)
        self.assertEqual(["registry.dead", "good.example"], self.names.asked)
        self.assertFalse([each for each in asked if each.status])
        self.names.answers.set()
        for each in asked:
            self.assertEqual(502, (await each.done).status)
            self.assertIn(b"registry.dead", each.body)
            self.assertIn(b"its name could not be resolved", each.body)

    @running
    async def test_many_names(self) -> None:
        """A name server that many registries have in common does not hold up one that has another."""
        _, _, port = self.registry.host.rpartition(":")
        count = 100
        await self.start(
            self.upstream("docker.io", host=f"good.example:{port}"),
            *(
                self.upstream(f"corp{number}.example", host=f"registry{number}.dead:{port}")
                for number in range(count)
            ),
        )
        for number in range(count):
            await self.client.begin(f"/v2/app/manifests/latest?ns=corp{number}.example")
        response = await self.client.get(f"/v2/{APP}/manifests/latest")
        self.assertEqual(200, response.status)
        self.assertEqual(count + 1, len(self.names.asked))

    @running
    async def test_few_connections(self) -> None:
        """An answer that comes late is told as such to all, also if others ask again meanwhile."""
        _, _, port = self.registry.host.rpartition(":")
        host = f"registry.dead:{port}"
        await self.start(self.upstream("corp.example", host=host, max_connections=4))
        asked = [
            await self.client.begin(f"/v2/app{number}/manifests/latest?ns=corp.example")
            for number in range(12)
        ]
        await until(lambda: self.names.asked)
        self.names.answers.set()
        for each in asked:
            self.assertEqual(502, (await each.done).status)
            self.assertIn(b"its name could not be resolved", each.body)

    @running
    async def test_in_time(self) -> None:
        """Who has waited long enough is told why; another registry is none the worse for it."""
        asked = await self.begin()
        await self.time.hurry(_all(asked))
        for each in asked:
            self.assertEqual(504, each.status)
            self.assertIn(b": its name could not be resolved in time", each.body)
        self.assertEqual(["registry.dead"], self.names.asked)
        response = await self.client.get(f"/v2/{APP}/manifests/latest")
        self.assertEqual(200, response.status)


async def _all(asked: list[Response]) -> None:
    for each in asked:
        await each.done
