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
        "config": {"digest": digest_of(config), "size": len(config), "mediaType": "a/config"},
        "layers": [{"digest": digest_of(layer), "size": size, "mediaType": "a/layer"}],
    }
    return json.dumps(manifest).encode(), config, layer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, tuple[bytes, str]] = {}  # noqa: RUF012 - filled once, before serving

    def do_GET(self) -> None:
        """Answer with an object by the last part of the path."""
        found = self.objects.get(self.path.partition("?")[0].rpartition("/")[2])
        body, media_type = found or (b"{}", "application/json")
        self.send_response(200 if found or self.path == "/v2/" else 404)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Answer without the object."""
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed; print the port, the layer's digest and the config's."""
    manifest, config, layer = image(int(sys.argv[1]))
    _Handler.objects = {
        "1": (manifest, OCI_MANIFEST),
        digest_of(manifest): (manifest, OCI_MANIFEST),
        digest_of(config): (config, "application/octet-stream"),
        digest_of(layer): (layer, "application/octet-stream"),
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], digest_of(layer), digest_of(config), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
