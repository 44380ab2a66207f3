"""A token server as distribution's token authentication wants it: pull for all but ``private/``."""

from __future__ import annotations

import base64
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

ISSUER = "e2e-issuer"
USER, PASSWORD = "pat", "e2e-s3cret"


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class _Handler(BaseHTTPRequestHandler):
    """Answers requests for tokens."""

    key: object
    certificate: bytes

    def do_GET(self) -> None:
        """Give a token, or a 401 to whoever shows the wrong credentials."""
        query = parse_qs(urlsplit(self.path).query)
        shown = self.headers.get("Authorization", "")
        user = base64.b64decode(shown.removeprefix("Basic ")).decode() if shown else ""
        if user and user != f"{USER}:{PASSWORD}":
            self._answer(401, {})
            return
        access: list[dict[str, object]] = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")
            allowed = [] if name.startswith("private/") and not user else actions.split(",")
            access.append({"type": kind, "name": name, "actions": allowed})
        token = self._token(query.get("service", [""])[0], access)
        self._answer(200, {"token": token, "expires_in": 300})

    def _token(self, audience: str, access: list[dict[str, object]]) -> str:
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self.certificate.decode()]}
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": "",
            "aud": audience,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": str(time.time_ns()),
            "access": access,
        }
        text = b".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        signature = self.key.sign(text, padding.PKCS1v15(), hashes.SHA256())  # type: ignore[attr-defined]
        return (text + b"." + _encode(signature)).decode()

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve on the port given, with the key and the certificate given."""
    port, key, certificate = sys.argv[1:]
    _Handler.key = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    loaded = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    _Handler.certificate = base64.b64encode(loaded.public_bytes(serialization.Encoding.DER))
    ThreadingHTTPServer(("127.0.0.1", int(port)), _Handler).serve_forever()


if __name__ == "__main__":
    main()
