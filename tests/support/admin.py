"""A client of the admin API of a daemon in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint

from oci_registry.admin.local import NAME
from oci_registry.spec.digest import Digest
from tests.support.client import Client, Response, _Connecting
from tests.support.daemon import MirrorTestCase, reactor, until
from tests.support.patterns import pattern


class LocalClient(Client):
    """Connects to a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(reactor, 0)
        self._path = path

    async def send(self, data: bytes, method: str = "GET", leave_at: int | None = None) -> Response:
        """Connect, send *data* as it is, and return the response that is about to come."""
        response = Response(method, leave_at)
        self.responses.append(response)
        endpoint = UNIXClientEndpoint(reactor, str(self._path))
        await endpoint.connect(_Connecting(response))
        response.transport.write(data)
        return response


class AdminTestCase(MirrorTestCase):
    """A daemon and a client of its admin socket."""

    def setUp(self) -> None:
        super().setUp()
        # In a short path: longer ones are no addresses of sockets.
        self.admin = LocalClient(self.root / NAME)
        self.addCleanup(self.admin.close)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        client: Client | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        """Send a request with a JSON body, and return status and JSON of the response."""
        raw = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} /api/v1{path} HTTP/1.1", "Host: mirror", f"Content-Length: {len(raw)}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + raw
        response = await (await (client or self.admin).send(data, method)).done
        return response.status, json.loads(response.body) if response.body else None


def events_of(response: Response) -> list[dict[str, Any]]:
    """Return the events of a stream that have arrived."""
    lines = bytes(response.body).decode().splitlines()
    found = [line[6:] for line in lines if line.startswith("data: {") and line.endswith("}")]
    return [json.loads(line) for line in found]


async def held_download(case: MirrorTestCase) -> tuple[Digest, Deferred[None], Response]:
    """Start a daemon, and a download of 500,000 bytes that goes on behind 200,000 when the gate opens."""
    data = pattern(500_000)
    digest = case.registry.add_blob(data)
    gate = case.registry.hold("/blobs/", data, 200_000)
    await case.start()
    pulling = await case.client.begin(f"/v2/team/app/blobs/{digest}")
    await until(lambda: len(pulling.body) == 200_000)
    return digest, gate, pulling
