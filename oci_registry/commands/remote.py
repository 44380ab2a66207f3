"""A running daemon as commands reach it: HTTP over its socket or a port, without a reactor."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlencode

from attrs import field, frozen

from oci_registry.commands.problems import CommandFailed
from oci_registry.management.answers import (
    DiskUse,
    ImageDetails,
    ImagePage,
    PinChange,
    PinList,
    Refreshed,
    Removal,
    Why,
)
from oci_registry.management.as_json import Answer
from oci_registry.management.problems import (
    InUse,
    InvalidName,
    IsPinned,
    ManagementProblem,
    NotReady,
    NotStored,
)
from oci_registry.management.source import Wanted
from oci_registry.management.subjects import Subject
from oci_registry.spec.digest import Digest
from oci_registry.spec.texts import cut, one_line

T = TypeVar("T", bound=Answer)

PREFIX = "/api/v1"
CONNECTING = 5.0
"""Seconds to wait for a connection to a daemon."""
PATIENCE = 300.0
"""Seconds to wait for its answer: a change may take a while."""
SILENCE = 60.0
"""Seconds to wait for data of a stream: a daemon sends a comment every 15 seconds."""
LARGEST = 64 * 1024 * 1024
"""The maximum size of an answer in bytes."""
_LONGEST = 500
_PROBLEMS: Mapping[str, type[ManagementProblem]] = {
    each.code: each for each in (NotStored, InvalidName, InUse, IsPinned, NotReady)
}
_FAILURES = ("BUSY", "FAILED", "INVALID_REQUEST")
"""Error codes of a single request, after which others may succeed."""
_REFUSED = ("MANIFEST_UNKNOWN", "NOT_POSSIBLE")
"""Error codes whose message from the daemon has the reason."""
Query = Sequence[tuple[str, str]]


class _UnixConnection(http.client.HTTPConnection):
    """A connection to a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECTING)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self._path)
        except BaseException:
            connection.close()
            raise
        self.sock = connection


