"""Reading the files of upstreams again."""

from __future__ import annotations

import gc
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import ConfigError, UpstreamSettings
from oci_registry.config.sources import Reread
from oci_registry.eviction.sweep import Lifetimes
from oci_registry.metrics import Metrics
from oci_registry.notify import ServiceManager
from oci_registry.reload import (
    Following,
    Hangup,
    Reloader,
    lifetimes_of,
    newest_of,
    pins_of,
    sizes_of,
)
from oci_registry.spec.patterns import parse_pattern
from oci_registry.spec.sizes import parse_size
from oci_registry.upstream.table import Changes, UpstreamTable
from tests.support.fake_upstream import FakeUpstream, fake_settings, no_catch_all
from tests.support.settings import upstream_settings

A = upstream_settings("a.example", "a.example", blob_invalidation_time=5.0)
B = upstream_settings("b.example", "b.example", blob_invalidation_time=50.0)


class Hangups(SynchronousTestCase):
    """SIGHUP, with a table of handlers in place of the system's."""

    def setUp(self) -> None:
        self.handler: Any = signal.SIG_DFL
        self.patch(signal, "signal", self.replace)
        self.patch(signal, "getsignal", lambda number: self.handler)
        self.queued: list[Any] = []
        self.reactions = 0
        self.hangup = Hangup(self.queued.append, self.react)

    def replace(self, number: int, handler: Any) -> Any:
        self.assertEqual(signal.SIGHUP, number)
        before, self.handler = self.handler, handler
        return before

    def react(self) -> None:
        self.reactions += 1

    def test_reactor(self) -> None:
        """Nothing happens in the handler itself: it may have interrupted anything."""
        self.hangup.install()
        for _ in range(2):
            self.handler(signal.SIGHUP, None)
        self.assertEqual((0, 2), (self.reactions, len(self.queued)))
        for queued in self.queued:
            queued()
        self.assertEqual(2, self.reactions)

    def test_removed(self) -> None:
        """The previous handler of the signal, or none, is restored."""
        for before in (signal.SIG_DFL, signal.SIG_IGN, self.replace):
            self.handler = before
            self.hangup.install()
            self.hangup.remove()
            self.assertEqual(before, self.handler)

    def test_foreign_handler(self) -> None:
        """A handler that Python does not know cannot be put back."""
        self.handler = None
        self.hangup.install()
        self.hangup.remove()
        self.assertEqual(signal.SIG_DFL, self.handler)

    def test_taken_by_another(self) -> None:
        """A handler of the signal that was set since is kept."""
        self.hangup.install()
        self.handler = signal.SIG_IGN
        self.hangup.remove()
        self.assertEqual(signal.SIG_IGN, self.handler)


