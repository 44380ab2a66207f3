"""Which hosts get the field ``ns``."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import BUILTIN_UPSTREAMS, HostSettings, UpstreamSettings
from oci_registry.upstream.naming import (
    REFUSALS,
    NsField,
    asks_with_ns,
    is_about,
    registry_meant,
    with_ns,
)

MIRROR = HostSettings("mirror.example")


class Asking(SynchronousTestCase):
    """asks_with_ns."""

    def test_registry_itself(self) -> None:
        """A registry is not told its own name, nor another of its names."""
        for namespace, host in (
            ("quay.io", HostSettings("quay.io")),
            ("quay.io", HostSettings("quay.io:443")),
            ("quay.io", HostSettings("quay.io", path="team")),
            ("reg.lan:5000", HostSettings("reg.lan:5000", tls=False)),
            ("reg.lan", HostSettings("reg.lan:80", tls=False)),
            ("reg.lan:80", HostSettings("reg.lan", tls=False)),
            ("docker.io", HostSettings("registry-1.docker.io")),
            ("docker.io", HostSettings("registry-1.docker.io:443")),
            ("docker.io", HostSettings("index.docker.io")),
            ("docker.io", HostSettings("registry.hub.docker.com")),
        ):
            self.assertFalse(asks_with_ns(namespace, host), (namespace, host))
        for upstream in (*BUILTIN_UPSTREAMS, UpstreamSettings.dynamic("ghcr.io:5000")):
            self.assertFalse(asks_with_ns(upstream.namespace, upstream.hosts[0]))

    def test_others(self) -> None:
        """Any other host may be a mirror of many registries."""
        for namespace, host in (
            ("docker.io", MIRROR),
            ("docker.io", HostSettings("quay.io")),
            ("quay.io", HostSettings("registry-1.docker.io")),
            ("docker.io", HostSettings("mirror.example", path="docker.io")),
            ("reg.lan", HostSettings("reg.lan:5000")),
            ("reg.lan", HostSettings("reg.lan:80")),
            ("localhost", MIRROR),
        ):
            self.assertTrue(asks_with_ns(namespace, host), (namespace, host))

    def test_own_names(self) -> None:
        """A namespace that is no host is ours, and means nothing to others."""
        for namespace in ("mirror", "my_mirror", "hub"):
            self.assertFalse(asks_with_ns(namespace, MIRROR))

    def test_shared(self) -> None:
        """A host of many registries is told every name, but for its own, words and paths included."""
        mirror = evolve(MIRROR, shared=True)
        for namespace in ("quay.io", "docker.io", "word"):
            self.assertTrue(asks_with_ns(namespace, mirror), namespace)
        self.assertFalse(asks_with_ns("mirror.example", mirror))
        self.assertTrue(asks_with_ns("mirror.example", evolve(mirror, path="proxy")))


class Paths(SynchronousTestCase):
    """registry_meant."""

    def test_named(self) -> None:
        """A path that begins with a registry says what to name, whatever that is called here."""
        for namespace in ("quay.io", "quay.corp.example", "mirror"):
            for path in ("quay.io", "quay.io/team"):
                host = HostSettings("mirror.example", path=path)
                self.assertEqual("quay.io", registry_meant(namespace, host))
                self.assertIn("?ns=quay.io", NsField(namespace, host).added_to("http://x/v2/a"))
        hub = HostSettings("mirror.example", path="registry-1.docker.io")
        self.assertEqual("docker.io", registry_meant("hub", hub))

    def test_others(self) -> None:
        """Any other path says nothing of that."""
        for path in ("", "dockerhub-proxy", "team/quay.io"):
            host = HostSettings("mirror.example", path=path)
            self.assertEqual("quay.io", registry_meant("quay.io", host))
        shared = HostSettings("mirror.example", path="ghcr.io", shared=True)
        self.assertEqual("quay.io", registry_meant("quay.io", shared))


class Urls(SynchronousTestCase):
    """with_ns."""

    def test_added(self) -> None:
        """The field is added once, to whatever query there is."""
        for url, namespace, expected in (
            ("http://m/v2/a", "quay.io", "http://m/v2/a?ns=quay.io"),
            ("http://m/v2/a?n=5", "quay.io", "http://m/v2/a?n=5&ns=quay.io"),
            ("http://m/v2/a?ns=quay.io&n=5", "quay.io", "http://m/v2/a?ns=quay.io&n=5"),
            ("http://m/v2/a?ns=", "quay.io", "http://m/v2/a?ns="),
            ("http://m/v2/a", "[::1]:5000", "http://m/v2/a?ns=[::1]:5000"),
        ):
            self.assertEqual(with_ns(url, namespace), expected)

    @given(st.text(st.sampled_from("ans=&%+;5"), max_size=12))
    def test_any_query(self, query: str) -> None:
        """What was in the query stays there, and the registry is named once."""
        before = parse_qsl(query, keep_blank_values=True)
        after = parse_qsl(urlsplit(with_ns(f"http://m/?{query}", "quay.io")).query, True)
        self.assertEqual(after[: len(before)], before)
        if "ns" not in dict(before):
            self.assertEqual(after[len(before) :], [("ns", "quay.io")])


class Refusing(SynchronousTestCase):
    """Hosts that refuse the field."""

    def setUp(self) -> None:
        self.field = NsField("quay.io", MIRROR)

    def sends(self) -> bool:
        return self.field.added_to("http://m/") != "http://m/"

    def test_refused(self) -> None:
        """A host that answers without the field what it refused with it is not sent it any more."""
        for status in REFUSALS:
            self.setUp()
            self.assertTrue(self.sends())
            self.assertTrue(self.field.may_refuse(status))
            self.assertTrue(self.field.replaces(200, None))
            self.assertFalse(self.sends())
            self.assertFalse(self.field.may_refuse(status))

    def test_no_refusal(self) -> None:
        """What is not there, or not for us, is not asked for without the field."""
        for status in (200, 206, 304, 307, 401, 403, 404, 416, 429, 500, 503):
            self.assertFalse(NsField("quay.io", MIRROR).may_refuse(status))

    def test_understood(self) -> None:
        """A host that has answered a request with the field has nothing against it."""
        for status in (200, 307, 404, 416):
            self.setUp()
            self.field.may_refuse(status)
            self.assertFalse(self.field.may_refuse(400))
        self.setUp()
        for status in (401, 429, 500):
            self.field.may_refuse(status)
        self.assertTrue(self.field.may_refuse(400))

    def test_refused_anyway(self) -> None:
        """What is refused without the field too says nothing of it."""
        self.assertFalse(self.field.replaces(400, None))
        self.assertTrue(self.sends())

    def test_uncertain(self) -> None:
        """Trouble without the field is the answer, and nothing is learnt from it."""
        for status in (401, 403, 404, 429, 500, 503):
            self.assertTrue(self.field.replaces(status, None))
            self.assertTrue(self.sends())

    def test_another_registry(self) -> None:
        """What the host calls another registry's is no answer, and nothing is learnt from it."""
        self.assertFalse(self.field.replaces(200, "docker.io"))
        self.assertTrue(self.sends())
        self.assertTrue(self.field.replaces(200, "Quay.io:443"))
        self.assertFalse(self.sends())

    def test_not_sent(self) -> None:
        """Where the field is not sent nothing is refused for it."""
        field = NsField("quay.io", HostSettings("quay.io"))
        self.assertEqual(field.added_to("http://m/"), "http://m/")
        self.assertFalse(field.may_refuse(400))

    def test_shared(self) -> None:
        """A shared host is never asked without it, and its answer about another registry is rejected."""
        shared, other = (NsField("quay.io", evolve(MIRROR, shared=yes)) for yes in (True, False))
        for status in REFUSALS:
            self.assertFalse(shared.may_refuse(status))
        for status, about, expected in (
            (200, "docker.io", True),
            (307, "docker.io", True),
            (404, "docker.io", False),
            (200, "quay.io", False),
            (200, None, False),
        ):
            self.assertEqual(shared.is_another(status, about), expected, (status, about))
            self.assertFalse(other.is_another(status, about))

    def test_about(self) -> None:
        """An answer is about a registry if it says so under any of its names, or says nothing."""
        for answered in (None, "docker.io", " Registry-1.docker.io:443", "docker.io."):
            self.assertTrue(is_about("docker.io", answered), answered)
        for answered in ("", "quay.io", "docker.io:80", "\xff", "docker.io, quay.io"):
            self.assertFalse(is_about("docker.io", answered), answered)
