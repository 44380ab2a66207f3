"""One line per event, whatever is in it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from io import StringIO
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.components import Componentized
from twisted.python.log import LogPublisher as LegacyPublisher
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.logs import (
    MAX_BATCH,
    PAUSE,
    AccessEntry,
    AccessLog,
    build_access_log,
    build_observer,
    describe_dropped,
    format_json,
    format_text,
    observe_application,
)

ENTRY = AccessEntry(
    client="10.0.0.1",
    method="GET",
    uri="/v2/",
    protocol="HTTP/1.1",
    status=200,
    sent=2,
    seconds=0.0123,
    agent="podman/4",
    namespace=None,
    outcome=None,
    error=None,
)


def event(text: str, **fields: Any) -> dict[str, Any]:
    """Return an event as Twisted's Logger makes it."""
    level = fields.pop("log_level", LogLevel.info)
    return {
        "log_time": 1_700_000_000.25,
        "log_level": level,
        "log_namespace": "oci_registry.x",
        "log_format": text,
        **fields,
    }


class Text(SynchronousTestCase):
    """Events as lines of text."""

    def test_line(self) -> None:
        """A line is the moment in UTC, the level and the message."""
        line = format_text(event("{a} and {b!r}", a=1, b="two", log_level=LogLevel.warn))
        self.assertEqual("2023-11-14T22:13:20.250Z warn 1 and 'two'\n", line)

    def test_control_characters(self) -> None:
        """Nothing in a message can end its line or disguise it."""
        line = format_text(event("{x}", x="a\r\n2023 info forged\x1b[2J\u2028\x00\x85"))
        self.assertEqual(
            "2023-11-14T22:13:20.250Z info a\\r\\n2023 info forged\\x1b[2J\\u2028\\x00\\x85\n", line
        )

    def test_words_of_any_language(self) -> None:
        """What can be printed is."""
        self.assertIn("größe 大小", format_text(event("größe {x}", x="大小")) or "")

    @given(st.text())
    def test_any_message_is_one_line(self, text: str) -> None:
        """Any text is one line, for everything that takes lines apart."""
        line = format_text(event("{x}", x="." + text)) or ""
        self.assertEqual(1, len(line.splitlines()))
        self.assertTrue(line.endswith("\n"))

    def test_traceback(self) -> None:
        """A failure brings its traceback."""
        line = format_text(self.failed()) or ""
        self.assertIn("error it broke\nTraceback", line)
        self.assertIn("ZeroDivisionError", line)

    def test_forged_traceback(self) -> None:
        """What an error says can neither look like a line of the log nor control a terminal."""
        forged = '2026-11-14T22:13:20.250Z info 10.0.0.1 "GET /v2/" 200'
        line = format_text(self.failed(f"x\n{forged}\x1b[2J\u2028{forged}")) or ""
        self.assertIn(f"\n  {forged}\\x1b[2J\n", line)
        for each in line.splitlines()[1:]:
            self.assertTrue(each.startswith(("  ", "Traceback")) and each.isprintable(), each)

    def failed(self, said: str = "no") -> dict[str, Any]:
        """Return the event of a failure."""
        events: list[Any] = []
        log = Logger(observer=events.append)
        try:
            raise ZeroDivisionError(said)
        except ZeroDivisionError:
            log.failure("it broke", level=LogLevel.error)
        (found,) = events
        return dict(found)

    def test_nothing_to_say(self) -> None:
        """An event without a message is no line."""
        self.assertIsNone(format_text(event("")))
        self.assertIsNone(format_json(event("")))


