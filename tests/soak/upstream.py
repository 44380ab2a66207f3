"""The hosts of the soak: ``python -m tests.soak.upstream SEED HOSTS`` prints their ports.

``/figures`` of any of them tells what they were asked and what went wrong.
"""

from __future__ import annotations

import json
import re
import sys
from random import Random
from typing import Any

from twisted.internet import reactor as real_reactor  # noqa: TID251 - a process of its own
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.mediatypes import OCI_MANIFEST
from tests.soak.faults import Faults
from tests.soak.images import EDGE, Image, Images
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_replies import Asked, Reply, part_of

DOWN_EVERY, DOWN_FOR = 15.0, 4.0
"""Seconds between two times that one of the hosts is down, and how long it is."""


class Hosts:
    """Some hosts that have the same images and faults of their own."""

    def __init__(self, reactor: Any, seed: int, count: int) -> None:
        self._reactor = reactor
        self._random = Random(seed)
        self._images = Images(seed)
        self._faults = Faults(Random(seed))
        self._figures: dict[str, Any] = {"requests": 0, "bytes": 0, "down": 0}
        self.hosts = [FakeRegistry() for _ in range(count)]
        for host in self.hosts:
            for method in ("GET", "HEAD"):
                host.script("", self._answer, method)
            host.start(reactor)
        troubles = LoopingCall(self._take_down)
        troubles.clock = reactor
        troubles.start(DOWN_EVERY, now=False)

    def _take_down(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._down(self._random.choice(self.hosts)))

    async def _down(self, host: FakeRegistry) -> None:
        self._figures["down"] += 1
        await host.stop()
        self._reactor.callLater(DOWN_FOR, host.start, self._reactor)

    def _answer(self, asked: Asked) -> Reply:
        for host in self.hosts:
            host.asked.clear()
        if asked.path == "/figures":
            figures = {**self._figures, "faults": self._faults.done}
            return Reply(body=json.dumps(figures).encode())
        whole = self._honest(asked)
        reply = part_of(whole, asked) if "/blobs/" in asked.path else whole
        if whole.status == 200:
            reply = self._faults.spoil(asked, reply, whole)
        self._figures["requests"] += 1
        if asked.method == "GET":
            ends = (reply.cut, reply.stall, len(reply.body))
            self._figures["bytes"] += min(end for end in ends if end is not None)
        return reply

    def _honest(self, asked: Asked) -> Reply:
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", asked.path)
        if match is None:
            return Reply(404)
        repository, kind, reference = match.groups()
        if kind == "blobs":
            try:
                body = self._images.content(Digest.parse(reference))
            except (KeyError, RegistryError):
                return Reply(404)
            return Reply(body=body, headers={"ETag": f'"{reference}"', "Accept-Ranges": "bytes"})
        image = self._image(repository, reference)
        if image is None:
            return Reply(404)
        headers = {"Content-Type": OCI_MANIFEST, "Docker-Content-Digest": str(image.digest)}
        return Reply(body=image.manifest, headers=headers)

    def _image(self, repository: str, reference: str) -> Image | None:
        if reference == EDGE:
            return self._images.edge(repository, self._reactor.seconds())
        if ":" in reference:
            return self._images.by_digest(Digest.parse(reference))
        return self._images.manifests.get((repository, reference))


def main() -> None:
    """Serve until killed."""
    seed, count = map(int, sys.argv[1:])
    hosts = Hosts(real_reactor, seed, count)
    print(*(host.host.rpartition(":")[2] for host in hosts.hosts), flush=True)
    reactor: Any = real_reactor
    reactor.run()


if __name__ == "__main__":
    main()
