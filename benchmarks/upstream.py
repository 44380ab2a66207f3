"""An upstream registry for measurements: one repository, one image with large layers, from memory.

``python -m benchmarks.upstream SIZE...`` prints its port and the digests of the layers, and serves until
killed. ``GET /gets/NAME`` returns how often an object has been sent.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import ssl
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

from attrs import frozen

from oci_registry.spec.mediatypes import OCI_MANIFEST

BLOCK = 50 * 1024 * 1024
"""Bytes that large layers have in common, again and again: the last ones make the difference."""

PIECE = 1024 * 1024
"""Bytes that are written at a time."""


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
    gets: Counter[str] = Counter()  # noqa: RUF012 - one for the process
    delay = 0.0
    rate = 0.0

    def do_GET(self) -> None:
        """Answer with an object by the last part of the path."""
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/gets/"):
            digest, body = "-", Body("application/json", [b"%d" % self.gets[name]])
        else:
            digest, body = self.objects.get(name, ("", Body("application/json", [b"{}"])))
            time.sleep(self.delay)
        self.send_response(200 if digest or path == "/v2/" else 404)
        self.send_header("Content-Type", body.media_type)
        self.send_header("Content-Length", str(body.size))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.gets[name] += digest == name
            self._send(body)

    def _send(self, body: Body) -> None:
        began, sent = time.monotonic(), 0
        for piece in body.pieces:
            for start in range(0, len(piece), PIECE):
                self.wfile.write(piece[start : start + PIECE])
                sent += PIECE
                if self.rate:
                    time.sleep(max(0.0, began + sent / self.rate - time.monotonic()))

    def do_HEAD(self) -> None:
        """Answer without the object."""
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *args: object) -> None:
        """Clients that leave are no news."""


def _tls(folder: Path) -> ssl.SSLContext:
    """Return a context with a certificate of its own for localhost, which is in ``ca.pem``."""
    # Only here: those who measure without TLS need not wait for it.
    from tests.support.certificates import Certified  # noqa: PLC0415

    certified = Certified("localhost", names=("localhost", "127.0.0.1"))
    (folder / "ca.pem").write_bytes(certified.certificate)
    (folder / "key.pem").write_bytes(certified.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.upstream")
    parser.add_argument("sizes", metavar="SIZE", type=int, nargs="+", help="bytes of a layer")
    parser.add_argument("--delay", type=float, default=0, help="seconds before each response")
    parser.add_argument("--rate", type=float, default=0, help="bytes a second for a connection")
    parser.add_argument("--tls", type=Path, help="speak TLS; the directory that gets ca.pem")
    options = parser.parse_args()
    manifest, blobs = image(options.sizes)
    _Handler.objects = {digest: (digest, body) for digest, body in blobs}
    _Handler.objects["1"] = _Handler.objects[manifest.digest] = (manifest.digest, manifest)
    _Handler.delay, _Handler.rate = options.delay, options.rate
    server = _Server(("127.0.0.1", 0), _Handler)
    if options.tls is not None:
        server.socket = _tls(options.tls).wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], *(digest for digest, _ in blobs[:-1]), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