class Json(Text):
    """Events as JSON objects."""

    def read(self, logged: dict[str, Any]) -> dict[str, Any]:
        line = format_json(logged) or ""
        self.assertEqual(1, len(line.splitlines()))
        fields: dict[str, Any] = json.loads(line)
        return fields

    def test_line(self) -> None:
        """An object has the moment, the level, the source and the message, and plain fields."""
        self.assertEqual(
            {
                "time": "2023-11-14T22:13:20.250Z",
                "level": "warn",
                "source": "oci_registry.x",
                "message": "1 and 'two'",
                "a": 1,
                "b": "two",
            },
            self.read(event("{a} and {b!r}", a=1, b="two", c=object(), log_level=LogLevel.warn)),
        )

    def test_control_characters(self) -> None:
        """Control characters are escaped by JSON, and nothing is lost."""
        self.assertEqual("a\r\nb\x1b", self.read(event("{x}", x="a\r\nb\x1b"))["message"])

    def test_words_of_any_language(self) -> None:
        """The line is ASCII, and says the same."""
        line = format_json(event("größe")) or ""
        self.assertTrue(line.isascii())
        self.assertEqual("größe", json.loads(line)["message"])

    @given(st.text(min_size=1))
    def test_any_message_is_one_line(self, text: str) -> None:
        """Any text is one line."""
        self.assertEqual(text, self.read(event("{x}", x=text))["message"])

    def test_fields_that_are_called_like_ours(self) -> None:
        """A field of the event does not replace one of the line."""
        fields = self.read(event("{level} {source}", level="mine", source="mine"))
        self.assertEqual(("info", "oci_registry.x"), (fields["level"], fields["source"]))

    def test_traceback(self) -> None:
        """A failure's traceback is a field."""
        fields = self.read(self.failed())
        self.assertEqual(("it broke", "error"), (fields["message"], fields["level"]))
        self.assertIn("ZeroDivisionError", fields["traceback"])


class Observing(SynchronousTestCase):
    """Which events are written."""

    def levels(self, at_least: str, namespace: str) -> str:
        """Log one event of each level and return those written."""
        stream = StringIO()
        publisher = LogPublisher(build_observer(at_least, "text", stream))
        log = Logger(namespace, observer=publisher)
        for level in ("debug", "info", "warn", "error", "critical"):
            log.emit(LogLevel.lookupByName(level), f"an event of {level}")
        return " ".join(line.rpartition(" ")[2] for line in stream.getvalue().splitlines())

    def test_levels(self) -> None:
        """Events below the level are left out."""
        self.assertEqual("debug info warn error critical", self.levels("debug", "oci_registry.a"))
        self.assertEqual("info warn error critical", self.levels("info", "oci_registry.a"))
        self.assertEqual("error critical", self.levels("error", "oci_registry.a"))
        self.assertEqual("", self.levels("off", "oci_registry.a"))

    def test_plugin_cache(self) -> None:
        """That Twisted may not write its cache of plugins is nothing that an operator has to know."""
        stream = StringIO()
        observer = build_observer("debug", "text", stream)
        publish = LegacyPublisher(publishPublisher=LogPublisher(observer))
        publish.msg(format="Unable to write to plugin cache %(path)s: error number 1", path="x")
        self.assertEqual("", stream.getvalue())

    def test_dropped(self) -> None:
        """What was dropped is a line like the others."""
        line = describe_dropped("text")(12)
        self.assertRegex(line, r"^[0-9T:.-]+Z warn 12 lines of the log were dropped: .*\n$")
        fields = json.loads(describe_dropped("json")(12))
        self.assertEqual(("warn", 12), (fields["level"], fields["lines"]))

    def test_twisted(self) -> None:
        """Twisted's own chatter is left out; its warnings are not."""
        for level in ("debug", "info", "warn"):
            for namespace in ("twisted.web", "log_legacy"):
                self.assertEqual("warn error critical", self.levels(level, namespace))
        self.assertEqual("critical", self.levels("critical", "twisted.web"))

    def test_json(self) -> None:
        """The style decides how."""
        stream = StringIO()
        log = Logger("a", observer=LogPublisher(build_observer("info", "json", stream)))
        log.info("hello {name}", name="you")
        self.assertEqual("hello you", json.loads(stream.getvalue())["message"])

    def test_application(self) -> None:
        """An application is made to log through us; anything else is unchanged."""
        application: Any = Componentized()
        observe_application(application, "info", "text", StringIO())
        self.assertIsNotNone(application.getComponent(ILogObserver))
        observe_application(object(), "info", "text", StringIO())


