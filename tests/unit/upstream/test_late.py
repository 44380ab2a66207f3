"""Upstreams that are made when they are first asked."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import UpstreamSettings
from oci_registry.metrics import Metrics
from oci_registry.spec.reference import Tag
from oci_registry.upstream.interfaces import BUSY, FREE
from oci_registry.upstream.late import LateConnector, LateUpstream, import_connector
from tests.support.fake_upstream import FakeCatchAll, FakeUpstream
from tests.support.settings import upstream_settings

A = upstream_settings("a.example", "a.example", manifest_invalidation_time=5.0)
SIGNED = upstream_settings("b.example", "b.example", ca_file="/ca.pem")
OTHER = upstream_settings("c.example", "c.example", ca_file="/ca.pem")
ALL = upstream_settings("*", "mirror.example")


class FakeConnector:
    """Makes fakes, as the metrics of their hosts show."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.made: list[FakeUpstream] = []
        self.shared: list[FakeCatchAll] = []
        self.broken = False

    def connect(self, settings: UpstreamSettings) -> FakeUpstream:
        if self.broken:
            raise ValueError("ca.pem holds no certificate")
        self.metrics.host(settings.namespace, settings.hosts[0].name).available(False)
        self.made.append(FakeUpstream(settings))
        self.made[-1].add(b'{"schemaVersion": 2}', "1")
        return self.made[-1]

    def share(self, settings: UpstreamSettings) -> FakeCatchAll:
        self.shared.append(FakeCatchAll(self.connect, settings))
        return self.shared[-1]


class Late(SynchronousTestCase):
    """A connector that is made late, and its upstreams."""

    def setUp(self) -> None:
        self.metrics = Metrics(["a.example", "b.example", "c.example", "*"])
        self.connector = FakeConnector(self.metrics)
        self.importing: list[Deferred[None]] = []
        self.calls: list[Any] = []
        self.late = LateConnector(lambda: self.connector, self.in_thread, self.metrics)

    def in_thread(self, call: Any, *arguments: object) -> Deferred[Any]:
        self.calls.append(call)
        self.importing.append(Deferred())
        return self.importing[-1]

    def available(self, namespace: str, host: str) -> float | None:
        labels = {"namespace": namespace, "host": host}
        return self.metrics.registry.get_sample_value("oci_registry_upstream_available", labels)

    def ask(self, upstream: LateUpstream) -> Deferred[Any]:
        return Deferred.fromCoroutine(upstream.manifest("r", Tag("1")))

    def test_first(self) -> None:
        """The first that is asked waits for a thread that imports all; it is made once."""
        upstream = self.late.connect(A)
        self.assertEqual(([], []), (self.calls, self.connector.made))
        self.assertEqual(1, self.available("a.example", "a.example"))
        first, second = self.ask(upstream), self.ask(upstream)
        self.assertEqual([import_connector] * 2, self.calls)
        self.assertNoResult(first)
        for importing in self.importing:
            importing.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(1, len(self.connector.made))
        self.assertEqual(0, self.available("a.example", "a.example"))
        self.successResultOf(self.ask(self.late.connect(A)))
        self.assertEqual(2, len(self.calls))

    def test_no_thread(self) -> None:
        """If no thread can be started, it is made nevertheless."""
        asked = self.ask(self.late.connect(A))
        self.importing[0].errback(RuntimeError("can't start new thread"))
        self.successResultOf(asked)
        self.assertEqual(1, len(self.connector.made))

    def test_settings(self) -> None:
        """What a hit needs to know is known before."""
        upstream = self.late.connect(A)
        self.assertEqual((5.0, A.namespace), (upstream.max_age, upstream.namespace))
        self.assertIs(A, upstream.settings)

    def test_spare(self) -> None:
        """The first request that no client waits for makes it; until then there is one at a time."""
        upstream = self.late.connect(A)
        self.assertIs(FREE, upstream.spare("app", blob=False))
        self.assertIs(BUSY, upstream.spare("app", blob=False, under_way=1))
        self.ask(upstream)
        self.importing[0].callback(None)
        self.assertIs(FREE, upstream.spare("app", blob=False, under_way=1))

    def test_files(self) -> None:
        """What has files of certificates is made at once, because they may be unusable."""
        self.late.connect(SIGNED)
        self.assertEqual(1, len(self.connector.made))
        self.connector.broken = True
        self.assertRaises(ValueError, self.late.connect, OTHER)
        self.assertIsNone(self.available("c.example", "c.example"))

    def test_closed(self) -> None:
        """One that was never asked is only exported no more; one that was is closed."""
        unused, used = self.late.connect(A), self.late.connect(SIGNED)
        self.successResultOf(unused.close())
        self.assertIsNone(self.available("a.example", "a.example"))
        self.successResultOf(used.close())
        self.assertTrue(self.connector.made[0].closed)

    def test_asked_when_closed(self) -> None:
        """What a request asks that began before is made and answers, and keeps no connection."""
        upstream = self.late.connect(A)
        asked = self.ask(upstream)
        upstream.close()
        self.importing[0].callback(None)
        self.successResultOf(asked)
        self.assertTrue(self.connector.made[0].closed)

    def test_catch_all(self) -> None:
        """All registries without an entry share what is made when one of them is first asked."""
        catch_all = self.late.share(ALL)
        self.assertEqual(1, self.available("*", "mirror.example"))
        one, other = catch_all.connect("c.example"), catch_all.connect("d.example")
        self.assertEqual([], self.connector.shared)
        for upstream in (one, other):
            asked = self.ask(upstream)
            for importing in self.importing:
                if not importing.called:
                    importing.callback(None)
            self.successResultOf(asked)
        self.assertEqual(1, len(self.connector.shared))
        self.successResultOf(catch_all.close())
        self.assertTrue(self.connector.shared[0].closed)

    def test_imported(self) -> None:
        """What a thread imports is all that is needed to make the first."""
        name = "oci_registry.upstream.connecting"
        before = sys.modules.pop(name, None)
        if before is not None:
            self.addCleanup(sys.modules.__setitem__, name, before)
        import_connector()
        self.assertIn(name, sys.modules)
