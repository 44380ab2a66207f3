"""The table: which upstream and which repository a request means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    CATCH_ALL,
    HostSettings,
    UpstreamSettings,
)
from oci_registry.spec.errors import NameInvalid, NameUnknown
from oci_registry.spec.routes import ManifestRoute, parse_route
from oci_registry.upstream.table import MAX_DYNAMIC, Target, UpstreamTable
from tests.support.fake_upstream import FakeCatchAll, FakeUpstream
from tests.support.settings import upstream_settings

INTERNAL = upstream_settings(namespace="internal", host="registry.corp:5000")


class TableTestCase(SynchronousTestCase):
    """A table whose upstreams record what they were made of."""

    def make(
        self,
        *configured: UpstreamSettings,
        default: str = "docker.io",
        dynamic: bool = True,
    ) -> UpstreamTable:
        self.connected: list[UpstreamSettings] = []
        self.upstreams: list[FakeUpstream] = []

        def connect(settings: UpstreamSettings) -> FakeUpstream:
            self.connected.append(settings)
            upstream = FakeUpstream(settings)
            self.upstreams.append(upstream)
            return upstream

        chosen = configured or BUILTIN_UPSTREAMS
        return UpstreamTable(
            chosen,
            connect,
            lambda settings: FakeCatchAll(connect, settings),
            default_namespace=default,
            dynamic=dynamic,
        )

    def resolve(self, table: UpstreamTable, name: str, ns: str | None = None) -> Target:
        query = b"" if ns is None else b"ns=" + ns.encode()
        route = parse_route(f"/v2/{name}/manifests/1".encode(), query)
        assert isinstance(route, ManifestRoute)
        return table.resolve(route.name, route.ns)

    def leads(self, table: UpstreamTable, name: str, ns: str | None, to: str, as_: str) -> None:
        target = self.resolve(table, name, ns)
        self.assertEqual((to, as_), (target.upstream.namespace, target.repository), (name, ns))


class Names(TableTestCase):
    """The three ways of naming an upstream."""

    def test_first_component(self) -> None:
        """The first component is the source host if it has the form of one."""
        table = self.make()
        for name, host, repository in (
            ("k8s.gcr.io/pause", "k8s.gcr.io", "pause"),
            ("docker.io/busybox", "docker.io", "library/busybox"),
            ("quay.io/a/b/c", "quay.io", "a/b/c"),
            ("localhost/a", "localhost", "a"),
            ("localhost:5000/a/b", "localhost:5000", "a/b"),
            ("registry:5000/a", "registry:5000", "a"),
            ("GHCR.IO/a/b", "ghcr.io", "a/b"),
        ):
            self.leads(table, name, None, host, repository)

    def test_default(self) -> None:
        """Any other name is one of the default registry."""
        table = self.make()
        self.leads(table, "library/busybox", None, "docker.io", "library/busybox")
        self.leads(table, "a/b/c", None, "docker.io", "a/b/c")
        self.leads(table, "internal/app", None, "docker.io", "internal/app")

    def test_ns(self) -> None:
        """``ns`` decides, whatever the name looks like."""
        table = self.make(INTERNAL, *BUILTIN_UPSTREAMS)
        self.leads(table, "a/b", "quay.io", "quay.io", "a/b")
        self.leads(table, "gcr.io/a", "quay.io", "quay.io", "gcr.io/a")
        self.leads(table, "internal/a", "quay.io", "quay.io", "internal/a")
        self.leads(table, "a", "internal", "internal", "a")
        self.leads(table, "a", "registry:5000", "registry:5000", "a")

    def test_ns_with_a_host_in_the_name(self) -> None:
        """With ``ns`` the name must be a repository: a host with a port is none."""
        with self.assertRaises(NameInvalid):
            self.resolve(self.make(), "localhost:5000/a", "quay.io")

    def test_single_names(self) -> None:
        """``library/`` goes before single names, on Docker Hub and nowhere else."""
        table = self.make()
        self.leads(table, "busybox", None, "docker.io", "library/busybox")
        self.leads(table, "busybox", "docker.io", "docker.io", "library/busybox")
        self.leads(table, "quay.io/busybox", None, "quay.io", "busybox")
        self.leads(table, "busybox", "quay.io", "quay.io", "busybox")

    def test_aliases(self) -> None:
        """The names of Docker Hub are one registry, and one upstream."""
        table = self.make()
        seen = {
            self.resolve(table, name, ns)
            for name, ns in (
                ("a/b", None),
                ("docker.io/a/b", None),
                ("index.docker.io/a/b", None),
                ("registry-1.docker.io/a/b", None),
                ("Docker.IO/a/b", None),
                ("a/b", "docker.io"),
                ("a/b", "index.docker.io"),
                ("a/b", "registry-1.docker.io"),
                ("a/b", "DOCKER.io"),
            )
        }
        self.assertEqual(1, len(seen))
        self.assertEqual(1, len(self.connected))

    def test_configured_without_a_dot(self) -> None:
        """A configured namespace needs no dot to be recognised as the first component."""
        table = self.make(INTERNAL, *BUILTIN_UPSTREAMS)
        self.leads(table, "internal/app", None, "internal", "app")
        self.leads(table, "internal/team/app", None, "internal", "team/app")
        self.leads(table, "internals/app", None, "docker.io", "internals/app")
        self.leads(table, "internal", None, "docker.io", "library/internal")

    def test_other_default(self) -> None:
        """Another default registry has single names without ``library/``; an alias is fine too."""
        self.leads(self.make(default="quay.io"), "busybox", None, "quay.io", "busybox")
        self.leads(
            self.make(default="index.docker.io"), "busybox", None, "docker.io", "library/busybox"
        )

    @given(st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True))
    def test_ways_agree(self, name: str) -> None:
        """The default, ``ns`` and the first component lead to the same target."""
        table = self.make()
        target = self.resolve(table, name)
        self.assertEqual(target, self.resolve(table, name, "docker.io"))
        self.assertEqual(target, self.resolve(table, f"docker.io/{name}"))


class Upstreams(TableTestCase):
    """Where upstreams come from."""

    def test_configured_only(self) -> None:
        """Without dynamic upstreams only configured registries are known."""
        table = self.make(INTERNAL, dynamic=False)
        self.leads(table, "a", "internal", "internal", "a")
        for name, ns in (("quay.io/a", None), ("a", "quay.io"), ("a", None)):
            with self.assertRaises(NameUnknown) as caught:
                self.resolve(table, name, ns)
            self.assertIn("configured", caught.exception.message)
        self.assertEqual([INTERNAL], self.connected)

    def test_dynamic(self) -> None:
        """A registry that nobody configured is asked over https, under its own name."""
        table = self.make()
        first = self.resolve(table, "quay.io/a").upstream
        self.assertIs(first, self.resolve(table, "b", "quay.io").upstream)
        settings = self.connected[-1]
        self.assertEqual(("quay.io", "quay.io"), (settings.namespace, settings.hosts[0].host))
        self.assertTrue(settings.hosts[0].tls)
        self.assertFalse(settings.hosts[0].accept_invalid_certs)
        self.assertEqual((False, True), (settings.configured, settings.hosts[0].guarded))
        self.assertIsNone(settings.hosts[0].credentials)

    def test_docker_hub_unconfigured(self) -> None:
        """Docker Hub is asked at its own host even if nobody configured it."""
        table = self.make(INTERNAL)
        self.leads(table, "busybox", None, "docker.io", "library/busybox")
        self.assertEqual("registry-1.docker.io", self.connected[-1].hosts[0].host)

    def test_catch_all(self) -> None:
        """With an entry for all registries each is asked as that says, and none is unknown."""
        catch_all = upstream_settings(CATCH_ALL, "mirror.lan")
        for dynamic in (True, False):
            table = self.make(INTERNAL, catch_all, dynamic=dynamic)
            self.assertEqual([INTERNAL], self.connected)
            self.leads(table, "a/b", None, "docker.io", "a/b")
            self.leads(table, "quay.io/a", None, "quay.io", "a")
            self.leads(table, "a", "quay.io", "quay.io", "a")
            self.leads(table, "internal/a", None, "internal", "a")
            _, docker, quay = self.connected
            for settings, configured in ((docker, True), (quay, False)):
                self.assertEqual(configured, settings.configured)
                self.assertEqual(HostSettings("mirror.lan", shared=True), settings.hosts[0])

    def test_catch_all_is_no_name(self) -> None:
        """Nobody can ask for the entry itself."""
        table = self.make(upstream_settings(CATCH_ALL, "mirror.lan"))
        for path, query in ((b"/v2/*/a/tags/list", b""), (b"/v2/a/tags/list", b"ns=*")):
            self.assertRaises(NameInvalid, parse_route, path, query)
        with self.assertRaises(NameUnknown):
            table._before(CATCH_ALL)

    def test_catch_all_beside_a_word(self) -> None:
        """Our namespace at a host does not apply to other registries at the same host."""
        hub = upstream_settings("hub", "mirror.lan")
        table = self.make(hub, upstream_settings(CATCH_ALL, "mirror.lan"))
        self.leads(table, "hub/app", "quay.io", "quay.io", "hub/app")

    def test_bounded(self) -> None:
        """Only so many dynamic upstreams are kept; the one unused longest is closed and goes."""
        table = self.make()
        for number in range(MAX_DYNAMIC):
            table.upstream(f"r{number}.example.com")
        table.upstream("r0.example.com")
        table.upstream("one.more.example.com")
        closed = [u.namespace for u in self.upstreams if u.closed]
        self.assertEqual(["r1.example.com"], closed)
        connected = len(self.connected)
        table.upstream("r0.example.com")
        table.upstream("docker.io")
        self.assertEqual(connected, len(self.connected))
        table.upstream("r1.example.com")
        self.assertEqual(connected + 1, len(self.connected))

    def test_close(self) -> None:
        """Closing the table closes every upstream once."""
        table = self.make(INTERNAL)
        table.upstream("quay.io")
        self.successResultOf(Deferred.fromCoroutine(table.close()))
        self.assertEqual([1, 1], [u.closed for u in self.upstreams])