class Broken(StringIO):
    """A stream on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Access(SynchronousTestCase):
    """The access log."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_700_000_000.25)
        self.stream = StringIO()

    def test_heard(self) -> None:
        """A listener hears of responses without a log too, until it stops listening."""
        heard: list[AccessEntry] = []
        for stream in (None, self.stream):
            log = AccessLog(stream, "text", self.clock)
            self.assertEqual(stream is not None, log.wanted)
            log.hear(heard.append)
            self.assertTrue(log.wanted)
            log.write(ENTRY)
            log.write_pieces(log.pieces(ENTRY), self.clock.seconds())
            self.assertIsNotNone(log.heard)
            log.hear(None)
            self.assertIsNone(log.heard)
            log.write(ENTRY)
        self.assertEqual([ENTRY] * 2, heard)
        self.assertEqual(3, self.stream.getvalue().count("\n"))

    def test_text(self) -> None:
        """A response is a line like the others."""
        AccessLog(self.stream, "text", self.clock).write(ENTRY)
        self.assertEqual(
            '2023-11-14T22:13:20.250Z info 10.0.0.1 "GET /v2/" 200 2 0.012 "podman/4"\n',
            self.stream.getvalue(),
        )

    def test_json(self) -> None:
        """A response is an object like the others, with a field for each value."""
        AccessLog(self.stream, "json", self.clock).write(ENTRY)
        self.assertEqual(
            {
                "time": "2023-11-14T22:13:20.250Z",
                "level": "info",
                "source": "access",
                "client": "10.0.0.1",
                "method": "GET",
                "uri": "/v2/",
                "status": 200,
                "sent": 2,
                "seconds": 0.0123,
                "agent": "podman/4",
                "namespace": None,
                "cache": None,
                "error": None,
            },
            json.loads(self.stream.getvalue()),
        )

    def test_text_of_the_cache(self) -> None:
        """The outcome of the cache and the reason of an error follow, if there are any."""
        log = AccessLog(self.stream, "text", self.clock)
        log.write(evolve(ENTRY, outcome="hit"))
        log.write(evolve(ENTRY, status=502, outcome="miss", error="UNAVAILABLE: broken"))
        start = '2023-11-14T22:13:20.250Z info 10.0.0.1 "GET /v2/"'
        self.assertEqual(
            [
                f'{start} 200 2 0.012 "podman/4" cache=hit',
                f'{start} 502 2 0.012 "podman/4" cache=miss error="UNAVAILABLE: broken"',
            ],
            self.stream.getvalue().splitlines(),
        )

    @given(st.text())
    def test_any_error(self, text: str) -> None:
        """No reason of an error can end its line or its quotes, in any form."""
        for form in ("text", "json", "combined"):
            stream = StringIO()
            AccessLog(stream, form, self.clock).write(evolve(ENTRY, error=text))
            (line,) = stream.getvalue().splitlines()
            quoted = line.partition(" error=")[2] if form != "json" else line
            found = json.loads(quoted)
            self.assertEqual(text, found["error"] if form == "json" else found)

    def test_json_of_the_cache(self) -> None:
        """Registry and cache have a field each."""
        entry = evolve(ENTRY, namespace="docker.io", outcome="joined")
        AccessLog(self.stream, "json", self.clock).write(entry)
        fields = json.loads(self.stream.getvalue())
        self.assertEqual(("docker.io", "joined"), (fields["namespace"], fields["cache"]))

    def test_combined(self) -> None:
        """The line of web servers, followed by registry, cache and seconds."""
        log = AccessLog(self.stream, "combined", self.clock)
        log.write(ENTRY)
        log.write(evolve(ENTRY, namespace="docker.io", outcome="hit"))
        start = '10.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /v2/ HTTP/1.1" 200 2 "-" "podman/4"'
        self.assertEqual(
            [f"{start} - - 0.012", f"{start} docker.io hit 0.012"],
            self.stream.getvalue().splitlines(),
        )

    def test_combined_can_be_read(self) -> None:
        """What reads the lines of web servers reads ours, and finds the same in them."""
        line = re.compile(
            r'(\S+) (\S+) (\S+) \[([^]]+)\] "(\S+) (\S+) (\S+)" (\d{3}) (\d+) "([^"]*)" "([^"]*)"'
            r" (\S+) (\S+) ([0-9.]+)"
        )
        AccessLog(self.stream, "combined", self.clock).write(ENTRY)
        found = line.fullmatch(self.stream.getvalue().rstrip("\n"))
        assert found is not None
        moment = datetime.strptime(found[4], "%d/%b/%Y:%H:%M:%S %z")
        self.assertEqual(1_700_000_000, moment.timestamp())
        self.assertEqual(("GET", "/v2/", "200", "2"), found.group(5, 6, 8, 9))

    def test_odd_address(self) -> None:
        """An address that a proxy has told cannot end a line, whatever it is."""
        entry = evolve(ENTRY, client="1\n2\x1b")
        for form in ("text", "combined", "json"):
            AccessLog(self.stream, form, self.clock).write(entry)
        self.assertEqual(3, len(self.stream.getvalue().splitlines()))
        self.assertNotIn("\x1b", self.stream.getvalue())

    def test_moments(self) -> None:
        """Each line has its own moment."""
        log = AccessLog(self.stream, "text", self.clock)
        for _ in range(3):
            log.write(ENTRY)
            self.clock.advance(0.5)
        moments = [line[17:24] for line in self.stream.getvalue().splitlines()]
        self.assertEqual(["20.250Z", "20.750Z", "21.250Z"], moments)

    def test_batches(self) -> None:
        """Lines are written together after a moment, or when there are many; each has its own moment."""
        log = build_access_log("text", self.stream, self.clock)
        log.write(ENTRY)
        self.clock.advance(PAUSE / 2)
        log.write(ENTRY)
        self.assertEqual("", self.stream.getvalue())
        self.clock.advance(PAUSE / 2)
        moments = [line[17:24] for line in self.stream.getvalue().splitlines()]
        self.assertEqual(["20.250Z", "20.275Z"], moments)
        self.assertEqual([], self.clock.getDelayedCalls())
        while len(self.stream.getvalue()) < MAX_BATCH:
            log.write(ENTRY)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stop(self) -> None:
        """Lines that wait are written at the end, and those that come later at once."""
        log = build_access_log("json", self.stream, self.clock)
        log.write(ENTRY)
        log.stop()
        log.write(ENTRY)
        self.assertEqual(2, len(self.stream.getvalue().splitlines()))
        self.assertEqual([], self.clock.getDelayedCalls())
        build_access_log("off", self.stream, self.clock).stop()

    def test_form(self) -> None:
        """Each form is written, and off is nothing."""
        for form, start in (("text", "2023"), ("json", "{"), ("combined", "10.0.0.1 - ")):
            stream = StringIO()
            log = build_access_log(form, stream, self.clock)
            log.write(ENTRY)
            log.stop()
            self.assertTrue(log.wanted)
            self.assertTrue(stream.getvalue().startswith(start), stream.getvalue())
        log = build_access_log("off", self.stream, self.clock)
        log.write(ENTRY)
        self.assertEqual((False, ""), (log.wanted, self.stream.getvalue()))

    def test_stream_that_fails(self) -> None:
        """A log that cannot be written is no reason that a response fails."""
        AccessLog(Broken(), "text", self.clock).write(ENTRY)
        self.stream.close()
        AccessLog(self.stream, "text", self.clock).write(ENTRY)
