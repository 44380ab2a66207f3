"""An upstream registry for measurements: one repository, one image, one large blob, from memory."""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random

from oci_registry.spec.mediatypes import OCI_MANIFEST


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of *data*."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image(size: int) -> tuple[bytes, bytes, bytes]:
    """Return manifest, config and layer of an image whose one layer has *size* random bytes."""
    layer = Random(size).randbytes(size)
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {}}).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "digest": digest_of(config),
            "size": len(config),
            "mediaType": "application/vnd.oci.image.config.v1+json",
        },
        "layers": [
            {
                "digest": digest_of(layer),
                "size": size,
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
            }
        ],
    }
    return json.dumps(manifest).encode(), config, layer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[bytes, str, str]] = {}  # noqa: RUF012 - filled once, before serving

    def do_GET(self) -> None:
        """Answer with an object by the last part of the path."""
        name = self.path.partition("?")[0].rpartition("/")[2]
        body, media_type, digest = self.objects.get(name, (b"{}", "application/json", ""))
        self.send_response(200 if digest or self.path == "/v2/" else 404)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the object."""
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """Clients that leave are no news."""


def main() -> None:
    """Serve until killed; print the port, the layer's digest and the config's."""
    manifest, config, layer = image(int(sys.argv[1]))
    _Handler.objects = {
        digest_of(body): (body, media_type, digest_of(body))
        for body, media_type in (
            (manifest, OCI_MANIFEST),
            (config, "application/octet-stream"),
            (layer, "application/octet-stream"),
        )
    }
    _Handler.objects["1"] = _Handler.objects[digest_of(manifest)]
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], digest_of(layer), digest_of(config), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