@frozen
class AdminClient:
    """Sends requests to the admin API of a daemon, each on a connection of its own.

    *place*: the path of a socket, or host and port. *name*: its name in messages. *prefix*: a path
    before that of the API. *silence*: seconds without data after which a stream has failed.
    """

    name: str
    place: str | tuple[str, int]
    tls: bool = False
    prefix: str = ""
    token: str | None = field(default=None, repr=False)
    silence: float = SILENCE

    def get(self, path: str, query: Query = ()) -> Any:
        """Return the JSON at a path of the API."""
        return self.call("GET", path, query)

    def read(
        self, kind: type[T], method: str, path: str, query: Query = (), body: object = None
    ) -> T:
        """Send a request and return its answer; raise as `call` does."""
        document = self.call(method, path, query, body)
        try:
            return kind.from_json(document)
        except ValueError as error:
            raise CommandFailed(
                f"the daemon at {self.name} is of another version: {error}"
            ) from None

    def call(self, method: str, path: str, query: Query = (), body: object = None) -> Any:
        """Send a request and return the JSON of its answer; raise a `ManagementProblem` or `CommandFailed`."""
        connection, response = self._send(method, path, query, body)
        try:
            text = response.read(LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()
        document = self._document(text)
        if response.status >= 300:
            raise self._problem(response.status, document)
        return document

    def events(self, path: str, query: Query = ()) -> Iterator[Mapping[str, Any]]:
        """Yield the events of a stream until it ends; raise `CommandFailed` if it is silent for too long."""
        connection, response = self._send("GET", path, query, None, self.silence)
        try:
            if response.status != 200:
                raise self._problem(response.status, self._document(response.read(LARGEST)))
            while line := response.readline(LARGEST):
                if line.startswith(b"data: "):
                    event = self._document(line[6:])
                    if isinstance(event, dict):
                        yield event
        except TimeoutError:
            raise CommandFailed(
                f"the daemon at {self.name} has sent nothing for {self.silence:g} seconds"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            response.close()
            connection.close()

    def _send(
        self, method: str, path: str, query: Query, body: object, waits: float = PATIENCE
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        target = self.prefix + PREFIX + path + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "*/*"}
        raw = None
        if body is not None:
            raw = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection = self._connection()
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(waits)
            connection.request(method, target, raw, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error) from None

    def _connection(self) -> http.client.HTTPConnection:
        if isinstance(self.place, str):
            return _UnixConnection(self.place)
        host, port = self.place
        if self.tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=CONNECTING, context=context)
        return http.client.HTTPConnection(host, port, timeout=CONNECTING)

    def _lost(self, error: Exception) -> CommandFailed:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return CommandFailed(f"the daemon at {self.name} did not answer: {one_line(reason)}")

    def _document(self, text: bytes) -> Any:
        if len(text) > LARGEST:
            raise CommandFailed(f"the answer of {self.name} is too large")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise CommandFailed(f"{self.name} is not the admin API of an oci-registry") from None

    def _problem(self, status: int, document: Any) -> Exception:
        try:
            first = document["errors"][0]
            code, message = str(first["code"]), one_line(cut(str(first["message"]), _LONGEST))
        except (KeyError, IndexError, TypeError):
            return CommandFailed(f"{self.name} answered with status {status}")
        if status == 401:
            return CommandFailed(f"{self.name}: {message} (--admin-token-file)")
        # If a path is missing, the daemon has another version.
        if code in _PROBLEMS and not message.startswith("there is nothing at"):
            return _PROBLEMS[code](message)
        if code in _REFUSED:
            return CommandFailed(message)
        if code in _FAILURES:
            return ManagementProblem(f"{self.name}: {message}")
        return CommandFailed(f"{self.name}: {message}")


class RemoteSource:
    """A `Source` that asks a running daemon. Its coroutines never wait: each call blocks until it is done."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    async def list(self, wanted: Wanted) -> ImagePage:
        """Return a page of images."""
        query = [("pattern", pattern) for pattern in wanted.patterns]
        if wanted.registry is not None:
            query.append(("registry", wanted.registry))
        query += [("order", wanted.order.value), ("limit", str(wanted.limit))]
        if wanted.reverse:
            query.append(("reverse", "true"))
        if wanted.after is not None:
            query.append(("after", wanted.after))
        return self._client.read(ImagePage, "GET", "/images", query)

    async def show(self, image: Subject) -> ImageDetails:
        """Return everything that is stored of an image; raise `NotStored`."""
        return self._client.read(ImageDetails, "GET", "/image", _of(image))

    async def du(self) -> DiskUse:
        """Return how much is stored, by registry and repository."""
        return self._client.read(DiskUse, "GET", "/usage")

    async def why(self, image: Subject) -> Why:
        """Return why an image is kept; one that is not stored has no image in the answer."""
        return self._client.read(Why, "GET", "/why", _of(image))

    async def remove(self, image: Subject, *, blobs: bool = False) -> Removal:
        """Remove a tag; or a manifest by its digest, with the tags that name it."""
        query = [*_of(image), ("blobs", "true" if blobs else "false")]
        return self._client.read(Removal, "DELETE", "/image", query)

    async def remove_blob(self, digest: Digest) -> Removal:
        """Remove a blob, even if images need it: it is downloaded again. Raises `NotStored`, `InUse`."""
        query = [("digest", str(digest))]
        return self._client.read(Removal, "DELETE", "/blob", query)

    async def refresh(self, image: Subject) -> Refreshed:
        """Make the next pull of a tag ask the registry first; raise `NotStored`."""
        body = {"image": str(image)}
        return self._client.read(Refreshed, "POST", "/refresh", body=body)

    async def pins(self) -> PinList:
        """Return the images that are pinned."""
        return self._client.read(PinList, "GET", "/pins")

    async def pin(self, image: Subject) -> PinChange:
        """Never evict an image, whether it is stored or not."""
        body = {"image": str(image)}
        return self._client.read(PinChange, "POST", "/pins", body=body)

    async def unpin(self, image: Subject) -> PinChange:
        """Remove the pin of an image."""
        return self._client.read(PinChange, "DELETE", "/pins", _of(image))


def _of(image: Subject) -> Query:
    return [("image", str(image))]
