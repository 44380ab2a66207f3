"""Requests to a running daemon through its port for clients."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from attrs import frozen

from oci_registry import __version__
from oci_registry.commands.problems import CommandFailed, UsageProblem
from oci_registry.spec.image import ImageName
from oci_registry.spec.texts import cut, one_line

TIMEOUT = 120.0
"""Seconds to wait for an answer: a registry may be slow to send the first byte of a layer."""
ATTEMPTS = 2
"""Attempts to send a request: a connection that was kept open may have been closed meanwhile."""
_LONGEST_MESSAGE = 300
_LONGEST_ERROR = 64 * 1024


@frozen
class Answer:
    """An answer: *body* is the part that was read; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def outcome(self) -> str:
        """The outcome in the mirror: ``Cache-Status`` without the name of the cache."""
        return self.headers.get("cache-status", "").partition(";")[2].strip()

    @property
    def error(self) -> str | None:
        """The code of a registry's error; None if it is not such an error."""
        return self._of_error("code")

    @property
    def reason(self) -> str:
        """The message of an error."""
        message = self._of_error("message")
        if message is None:
            return f"the mirror answers {self.status}"
        return one_line(cut(message, _LONGEST_MESSAGE))

    def _of_error(self, key: str) -> str | None:
        if self.status < 400:
            return None
        try:
            value = json.loads(self.body)["errors"][0][key]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        return value if isinstance(value, str) else None


class NoAnswer(Exception):
    """The mirror did not answer; the message says why."""


class Mirror:
    """A daemon at *url*, with one connection for each thread that sends requests.

    *context*: how its certificate is checked, for https. Proxies of the environment are not used.
    """

    def __init__(
        self, url: str, context: ssl.SSLContext | None = None, timeout: float = TIMEOUT
    ) -> None:
        parts = urlsplit(url)
        self.url = url.rstrip("/")
        self._tls = parts.scheme == "https"
        try:
            self._address = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageProblem(f"--url: {error}") from None
        if parts.scheme not in ("http", "https") or not self._address[0] or parts.query:
            raise UsageProblem("--url must be like http://mirror.example:8080")
        if parts.username is not None:
            raise UsageProblem("--url must not have a user name: the mirror knows no users")
        self._path = parts.path.rstrip("/")
        self._context = context
        self._timeout = timeout
        self._own = threading.local()

    def check(self) -> None:
        """Raise `CommandFailed` unless this is a registry."""
        try:
            status = self.ask("/v2/", {}, 1000).status
        except NoAnswer as error:
            raise CommandFailed(str(error)) from None
        if status != 200:
            raise CommandFailed(f"{self.url}/v2/ answers {status}: this is not a mirror")

    def get(self, image: ImageName, what: str, headers: Mapping[str, str], limit: int) -> Answer:
        """Send a GET below the repository of an image; raise `NoAnswer`."""
        query = urlencode({"ns": image.registry})
        return self.ask(f"/v2/{image.repository}/{what}?{query}", headers, limit)

    def ask(self, path: str, headers: Mapping[str, str], limit: int) -> Answer:
        """Send a GET and return the answer; at most *limit* bytes of the body are read."""
        for attempt in range(ATTEMPTS):
            fresh = getattr(self._own, "connection", None) is None
            try:
                return self._ask(path, headers, limit)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if fresh or attempt + 1 == ATTEMPTS:
                    raise NoAnswer(f"{self.url}: {self._why(error)}") from None
        raise AssertionError("not reached")

    def _ask(self, path: str, headers: Mapping[str, str], limit: int) -> Answer:
        connection = self._connection()
        agent = {"User-Agent": f"oci-registry/{__version__}"}
        connection.request("GET", f"{self._path}{path}", headers={**agent, **headers})
        response = connection.getresponse()
        body = response.read(limit if response.status < 300 else _LONGEST_ERROR)
        if not response.isclosed():
            # There is more than needed; the mirror continues a download in any case.
            self._drop()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, body)

    def _connection(self) -> http.client.HTTPConnection:
        known: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if known is not None:
            return known
        host, port = self._address
        made: http.client.HTTPConnection
        if self._tls:
            context = self._context or ssl.create_default_context()
            made = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._timeout)
        self._own.connection = made
        return made

    def _drop(self) -> None:
        connection = getattr(self._own, "connection", None)
        self._own.connection = None
        if connection is not None:
            connection.close()

    def _why(self, error: Exception) -> str:
        match error:
            case ssl.SSLCertVerificationError():
                return (
                    f"its certificate is not trusted here: {error.verify_message} (set --ca-file)"
                )
            case ConnectionRefusedError():
                return "connection refused: is the daemon running, and does it --listen there?"
            case socket.gaierror():
                return "its name cannot be resolved"
            case TimeoutError():
                return f"no answer within {self._timeout:g} s"
            case http.client.HTTPException() | ConnectionError() | ssl.SSLError():
                return "no HTTP answer: is it http or https?"
            case OSError(strerror=str(text)):
                return text
        return type(error).__name__
