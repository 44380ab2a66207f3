"""A proxy that serves the daemon below a prefix, which it strips, as an ingress does."""

from __future__ import annotations

from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_OWN = frozenset(("connection", "transfer-encoding", "keep-alive"))


class PrefixProxy:
    """Passes on requests below */prefix/*; with the header Host, and without keeping anything back."""

    def __init__(self, prefix: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            """Passes requests below the prefix on to the daemon."""

            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                if not self.path.startswith(f"/{prefix}/"):
                    self.send_error(404)
                    return
                length = int(self.headers.get("Content-Length", 0))
                upstream = HTTPConnection("127.0.0.1", port)
                headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN}
                body = self.rfile.read(length)
                upstream.request(self.command, self.path[len(prefix) + 1 :], body, headers)
                answer = upstream.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _OWN:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    while piece := answer.read1(65536):
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    pass
                finally:
                    upstream.close()

            do_GET = do_POST = do_HEAD = handle_any  # noqa: N815 - http.server calls them so

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.base = f"http://127.0.0.1:{self._server.server_port}/{prefix}/"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
