"""An upstream on a real socket that does as it is told, good or bad, and remembers what it was asked."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs

from attrs import Factory, define
from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from tests.support.fake_channel import Channels
from tests.support.fake_replies import Asked, Reply, Script, part_of
from tests.support.listening import Listening


@define(eq=False)
class FakeRegistry:
    """A registry of whatever is put into it; `script` replaces its answers."""

    blobs: dict[str, bytes] = Factory(dict)
    manifests: dict[tuple[str, str], tuple[bytes, str]] = Factory(dict)
    asked: list[Asked] = Factory(list)
    channels: set[Any] = Factory(set)
    connections: int = 0
    hung_up: int = 0
    guard: Script | None = None
    reactor: Any = None
    _scripts: list[tuple[str, re.Pattern[str], Script]] = Factory(list)
    _listening: Listening = Factory(Listening)

    def start(self, reactor: Any, tls: Any = None) -> None:
        """Listen, always on the same port; *tls* is a context factory to do so with."""
        self.reactor = reactor
        self._listening.start(reactor, Channels(self), tls)

    async def stop(self) -> None:
        """Break off what is under way and refuse connections, until it is started again."""
        for channel in list(self.channels):
            channel.transport.abortConnection()
        await self._listening.stop()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listening.port}"

    def add_blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    def add_manifest(
        self, repository: str, reference: str | None, raw: bytes, media_type: str = OCI_MANIFEST
    ) -> Digest:
        digest = Digest.of(raw)
        self.manifests[repository, str(digest)] = (raw, media_type)
        if reference is not None:
            self.manifests[repository, reference] = (raw, media_type)
        return digest

    def add_image(self, repository: str, tag: str, *layers: bytes) -> tuple[Digest, list[Digest]]:
        """Add an image; return the digests of its manifest and of config and layers."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": tag}).encode()
        blobs = [self.add_blob(data) for data in (config, *layers)]
        sizes = [len(config), *map(len, layers)]
        described = [
            {"mediaType": "application/octet-stream", "digest": str(d), "size": s}
            for d, s in zip(blobs, sizes, strict=True)
        ]
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": described[0],
                "layers": described[1:],
            }
        ).encode()
        return self.add_manifest(repository, tag, raw), blobs

    def script(self, pattern: str, script: Script | Reply, method: str = "GET") -> None:
        """Answer requests whose path matches with *script*, until it returns None."""
        answer = script if callable(script) else lambda _: script
        self._scripts.insert(0, (method, re.compile(pattern), answer))

    def hold(self, pattern: str, body: bytes, at: int) -> Deferred[None]:
        """Answer GETs with *body*, but wait after *at* bytes until the Deferred that is returned fires."""
        gate: Deferred[None] = Deferred()
        self.script(pattern, Reply(body=body, hold=gate, hold_at=at))
        return gate

    def unscript(self) -> None:
        self._scripts.clear()

    def matching(self, pattern: str, method: str = "GET") -> list[Asked]:
        """Return the requests whose path matches."""
        return [a for a in self.asked if a.method == method and re.search(pattern, a.path)]

    def count(self, pattern: str, method: str = "GET") -> int:
        """Return how often something was asked for."""
        return len(self.matching(pattern, method))

    def answer(self, asked: Asked) -> Reply:
        refused = None if self.guard is None else self.guard(asked)
        if refused is not None:
            return refused
        for method, pattern, script in self._scripts:
            if method == asked.method and pattern.search(asked.path):
                reply = script(asked)
                if reply is not None:
                    return reply
        return self.honest(asked)

    def honest(self, asked: Asked) -> Reply:
        """Answer as a good registry would."""
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|referrers)/([^/]+)", asked.path)
        if match is None:
            return Reply(200 if asked.path == "/v2/" else 404)
        repository, kind, reference = match.groups()
        if kind == "blobs" and reference in self.blobs:
            headers = {
                "Docker-Content-Digest": reference,
                "ETag": f'"{reference}"',
                "Accept-Ranges": "bytes",
            }
            return part_of(Reply(body=self.blobs[reference], headers=headers), asked)
        if kind == "manifests" and (repository, reference) in self.manifests:
            raw, media_type = self.manifests[repository, reference]
            return Reply(
                body=raw,
                headers={
                    "Content-Type": media_type,
                    "Docker-Content-Digest": str(Digest.of(raw)),
                },
            )
        if kind == "tags":
            return self._tags(repository, parse_qs(asked.query))
        return Reply(404, b'{"errors":[]}', {"Content-Type": "application/json"})

    def _tags(self, repository: str, query: dict[str, list[str]]) -> Reply:
        tags = sorted(r for n, r in self.manifests if n == repository and ":" not in r)
        if not tags:
            return Reply(404)
        last = query.get("last", [""])[0]
        after = [tag for tag in tags if tag > last]
        count = int(query.get("n", ["1000"])[0])
        headers = {"Content-Type": "application/json"}
        if len(after) > count:
            link = f"/v2/{repository}/tags/list?last={after[count - 1]}&n={count}"
            headers["Link"] = f'<{link}>; rel="next"'
        return Reply(
            body=json.dumps({"name": repository, "tags": after[:count]}).encode(), headers=headers
        )


__all__ = ["OCI_INDEX", "Asked", "FakeRegistry", "Reply"]
