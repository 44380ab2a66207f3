"""An S3 server in this process, and buckets on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from botocore import client as client_module
from botocore import hooks, regions, utils
from botocore import session as botocore_session
from botocore.awsrequest import AWSResponse
from botocore.hooks import EventAliaser
from botocore.loaders import create_loader
from moto.s3 import models

from oci_registry.config.settings import S3Settings
from oci_registry.storage.drivers.s3.bucket import Bucket
from oci_registry.storage.drivers.s3.connection import Connection
from tests.support import s3_server
from tests.support.fake_replies import Asked

MIB = 1024 * 1024
PART = 5 * MIB if "TEST_S3_ENDPOINT" in os.environ else MIB
"""The least size of all parts but the last; a real server's cannot be changed."""

models.S3_UPLOAD_PART_MIN_SIZE = PART


class _Aliaser(EventAliaser):
    """One that shares what it has found out about the names of events."""

    _found: dict[str, str] = {}  # noqa: RUF012 - for all of them

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._alias_name_cache = self._found


_providers: dict[tuple[int, ...], tuple[Any, object]] = {}
_make_provider = regions.EndpointProvider


def _shared_provider(**documents: Any) -> Any:
    """Return the rules for addresses that are made of these documents, the same for the same ones."""
    key = tuple(map(id, documents.values()))
    if key not in _providers:
        _providers[key] = (_make_provider(**documents), documents)
    return _providers[key][0]


_methods: dict[str, dict[str, Any]] = {}
_make_methods = client_module.ClientCreator._create_methods


def _shared_methods(self: Any, service_model: Any) -> dict[str, Any]:
    """Return the methods of a client of a service, the same functions for all clients."""
    name = service_model.service_name
    if name not in _methods:
        _methods[name] = _make_methods(self, service_model)
    return dict(_methods[name])


def _verified(*_: object) -> None:
    """Accept a function."""


# To make a client takes longer than most tests: what is the same for all of them is made once.
botocore_session.create_loader = cache(create_loader)
botocore_session.EventAliaser = _Aliaser  # type: ignore[assignment]
regions.EndpointProvider = _shared_provider
# It inspects the signature of each function that is registered: those of botocore and of this module.
hooks.BaseEventHooks._verify_accept_kwargs = _verified  # type: ignore[method-assign]
client_module.ClientCreator._create_methods = _shared_methods  # type: ignore[method-assign]
# Two thirds of what listings take, of the server and of its clients.
utils._parse_timestamp_with_tzinfo = lru_cache(10_000)(utils._parse_timestamp_with_tzinfo)

_clients: dict[tuple[str | None, ...], Any] = {}


def endpoint() -> str:
    """Return the URL of the server, which is started when it is first wanted and lives on.

    The environment can name another one in ``TEST_S3_ENDPOINT``, which knows the same keys.
    """
    if "TEST_S3_ENDPOINT" in os.environ:
        return os.environ["TEST_S3_ENDPOINT"]
    return s3_server.url()


def new_bucket(spool: str, **settings: Any) -> S3Settings:
    """Return the settings of a bucket that is new and empty."""
    made = S3Settings(
        **{
            "bucket": f"test-{uuid4().hex[:20]}",
            "endpoint": endpoint(),
            "access_key": "testkey",
            "secret_key": "testsecret",
            "addressing": "path",
            "spool": spool,
            **settings,
        }
    )
    client(made).create_bucket(Bucket=made.bucket)
    return made


def client(settings: S3Settings) -> Any:
    """Return a boto3 client for what somebody else than the daemon does to a bucket."""
    wanted = (settings.endpoint, settings.access_key, settings.secret_key, settings.addressing)
    if wanted not in _clients:
        # To make one takes longer than many a test.
        made = _clients[wanted] = Connection(settings).writing
        if "TEST_S3_ENDPOINT" not in os.environ and settings.endpoint == endpoint():
            made.meta.events.register("before-send.s3", _ask_here)
    return _clients[wanted]


def _ask_here(request: Any, **_: object) -> AWSResponse:
    """Answer a request in this process, without a connection."""
    place = urlsplit(request.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    headers.setdefault("host", place.netloc)
    body = request.body or b""
    if isinstance(body, str):
        body = body.encode()
    elif hasattr(body, "read"):
        body = body.read()
    reply = s3_server.ask(Asked(request.method, place.path, place.query, headers, bytes(body)))
    return AWSResponse(request.url, reply.status, reply.headers, _Raw(bytes(reply.body)))


def bucket(settings: S3Settings) -> Bucket:
    """Return the bucket as the driver uses it."""
    return Bucket(Connection(settings))


class _Raw(BytesIO):
    """A body of a response as botocore reads it."""

    def stream(self, *args: object, **named: object) -> Iterator[bytes]:
        """Yield everything."""
        yield self.read()


@contextmanager
def refusing(connection: Connection, status: int, code: str, message: str = "") -> Iterator[None]:
    """Let the server refuse every write with an error."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()

    def refuse(request: Any, **_: object) -> AWSResponse | None:
        if request.method in ("GET", "HEAD"):
            return None
        return AWSResponse(request.url, status, {}, _Raw(body))

    clients = (connection.reading, connection.writing)
    for one in clients:
        one.meta.events.register("before-send.s3", refuse)
    try:
        yield
    finally:
        for one in clients:
            one.meta.events.unregister("before-send.s3", refuse)
