"""moto's S3, asked in this process or over sockets.

The server that comes with moto starts a thread for each request, needs as much CPU time to parse it as to
answer it, and waits for 10 ms before it closes the connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from contextlib import suppress
from email.utils import formatdate
from functools import cache
from importlib import import_module
from io import BytesIO
from threading import Lock, Thread
from typing import Any, cast
from urllib.parse import unquote

import xmltodict  # type: ignore[import-untyped]
from moto.server import create_backend_app

from tests.support.fake_channel import Requests
from tests.support.fake_replies import Asked, Reply
from tests.support.listening import LOCAL

_UNPREFIXED = ("CONTENT_TYPE", "CONTENT_LENGTH")

_one_at_a_time = Lock()


def _make_listings_cheap() -> None:
    """Halve the CPU time of listings.

    moto looks up each member under several names, and xmltodict checks each name.
    """
    if hasattr(xmltodict, "_validate_name"):
        xmltodict._validate_name = cache(xmltodict._validate_name)
    serialize: Any = None
    with suppress(ImportError):
        serialize = import_module("moto.core.serialize")
    if not hasattr(serialize, "S3Serializer"):
        # Older versions write XML from templates.
        return
    find = serialize.S3Serializer.get_value

    def get_value(self: Any, value: Any, key: str, *more: Any) -> Any:
        # The members of S3's results are in dicts, under their own names.
        return value.get(key) if type(value) is dict else find(self, value, key, *more)

    serialize.S3Serializer.get_value = get_value


_make_listings_cheap()


@cache
def _app() -> Any:
    """Return moto's application for S3 alone: that for all services finds the service of each request."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = create_backend_app("s3")
    app.debug = False
    # CORS headers are for browsers.
    app.after_request_funcs.clear()
    return app


def ask(asked: Asked) -> Reply:
    """Return moto's answer to a request. Requests are answered one after the other, in any thread."""
    target = f"{asked.path}?{asked.query}" if asked.query else asked.path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": asked.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(asked.path, "latin-1"),
        "QUERY_STRING": asked.query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_NAME": LOCAL,
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(asked.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(asked.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in asked.headers.items():
        key = name.upper().replace("-", "_")
        environ.setdefault(key if key in _UNPREFIXED else f"HTTP_{key}", value)
    reply = Reply()

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        reply.status = int(status.partition(" ")[0])
        reply.headers = {"date": formatdate(usegmt=True)}
        reply.headers |= {name.lower(): value for name, value in headers}

    # A conditional write looks for the object first and then writes it.
    with _one_at_a_time:
        parts = _app()(environ, start_response)
        reply.body = b"".join(parts)
        parts.close()
    return reply


class _Connection(asyncio.Protocol):
    """A connection, on which one request after the other is answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self._requests = Requests(self._transport.write)

    def data_received(self, data: bytes) -> None:
        self._requests.feed(data)
        while (asked := self._requests.next()) is not None:
            reply = ask(asked)
            headers = dict(reply.headers)
            headers.setdefault("content-length", str(len(reply.body)))
            lines = [f"HTTP/1.1 {reply.status} Whatever"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
            self._transport.write(head + bytes(reply.body))


@cache
def url() -> str:
    """Return the URL of the server, which is started when it is first wanted and lives on."""
    listening = socket.create_server((LOCAL, 0), backlog=100)

    def serve() -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(loop.create_server(_Connection, sock=listening))
        loop.run_forever()

    Thread(target=serve, daemon=True).start()
    return f"http://{LOCAL}:{listening.getsockname()[1]}"
