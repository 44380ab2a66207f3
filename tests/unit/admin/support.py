"""The admin API without a network: routes of the test, on a site in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger

from oci_registry.admin.api import Api, ApiLimits, ApiParts
from oci_registry.admin.gate import Gate, LocalGate
from oci_registry.admin.routes import AnyRoute, RouteTable
from oci_registry.admin.site import AdminSite
from oci_registry.management.as_json import Answer as Json
from oci_registry.metrics import Metrics
from oci_registry.repeats import RepeatLog
from oci_registry.web.client_watch import ClientWatch
from tests.unit.web.support import Answer, Connection, WebTestCase


@frozen
class Said(Json):
    """What a handler was given, for the test."""

    values: str


class ApiTestCase(WebTestCase):
    """A site of the API; `call` sends a request with a JSON body."""

    in_threads = 0
    changes = 0

    def serve_routes(
        self, routes: Sequence[AnyRoute], gate: Gate | None = None, **limits: Any
    ) -> None:
        self.metrics = Metrics()
        watch = ClientWatch(self.clock)
        parts = ApiParts(
            watch,
            self.clock,
            self.metrics,
            ApiLimits(**limits),
            self.run_in_thread,
            self.count_change,
        )
        api = Api(RouteTable(routes), gate or LocalGate(), parts)
        self.site = AdminSite(api, self.clock, self.log, RepeatLog(Logger(), Clock()))

    def run_in_thread(self, call: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Call it at once, as a thread would some time."""
        self.in_threads += 1
        return succeed(call(*args))

    def count_change(self) -> None:
        self.changes += 1

    def send(self, method: str, path: str, body: bytes, media_type: str) -> Connection:
        connection = self.connect()
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: mirror",
            f"Content-Type: {media_type}",
            f"Content-Length: {len(body)}",
        ]
        connection.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return connection

    def call(self, method: str, path: str, body: object = None) -> Answer:
        if body is None:
            return self.ask(path, method).answer(method)
        raw = json.dumps(body).encode()
        return self.send(method, path, raw, "application/json").answer(method)

    def failure(self, answer: Answer) -> tuple[int, str, str]:
        """Return status, code and message of an error."""
        (error,) = json.loads(answer.body)["errors"]
        return answer.status, error["code"], error["message"]
