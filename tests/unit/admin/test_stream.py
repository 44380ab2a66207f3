"""Events as server-sent events."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred

from oci_registry.admin.gate import TokenGate
from oci_registry.admin.routes import Served
from oci_registry.admin.stream import (
    MEDIA_TYPE,
    EventSource,
    EventStreams,
    ReadsTooSlowly,
    StreamLimits,
)
from oci_registry.admin.table import events_query
from oci_registry.admin.token import AdminToken
from oci_registry.events import EventLog
from oci_registry.web.client_watch import ClientWatch
from tests.unit.admin.support import ApiTestCase
from tests.unit.web.support import Connection


class Streams(ApiTestCase):
    """The route of events, on a clock."""

    def setUp(self) -> None:
        super().setUp()
        self.events = EventLog(self.clock)
        limits = StreamLimits(most=2, waiting=2000)
        self.streams = EventStreams(self.events, ClientWatch(self.clock), self.clock, limits)
        self.route = Served(
            "/events", "events", "D", "Events", MEDIA_TYPE, self.streams.serve, events_query()
        )
        self.serve_routes([self.route])

    def got(self, connection: Connection) -> list[dict[str, Any]]:
        lines = connection.got.decode().splitlines()
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    def test_new_ones(self) -> None:
        """A client gets what happens from then on, of the kinds that it wants, each with its id."""
        self.events.record("sweep", phase="begun")
        connection = self.ask("/api/v1/events?kind=sweep&kind=error")
        self.assertIn(b"Content-Type: text/event-stream", connection.got)
        self.events.record("sweep", phase="ended", error=None)
        self.events.record("pull")
        (event,) = self.got(connection)
        self.assertEqual((2, "sweep", {"phase": "ended", "error": None}),
                         (event["id"], event["kind"], event["fields"]))  # fmt: skip
        self.assertRegex(connection.got.decode(), r"id: [0-9a-f]+-2\r?\nevent: sweep\r?\n")

    def test_recent_ones(self) -> None:
        """A new client may ask for the latest events first."""
        for _ in range(5):
            self.events.record("sweep")
        self.assertEqual([4, 5], [e["id"] for e in self.got(self.ask("/api/v1/events?recent=2"))])

    def test_again(self) -> None:
        """A client that reconnects gets what it has missed, or everything from another daemon."""
        first = self.ask("/api/v1/events")
        for _ in range(3):
            self.events.record("sweep")
        name = first.got.decode().partition("id: ")[2].partition("-")[0]
        first.leave()
        for last, expected in ((f"{name}-1", [2, 3]), ("other-3", [1, 2, 3]), ("x", [])):
            connection = self.ask("/api/v1/events", Last_Event_ID=last)
            self.assertEqual(expected, [e["id"] for e in self.got(connection)], last)
            connection.leave()

    def test_silence(self) -> None:
        """While nothing happens a comment is sent now and then, so that nobody gives up."""
        connection = self.ask("/api/v1/events")
        before = len(connection.got)
        self.clock.advance(16)
        self.assertIn(b"\n:\n", connection.got[before - 1 :].replace(b"\r", b""))

    def test_slow_reader(self) -> None:
        """A client that does not read is cut off when too much waits for it; others continue."""
        slow, other = self.ask("/api/v1/events"), self.ask("/api/v1/events")
        slow.channel.pauseProducing()
        slow.transport.producer.pauseProducing()
        for _ in range(100):
            self.events.record("sweep")
        slow.transport.producer.resumeProducing()
        self.assertTrue(slow.transport.closed)
        self.assertFalse(other.transport.closed)
        self.assertEqual(100, len(self.got(other)))
        slow.leave()
        self.assertEqual(1, len(self.streams))

    def test_leaving(self) -> None:
        """When a client leaves nothing is kept for it."""
        connection = self.ask("/api/v1/events")
        self.assertEqual(1, len(self.streams))
        connection.leave()
        self.assertEqual(0, len(self.streams))
        self.events.record("sweep")

    def test_many(self) -> None:
        """There are only so many streams at once."""
        for _ in range(2):
            self.ask("/api/v1/events")
        answer = self.call("GET", "/api/v1/events")
        self.assertEqual((503, "BUSY"), self.failure(answer)[:2])

    def test_stop(self) -> None:
        """When the daemon stops, streams end in order, and there are no further ones."""
        connection = self.ask("/api/v1/events")
        self.streams.stop()
        self.assertTrue(connection.got.endswith(b"0\r\n\r\n"))
        self.assertEqual(503, self.call("GET", "/api/v1/events").status)

    def test_another_token(self) -> None:
        """A stream that was opened with a token ends when that is no longer accepted, and gets nothing more."""
        token = AdminToken("a")
        self.serve_routes([self.route], TokenGate(token))
        old, new = (
            self.ask("/api/v1/events", Authorization=f"Bearer {each}") for each in ("a", "a")
        )
        self.streams.check()
        self.assertEqual(2, len(self.streams))
        new.leave()
        token.replace("b")
        new = self.ask("/api/v1/events", Authorization="Bearer b")
        self.streams.check()
        self.events.record("sweep")
        self.assertTrue(old.got.endswith(b"0\r\n\r\n"))
        self.assertEqual(([], 1), (self.got(old), len(self.got(new))))
        new.leave()

    def test_head(self) -> None:
        """A HEAD gets the headers, and follows nothing."""
        connection = self.ask("/api/v1/events", "HEAD")
        self.assertIn(b"text/event-stream", connection.got)
        self.assertEqual(0, len(self.streams))


class Source(ApiTestCase):
    """The bytes for one reader."""

    def setUp(self) -> None:
        super().setUp()
        self.source = EventSource(self.clock, StreamLimits(waiting=100))

    def test_limit(self) -> None:
        """No read returns more than was asked for, and nothing is lost or repeated."""
        for text in (b"a" * 40, b"b" * 40):
            self.source.push(text)
        got, pieces = b"", []
        while len(got) < 80:
            pieces.append(self.source.read(30))
            assert isinstance(pieces[-1], bytes)
            got += pieces[-1]
        self.assertEqual(b"a" * 40 + b"b" * 40, got)
        self.assertTrue(all(len(piece) <= 30 for piece in pieces))

    def test_too_much(self) -> None:
        """Beyond the limit everything that waits is dropped, and reading fails."""
        self.source.push(b"x" * 60)
        self.source.push(b"x" * 60)
        self.assertRaises(ReadsTooSlowly, self.source.read, 10)

    def test_closed(self) -> None:
        """A closed source waits for nothing."""
        waiting = self.source.read(10)
        assert isinstance(waiting, Deferred)
        self.source.close()
        self.source.close()
        self.source.push(b"x")
        self.assertNoResult(waiting)