class FollowingUpstreams(SynchronousTestCase):
    """What goes by the configured upstreams."""

    def setUp(self) -> None:
        self.metrics = Metrics(["a.example"])
        self.lifetimes: list[Lifetimes] = []
        self.broken = False
        self.labels: list[str] = []
        table = UpstreamTable(
            [A], self.connect, no_catch_all, default_namespace="a.example", dynamic=True
        )
        self.following = Following(
            table, self.metrics, self.lifetimes.append, lambda found: lifetimes_of(found, 500.0)
        )

    def connect(self, settings: UpstreamSettings) -> FakeUpstream:
        if self.broken:
            raise ValueError("ca.pem holds no certificate")
        host = self.metrics.host(settings.namespace, settings.hosts[0].host)
        host.available(True)
        return FakeUpstream(fake_settings(settings.namespace))

    def exported(self, namespace: str) -> bool:
        labels = {"namespace": namespace, "host": namespace}
        name = "oci_registry_upstream_available"
        return self.metrics.registry.get_sample_value(name, labels) is not None

    def test_all(self) -> None:
        """Table, labels of metrics and lifetimes go by the same upstreams."""
        changes = self.successResultOf(Deferred.fromCoroutine(self.following.configure((B,))))
        self.assertEqual(Changes(added=("b.example",), removed=("a.example",)), changes)
        self.assertTrue(self.exported("b.example"))
        self.assertEqual({"b.example"}, self.metrics.configured)
        (lifetimes,) = self.lifetimes
        self.assertEqual((50.0, 500.0), (lifetimes.of("b.example"), lifetimes.of("a.example")))

    def test_all_others(self) -> None:
        """What an entry for all others says holds for the objects of registries without one."""
        others = upstream_settings("*", "m.example", blob_invalidation_time=5.0)
        lifetimes = lifetimes_of((A, others), 500.0)
        self.assertEqual((5.0, 5.0), (lifetimes.of("b.example"), lifetimes.of("*")))

    def test_pins_and_sizes(self) -> None:
        """Patterns of pins and limits are those of the upstreams that are configured now."""
        pin, size = parse_pattern("a/*"), parse_size("50GiB")
        others = upstream_settings("*", "m.example", pin=(parse_pattern("b"),))
        limited = upstream_settings("c.example", "c.example", pin=(pin,), max_size=size)
        patterns = pins_of((A, limited, others))
        self.assertEqual(patterns.pattern_of("c.example", "a/b", "1"), pin)
        self.assertIsNone(patterns.pattern_of("a.example", "b", "1"))
        self.assertEqual(str(patterns.pattern_of("d.example", "b", "1")), "b")
        self.assertEqual(sizes_of((A, limited, others)), {"c.example": size})

    def test_newest_tags(self) -> None:
        """The number of newest tags that are kept is that of the upstreams that are configured now."""
        others = upstream_settings("*", "m.example", keep_newest_tags=2)
        kept = upstream_settings("c.example", "c.example", keep_newest_tags=3)
        hosts = ("a.example", "c.example", "d.example")
        self.assertEqual([0, 3, 2], list(map(newest_of((A, kept, others)).of, hosts)))
        self.assertEqual([0, 3, 0], list(map(newest_of((A, kept)).of, hosts)))

    def test_nothing(self) -> None:
        """If an upstream cannot be made, nothing changes."""
        self.broken = True
        configuring = Deferred.fromCoroutine(self.following.configure((A, B)))
        self.failureResultOf(configuring, ValueError)
        self.assertEqual(({"a.example"}, []), (self.metrics.configured, self.lifetimes))


