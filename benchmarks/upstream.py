"""An upstream registry for measurements: one repository, one image with large layers, from memory.

``python -m benchmarks.upstream SIZE...`` prints its port and the digests of the layers, and serves until
killed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

from attrs import frozen

from oci_registry.spec.mediatypes import OCI_MANIFEST

BLOCK = 50 * 1024 * 1024
"""Bytes that large layers have in common, again and again: the last ones make the difference."""


@frozen
class Body:
    """Bytes, in pieces that others may have too."""

    media_type: str
    pieces: Sequence[bytes | memoryview]

    @property
    def size(self) -> int:
        """The length in bytes."""
        return sum(len(piece) for piece in self.pieces)

    @property
    def digest(self) -> str:
        """The sha256 digest."""
        hashed = hashlib.sha256()
        for piece in self.pieces:
            hashed.update(piece)
        return "sha256:" + hashed.hexdigest()


def layers(sizes: Sequence[int]) -> list[Body]:
    """Return layers of so many bytes, each of them another one."""
    block = memoryview(Random(BLOCK).randbytes(BLOCK))
    made = []
    for number, size in enumerate(sizes):
        whole, rest = divmod(size - 8, BLOCK)
        pieces: list[bytes | memoryview] = [
            *[block] * whole,
            block[:rest],
            number.to_bytes(8, "big"),
        ]
        made.append(Body("application/vnd.oci.image.layer.v1.tar", pieces))
    return made


def image(sizes: Sequence[int]) -> tuple[Body, list[tuple[str, Body]]]:
    """Return a manifest and, with their digests, the blobs of an image: its layers, then its config."""
    config = Body(
        "application/vnd.oci.image.config.v1+json",
        [json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode()],
    )
    blobs = [(body.digest, body) for body in [*layers(sizes), config]]
    descriptors = [
        {"digest": digest, "size": body.size, "mediaType": body.media_type}
        for digest, body in blobs
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptors[-1],
        "layers": descriptors[:-1],
    }
    return Body(OCI_MANIFEST, [json.dumps(manifest).encode()]), blobs


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[str, Body]] = {}  # noqa: RUF012 - filled once, before serving

    def do_GET(self) -> None:
        """Answer with an object by the last part of the path."""
        name = self.path.partition("?")[0].rpartition("/")[2]
        digest, body = self.objects.get(name, ("", Body("application/json", [b"{}"])))
        self.send_response(200 if digest or self.path == "/v2/" else 404)
        self.send_header("Content-Type", body.media_type)
        self.send_header("Content-Length", str(body.size))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            for piece in body.pieces:
                self.wfile.write(piece)

    def do_HEAD(self) -> None:
        """Answer without the object."""
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """Clients that leave are no news."""


def main() -> None:
    """Serve until killed."""
    manifest, blobs = image([int(size) for size in sys.argv[1:]])
    _Handler.objects = {digest: (digest, body) for digest, body in blobs}
    _Handler.objects["1"] = _Handler.objects[manifest.digest] = (manifest.digest, manifest)
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], *(digest for digest, _ in blobs[:-1]), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
