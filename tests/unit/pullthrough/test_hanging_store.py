"""Manifests and tags above a store whose writes never end, or fail: nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from oci_registry.spec.errors import BadGateway, Denied, ManifestUnknown
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import history_key, manifest_key, tag_key
from oci_registry.storage.tags import REWRITTEN
from tests.unit.pullthrough.manifest_case import HOUR, LATEST, ManifestTestCase, raw

MANIFEST = "manifest"
TAG = "tag"


class WritingTestCase(ManifestTestCase):
    """A store whose writes are seen, and can be made to hang."""

    def setUp(self) -> None:
        super().setUp()
        self.hanging = False
        self.written: list[str] = []
        self.gates: list[Deferred[None]] = []
        for name in ("put", "delete"):
            self.patch(self.driver, name, self.watched(name, getattr(self.driver, name)))

    def watched(self, name: str, call: Callable[..., Deferred[Any]]) -> Any:
        def watched(key: str, *data: bytes) -> Deferred[Any]:
            kind = TAG if "_tags" in key else MANIFEST
            self.written.append(f"{name} {kind}")
            if not self.hanging:
                return call(key, *data)
            gate: Deferred[None] = Deferred()
            self.gates.append(gate)
            return gate.addCallback(lambda _: call(key, *data))

        return watched

    def release(self) -> None:
        """The store works again; what hangs is written."""
        self.hanging = False
        gates, self.gates = self.gates, []
        for gate in gates:
            gate.callback(None)


class Hanging(WritingTestCase):
    """Writes never end."""

    def setUp(self) -> None:
        super().setUp()
        self.get(Tag("latest"))
        self.hanging = True
        self.written.clear()
        self.asked()

    def test_new(self) -> None:
        """A new manifest is served at once, by tag and by digest, and to the next from memory."""
        two, three = self.upstream.add(raw("two"), "2"), self.upstream.add(raw("three"))
        for reference, manifest in ((Tag("2"), two), (three.digest, three)):
            self.assertFalse(self.get(reference).cached)
            for again in (reference, manifest.digest):
                served = self.get(again)
                self.assertEqual((manifest, True), (served.manifest, served.cached))
        self.assertEqual(["GET", "GET"], self.asked())

    def test_manifest_before_tag(self) -> None:
        """The record of a tag is not written before that of its manifest."""
        self.upstream.add(raw("two"), "2")
        self.get(Tag("2"))
        self.assertEqual(["put manifest"], self.written)
        self.release()
        self.assertEqual(["put manifest", "put tag"], self.written)

    def test_confirmed(self) -> None:
        """A tag that is confirmed, or that has changed, is served at once, and fresh from then on."""
        for name in ("one", "two"):
            self.upstream.add(raw(name), "latest")
            self.clock.advance(HOUR)
            self.assertEqual(raw(name), self.get().manifest.raw)
            self.asked()
            self.assertTrue(self.get().cached)
            self.assertEqual([], self.asked())

    def test_gone(self) -> None:
        """A tag that is gone is a 404 at once, and is gone though its record is still there."""
        del self.upstream.manifests["latest"]
        self.clock.advance(HOUR)
        self.refused(ManifestUnknown)
        self.assertIn(tag_key("example.com", "library/app", "latest"), self.stored())
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)
        self.release()
        self.assertNotIn(tag_key("example.com", "library/app", "latest"), self.stored())

    def test_gone_and_there_again(self) -> None:
        """A tag that comes again before its record is removed is stored in the end."""
        self.clock.advance(HOUR)
        self.get()
        del self.upstream.manifests["latest"]
        self.clock.advance(HOUR)
        self.refused(ManifestUnknown)
        self.upstream.add(raw("one"), "latest")
        self.get()
        self.release()
        self.restart()
        self.assertTrue(self.get().cached)

    def test_denied(self) -> None:
        """A tag that is denied is refused at once."""
        self.upstream.error = Denied("no")
        self.clock.advance(HOUR)
        self.refused(Denied)

    def test_stop(self) -> None:
        """The end of the daemon waits for what is written, but not for ever."""
        self.get(self.upstream.add(raw("two")).digest)
        self.successResultOf(self.start(self.manifests.stop()))
        stopped = self.start(self.writer.stop())
        self.assertNoResult(stopped)
        self.clock.advance(10)
        self.successResultOf(stopped)

    def test_written_later(self) -> None:
        """When the store works again, everything is there."""
        two = self.upstream.add(raw("two"), "2")
        self.get(Tag("2"))
        self.release()
        self.restart()
        self.asked()
        self.assertEqual(two, self.get(Tag("2")).manifest)
        self.assertIn(manifest_key("example.com", two.digest), self.stored())
        self.assertEqual([], self.asked())


class Failing(WritingTestCase):
    """Writes fail."""

    def test_logged_once(self) -> None:
        """Pulls are answered, each failure counts at once, and one line is logged."""
        lines: list[str] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_namespace", "").startswith("oci_registry"):
                lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.now(self.tag_store.get("example.com", "library/app", "latest"))
        self.driver.broken = "disk on fire"
        for reference in (self.one.digest, LATEST):
            self.get(reference)
            self.assertTrue(self.get(reference).cached)
        written = [line for line in lines if "written" in line]
        self.assertEqual(
            ["the store cannot be written, pulls go on uncached: disk on fire"], written
        )
        self.assertGreaterEqual(self.counted("oci_registry_errors_total", kind="store"), 2)

    def test_written_when_it_works_again(self) -> None:
        """A confirmation writes the record that could not be written."""
        self.driver.broken = "disk on fire"
        self.get()
        self.driver.broken = None
        self.clock.advance(HOUR)
        self.get()
        self.assertIn(tag_key("example.com", "library/app", "latest"), self.stored())


class Confirmed(WritingTestCase):
    """What confirmations of tags cost."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream.change(manifest_invalidation_time=0.0)
        self.get()
        self.written.clear()
        self.asked()

    def test_seldom_written(self) -> None:
        """A hundred confirmations within some minutes write nothing; then one does."""
        for _ in range(100):
            self.clock.advance(REWRITTEN / 101)
            self.get()
        self.assertEqual((["HEAD"] * 100, []), (self.asked(), self.written))
        self.clock.advance(REWRITTEN / 100)
        self.get()
        self.assertEqual(["put tag"], self.written)

    def test_hanging(self) -> None:
        """A hundred while the store hangs write two records: the one that hangs, and the last."""
        self.hanging = True
        for _ in range(100):
            self.clock.advance(REWRITTEN)
            self.get()
        self.release()
        self.assertEqual(["put tag", "put tag"], self.written)
        self.restart()
        record = self.now(self.tag_store.get("example.com", "library/app", "latest"))
        assert record is not None
        self.assertEqual(self.clock.seconds(), record.checked)

    def test_changed(self) -> None:
        """A change is written at once, and then added to the history of the tag."""
        self.upstream.add(raw("two"), "latest")
        self.get()
        self.assertEqual(["put manifest", "put tag", "put tag"], self.written)
        self.assertIn(history_key("example.com", "library/app", "latest"), self.stored())

    def test_restart(self) -> None:
        """After a restart a tag is asked earlier than it would have been, never later."""
        self.clock.advance(REWRITTEN - 1)
        self.get()
        self.restart()
        self.upstream.change(manifest_invalidation_time=HOUR)
        self.asked()
        self.clock.advance(HOUR - REWRITTEN)
        self.get()
        self.assertEqual([], self.asked())
        self.clock.advance(1)
        self.get()
        self.assertEqual(["HEAD"], self.asked())