class Reloading(SynchronousTestCase):
    """One reading after the other."""

    def setUp(self) -> None:
        # Not every test ends its reload.
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.readings: list[Deferred[Reread]] = []
        self.configured: list[Any] = []
        self.changes: Any = Changes()
        self.metrics = Metrics()
        self.told: list[str] = []
        manager = ServiceManager("/socket", self.tell, lambda: 5_000_999)
        self.kept: list[int] = []
        self.reloader = Reloader(self.read, self.configure, self.metrics, manager, self.keep)
        self.events: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "oci_registry.reload.Reloader":
            level = event["log_level"].name
            self.events.append(f"{level} {event['log_format'].format_map(event)}")

    def keep(self) -> None:
        self.kept.append(len(self.configured))

    def tell(self, address: str, state: bytes) -> None:
        self.told.append(state.decode())

    def read(self) -> Deferred[Reread]:
        self.readings.append(Deferred())
        return self.readings[-1]

    async def configure(self, upstreams: Any) -> Changes:
        if isinstance(self.changes, Exception):
            raise self.changes
        self.configured.append(upstreams)
        changes: Changes = self.changes
        return changes

    def errors(self) -> float | None:
        labels = {"kind": "reload"}
        return self.metrics.registry.get_sample_value("oci_registry_errors_total", labels)

    def test_good(self) -> None:
        """What is read holds; what has changed is reported, and warnings are."""
        self.changes = Changes(("a.example", "b.example"), ("c.example",), ("d.example",))
        self.reloader.reload()
        self.assertEqual([], self.configured)
        self.assertEqual(["RELOADING=1\nMONOTONIC_USEC=5000"], self.told)
        self.readings[0].callback(Reread((A, B), ("mind {this}",)))
        self.assertEqual("READY=1", self.told[-1])
        self.assertEqual([(A, B)], self.configured)
        said, told = self.events
        self.assertEqual("warn mind {this}", said)
        self.assertEqual(
            "info reloaded the upstreams: added a.example, b.example; "
            "changed c.example; removed d.example",
            told,
        )
        self.assertEqual(0, self.errors())

    def test_nothing_changed(self) -> None:
        """That nothing has changed is told too."""
        self.reloader.reload()
        self.readings[0].callback(Reread((A,), ()))
        self.assertEqual(["info reloaded the upstreams: nothing has changed"], self.events)

    def test_bad(self) -> None:
        """Of what cannot be used every problem is reported, nothing changes, and it is an error."""
        self.reloader.reload()
        self.readings[0].errback(ConfigError(["u.yaml: line 1: {bad}", "u.yaml: line 2: worse"]))
        self.assertEqual([], self.configured)
        self.assertEqual(
            [
                "error reload failed, the upstreams are unchanged: u.yaml: line 1: {bad}",
                "error reload failed, the upstreams are unchanged: u.yaml: line 2: worse",
            ],
            self.events,
        )
        self.assertEqual(1, self.errors())
        self.assertEqual("READY=1", self.told[-1])
        self.reloader.reload()
        self.readings[1].callback(Reread((A,), ()))
        self.assertEqual([(A,)], self.configured)

    def test_cannot_be_made(self) -> None:
        """An upstream that cannot be made is a problem like those of the file."""
        self.changes = ValueError("ca.pem holds no certificate")
        self.reloader.reload()
        self.readings[0].callback(Reread((A,), ("not to be told",)))
        self.assertEqual(
            ["error reload failed, the upstreams are unchanged: ca.pem holds no certificate"],
            self.events,
        )
        self.assertEqual(1, self.errors())

    def test_fault(self) -> None:
        """What nobody expects is reported with its traceback, and the next reading takes place."""
        self.reloader.reload()
        self.readings[0].errback(ZeroDivisionError())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(1, self.errors())
        self.reloader.reload()
        self.assertEqual(2, len(self.readings))

    def test_garbage(self) -> None:
        """Garbage is collected less often until a reload has ended, whether it succeeds or not."""
        usual = gc.get_threshold()
        for outcome in (Reread((A,), ()), Failure(ConfigError(["a problem"]))):
            self.reloader.reload()
            self.assertGreater(gc.get_threshold(), usual)
            self.readings[-1].callback(outcome)
            self.assertEqual(usual, gc.get_threshold())

    def test_settings_are_kept(self) -> None:
        """New settings are excluded from garbage collection when something has changed, not after a failure."""
        self.reloader.reload()
        self.readings[0].errback(ConfigError(["a problem"]))
        self.reloader.reload()
        self.readings[1].callback(Reread((A,), ()))
        self.assertEqual([], self.kept)
        self.changes = Changes(added=("a.example",))
        self.reloader.reload()
        self.readings[2].callback(Reread((A,), ()))
        self.assertEqual([2], self.kept)

    def test_meanwhile(self) -> None:
        """Signals during a reading cause one more, since what they announce may have come too late."""
        for _ in range(3):
            self.reloader.reload()
        self.assertEqual(1, len(self.readings))
        self.readings[0].callback(Reread((A,), ()))
        self.assertEqual(2, len(self.readings))
        self.readings[1].callback(Reread((B,), ()))
        self.assertEqual(2, len(self.readings))
        self.assertEqual([(A,), (B,)], self.configured)
        reloading = "RELOADING=1\nMONOTONIC_USEC=5000"
        self.assertEqual([reloading, "READY=1"] * 2, self.told)

    def test_stopping(self) -> None:
        """When the daemon stops, a reading under way changes nothing, and there is no other."""
        self.reloader.reload()
        self.reloader.reload()
        self.reloader.stop()
        self.readings[0].callback(Reread((A,), ()))
        self.reloader.reload()
        self.assertEqual((1, []), (len(self.readings), self.configured))
        self.assertEqual(1, len(self.told), "it is not ready any more")
        self.assertEqual(["info reload skipped: the daemon is stopping"], self.events)
