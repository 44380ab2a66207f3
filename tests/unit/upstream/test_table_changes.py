"""The table when other upstreams are configured."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import Credentials, UpstreamSettings
from oci_registry.spec.errors import NameUnknown
from oci_registry.streams.steps import no_pause
from oci_registry.upstream.health import HostHealth
from oci_registry.upstream.table import AT_ONCE, Changes, UpstreamTable
from tests.support.fake_upstream import FakeCatchAll, FakeUpstream
from tests.support.settings import upstream_settings

A = upstream_settings("a.example", "a.example")
B = upstream_settings("b.example", "b.example")
C = upstream_settings("c.example", "c.example")


class TableChanges(SynchronousTestCase):
    """A table that has had upstreams a and b so far."""

    def setUp(self) -> None:
        self.made: list[FakeUpstream] = []
        self.shared: list[FakeCatchAll] = []
        self.broken: str | None = None
        self.table = self.make()

    def make(self, *, dynamic: bool = True) -> UpstreamTable:
        return UpstreamTable(
            [A, B], self.connect, self.share, default_namespace="a.example", dynamic=dynamic
        )

    def share(self, settings: UpstreamSettings) -> FakeCatchAll:
        self.shared.append(FakeCatchAll(self.connect, settings))
        return self.shared[-1]

    def connect(self, settings: UpstreamSettings) -> FakeUpstream:
        if settings.namespace == self.broken:
            raise ValueError("ca.pem holds no certificate")
        self.made.append(FakeUpstream(settings))
        return self.made[-1]

    def closed(self) -> list[FakeUpstream]:
        return [upstream for upstream in self.made if upstream.closed]

    def test_same(self) -> None:
        """Equal settings change nothing: the upstreams, and all that they know, stay."""
        before = [self.table.upstream(host) for host in ("a.example", "b.example")]
        again = upstream_settings("a.example", "a.example"), B
        self.assertEqual(self.table.configure(again), Changes())
        after = [self.table.upstream(host) for host in ("a.example", "b.example")]
        self.assertEqual([id(u) for u in after], [id(u) for u in before])
        self.assertEqual((len(self.made), self.closed()), (2, []))

    def test_everything(self) -> None:
        """What is new is there, what has changed is new, and what is gone is closed, each once."""
        a, b = self.made
        changed = upstream_settings("b.example", "b.example", credentials=Credentials("u", "p"))
        changes = self.table.configure([C, changed])
        self.assertEqual(changes, Changes(("c.example",), ("b.example",), ("a.example",)))
        self.assertEqual(self.closed(), [a, b])
        self.assertEqual([u.closed for u in self.made], [1, 1, 0, 0])
        self.assertIs(self.table.upstream("c.example"), self.made[2])
        self.assertIs(self.table.upstream("b.example"), self.made[3])

    def test_rate_limited(self) -> None:
        """A registry whose first host has little left of its rate limit is rate limited, under any name."""
        self.assertEqual(frozenset(), self.table.rate_limited())
        self.table.upstream("c.example")
        low, enough = HostHealth("low", low=True), HostHealth("enough")
        for upstream, hosts in zip(self.made, [(low, enough), (enough, low), (low,)], strict=True):
            upstream.state = hosts
        self.assertEqual({"a.example", "c.example"}, self.table.rate_limited())

    def test_removed(self) -> None:
        """A registry that is no longer configured is asked like any unconfigured one, or not at all."""
        self.table.configure([B])
        self.assertFalse(self.table.upstream("a.example").settings.configured)
        only = self.make(dynamic=False)
        only.configure([B])
        self.assertRaises(NameUnknown, only.upstream, "a.example")

    def test_named_before(self) -> None:
        """A registry that clients have named is asked as configured from now on."""
        named = self.table.upstream("c.example")
        self.assertFalse(named.settings.configured)
        self.assertEqual(self.table.configure([A, B, C]), Changes(added=("c.example",)))
        self.assertEqual(self.closed(), [named])
        self.assertTrue(self.table.upstream("c.example").settings.configured)

    def test_others_that_were_named(self) -> None:
        """What clients have named besides stays."""
        named = self.table.upstream("c.example")
        self.table.configure([A])
        self.assertIs(self.table.upstream("c.example"), named)

    def test_catch_all(self) -> None:
        """An entry for all others, if it is new, changed or removed, holds for those named before."""
        for host, changes in (
            ("m.example", Changes(added=("*",))),
            ("n.example", Changes(changed=("*",))),
            (None, Changes(removed=("*",))),
        ):
            named = self.table.upstream("c.example")
            entries = [] if host is None else [upstream_settings("*", host)]
            self.assertEqual(self.table.configure([A, B, *entries]), changes)
            self.assertEqual(self.closed()[-1:], [named])
            self.assertIsNot(self.table.upstream("c.example"), named)
            self.assertEqual([s.closed for s in self.shared[:-1]], [1] * len(self.shared[:-1]))
        self.assertEqual([s.closed for s in self.shared], [1, 1])
        self.assertEqual([u.closed for u in self.made[:2]], [0, 0])

    def test_same_catch_all(self) -> None:
        """While that entry is the same, what clients have named stays, but for what has an entry now."""
        catch_all = upstream_settings("*", "m.example")
        self.table.configure([A, B, catch_all])
        c, d = (self.table.upstream(name) for name in ("c.example", "d.example"))
        self.assertEqual(self.table.configure([A, B, C, catch_all]), Changes(added=("c.example",)))
        self.assertEqual((self.closed(), len(self.shared)), ([c], 1))
        self.assertIs(self.table.upstream("d.example"), d)
        self.successResultOf(Deferred.fromCoroutine(self.table.close()))
        self.assertEqual([s.closed for s in self.shared], [1])

    def test_failing_catch_all(self) -> None:
        """If what it needs cannot be made, everything is as before."""
        named = self.table.upstream("d.example")

        def share(settings: UpstreamSettings) -> FakeCatchAll:
            raise ValueError("ca.pem holds no certificate")

        self.table._share = share
        self.assertRaises(ValueError, self.table.configure, [C, upstream_settings("*", "m")])
        self.assertEqual(self.closed(), [self.made[-1]])
        self.assertIs(self.table.upstream("d.example"), named)
        self.assertEqual(self.table.configure([A, B]), Changes())

    def test_failing(self) -> None:
        """If one cannot be made, everything is as before, and those that could are closed."""
        before = [self.table.upstream(host) for host in ("a.example", "b.example")]
        self.broken = "c.example"
        new = upstream_settings("b.example", "elsewhere.example")
        self.assertRaises(ValueError, self.table.configure, [new, C])
        after = [self.table.upstream(host) for host in ("a.example", "b.example")]
        self.assertEqual([id(u) for u in after], [id(u) for u in before])
        self.assertEqual(self.closed(), [self.made[2]])
        self.broken = None
        self.assertEqual(self.table.configure([A, B]), Changes())

    def test_hosts(self) -> None:
        """A host is found by its origin, as it is configured now."""
        self.assertIs(self.table.host_at("https://a.example:443"), A.hosts[0])
        for origin in ("http://a.example:80", "https://a.example:5000", "https://c.example:443"):
            self.assertIsNone(self.table.host_at(origin))
        self.table.configure([C])
        self.assertIsNone(self.table.host_at("https://a.example:443"))
        self.assertIs(self.table.host_at("https://c.example:443"), C.hosts[0])

    def test_closing(self) -> None:
        """In the end those that are there are closed, and no others a second time."""
        self.table.configure([A, C])
        self.successResultOf(Deferred.fromCoroutine(self.table.close()))
        self.assertEqual([u.closed for u in self.made], [1, 1, 1])

    def test_many(self) -> None:
        """Many are made in steps, and hold when all are made; until then nothing has changed."""
        many = [upstream_settings(f"{n}.example", f"{n}.example") for n in range(2 * AT_ONCE + 1)]
        pauses: list[Deferred[None]] = []

        def pause() -> Deferred[None]:
            pauses.append(Deferred())
            return pauses[-1]

        changing = Deferred.fromCoroutine(self.table.reconfigure(many, pause))
        for number in (1, 2):
            self.assertNoResult(changing)
            self.assertEqual((number, 2 + number * AT_ONCE), (len(pauses), len(self.made)))
            self.assertEqual([], self.closed())
            self.table.upstream("a.example")
            pauses[-1].callback(None)
        self.assertEqual(len(many), len(self.successResultOf(changing).added))
        self.assertEqual(self.made[:2], self.closed())

    def test_many_broken(self) -> None:
        """If one of many cannot be made, those that were made before are closed, and nothing changes."""
        many = [upstream_settings(f"{n}.example", f"{n}.example") for n in range(AT_ONCE + 1)]
        self.broken = many[-1].namespace
        changing = Deferred.fromCoroutine(self.table.reconfigure(many, no_pause))
        self.failureResultOf(changing, ValueError)
        self.assertEqual(self.made[2:], self.closed())
