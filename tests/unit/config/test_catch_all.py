"""The entry for every registry that has none of its own."""

from __future__ import annotations

import json

import yaml

from oci_registry.config.catch_all import catch_all_of, unlisted
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    CATCH_ALL,
    Credentials,
    FilesystemSettings,
    HostSettings,
    Settings,
    UpstreamSettings,
)
from oci_registry.config.shown import show
from oci_registry.config.upstreams import load_upstreams

from .support import SECRET, ConfigTestCase, LoaderTestCase

MIRROR = HostSettings("mirror.lan:8080", tls=False)
ALICE = Credentials("alice", SECRET)
BOTH = """
- namespace: "*"
  hosts:
  - {host: "mirror.lan:8080", tls: false}
  - "*"
  retries: 3
"""


class Unlisted(ConfigTestCase):
    """What the entry means for one registry."""

    def of(self, namespace: str, *hosts: HostSettings, **options: bool) -> UpstreamSettings:
        return unlisted(namespace, UpstreamSettings(CATCH_ALL, hosts, retries=3, **options))

    def test_none(self) -> None:
        """Without it a registry is what is built in, or one at its own name."""
        self.assertEqual(BUILTIN_UPSTREAMS[0], unlisted("docker.io", None))
        self.assertEqual(UpstreamSettings.dynamic("quay.io"), unlisted("quay.io", None))

    def test_hosts(self) -> None:
        """Its hosts are the operator's, which are shared; the name is the client's."""
        found = self.of("quay.io", HostSettings("mirror.lan", credentials=ALICE))
        self.assertEqual(("quay.io", False, 3), (found.namespace, found.configured, found.retries))
        (host,) = found.hosts
        self.assertEqual(HostSettings("mirror.lan", credentials=ALICE, shared=True), host)

    def test_registry_itself(self) -> None:
        """The host * is the registry's own, in its place, guarded and without anything of ours."""
        found = self.of("quay.io", HostSettings("a.lan"), HostSettings(CATCH_ALL, proxy="none"))
        self.assertEqual(HostSettings("quay.io", guarded=True, proxy="none"), found.hosts[1])
        self.assertEqual("a.lan", found.hosts[0].host)
        found = self.of("quay.io", HostSettings(CATCH_ALL), HostSettings("a.lan"))
        self.assertEqual(["quay.io", "a.lan"], [host.host for host in found.hosts])

    def test_built_in(self) -> None:
        """What is built in is at its own host then, and counts as named by us."""
        found = self.of("docker.io", MIRROR, HostSettings(CATCH_ALL))
        self.assertEqual(HostSettings("registry-1.docker.io"), found.hosts[1])
        self.assertTrue(found.configured)

    def test_once(self) -> None:
        """A registry that is among the hosts is not asked twice."""
        for namespace, host in (
            ("quay.io", "quay.io"),
            ("quay.io", "quay.io:443"),
            ("docker.io", "registry-1.docker.io"),
        ):
            found = self.of(namespace, HostSettings(host), HostSettings(CATCH_ALL))
            self.assertEqual([host], [one.host for one in found.hosts])
        found = self.of("quay.io", HostSettings("quay.io", path="proxy"), HostSettings(CATCH_ALL))
        self.assertEqual(["quay.io/proxy", "quay.io"], [one.name for one in found.hosts])

    def test_upper_case(self) -> None:
        """Registries that have upper case in names keep it, and others get it if that is said."""
        self.assertTrue(self.of("hf.co", MIRROR).upper_case_names)
        self.assertFalse(self.of("quay.io", MIRROR).upper_case_names)
        self.assertTrue(self.of("quay.io", MIRROR, upper_case_names=True).upper_case_names)


class Written(ConfigTestCase):
    """The entry in the upstream file."""

    def load(self, text: str) -> tuple[UpstreamSettings, ...]:
        self.findings.problems.clear()
        return load_upstreams(self.write("u.yaml", text), self.findings)

    def test_read(self) -> None:
        """It is read as any other, and may stand among others."""
        expected = UpstreamSettings(CATCH_ALL, (MIRROR, HostSettings(CATCH_ALL)), retries=3)
        loaded = self.load(BOTH + "- {namespace: quay.io, host: quay.io}")
        self.assert_fine()
        self.assertEqual((expected, 2), (catch_all_of(loaded), len(loaded)))
        (alone,) = self.load('- {namespace: "*", host: "*", manifest_invalidation_time: 1h}')
        self.assert_fine()
        self.assertEqual((HostSettings(CATCH_ALL),), alone.hosts)

    def test_shown(self) -> None:
        """It is shown as a file that means the same."""
        upstreams = self.load(BOTH)
        shown = yaml.safe_load(show(Settings((), FilesystemSettings("/x"), upstreams=upstreams)))
        again = yaml.safe_dump(shown["upstream-config-file"])
        self.assertEqual(upstreams, self.load(again))
        self.assert_fine()

    def test_twice(self) -> None:
        """There is one, and each host of it is there once."""
        self.load(BOTH + BOTH)
        self.assert_problem("namespace: * is configured twice, first in line 2")
        self.load('- {namespace: "*", hosts: ["*", "*"]}')
        self.assert_problem("* is given twice")

    def test_elsewhere(self) -> None:
        """In other entries no host can be the registry itself."""
        for entry in ('host: "*"', 'hosts: [a.lan, "*"]'):
            self.load(f"- {{namespace: quay.io, {entry}}}")
            self.assert_problem("only with namespace '*'")
        for name in ("*.io", "**", "*/a", "*:443"):
            self.load(f'- {{namespace: "{name}", host: a.lan}}')
            self.assert_problem("namespace")

    def test_secrets(self) -> None:
        """A host that any client may name gets neither secrets nor trust; all is reported at once."""
        self.load(
            '- {namespace: "*", host: "*", tls: false, accept_invalid_certs: true, '
            f"username: alice, password: {SECRET}, token_servers: [a.lan], ca_file: no.pem}}"
        )
        self.assertEqual(6, len(self.findings.problems), self.findings.problems)
        for problem in self.findings.problems:
            self.assertIn("is not allowed with host '*'", problem)
        self.assert_discreet()
        (upstream,) = self.load('- {namespace: "*", host: "*", proxy: "http://p.lan:3128"}')
        self.assertEqual("p.lan", getattr(upstream.hosts[0].proxy, "host", None))

    def test_anchor(self) -> None:
        """Without quotes it is something else in YAML, and a problem."""
        self.load("- namespace: *\n  host: a.lan\n")
        self.assert_problem("u.yaml")


class Loaded(LoaderTestCase):
    """The entry beside options."""

    def flags(self, text: str = BOTH, **more: object) -> dict[str, object]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"upstream-config-file": self.write("u.yaml", text), **named}

    def test_default_namespace(self) -> None:
        """The default registry needs no entry then, if it is the name of a host."""
        settings = self.load(self.flags(default_namespace="quay.io", upstreams="configured"))
        self.assertEqual("quay.io", settings.default_namespace)
        problem = self.one_problem(self.flags(default_namespace="word", upstreams="configured"))
        self.assertIn("neither configured nor a registry host", problem)

    def test_private_upstreams(self) -> None:
        """Private addresses of registries themselves can be allowed with configured ones only, too."""
        flags = self.flags(upstreams="configured", allow_private_upstreams=True)
        self.assertEqual((), self.load(flags).warnings)

    def credentials(self, namespace: str) -> str:
        return json.dumps({namespace: {"username": "alice", "password": SECRET}})

    def test_credentials(self) -> None:
        """A registry's credentials are for the registry itself, which the operator has named by them."""
        for namespace, own in (("quay.io", "quay.io"), ("docker.io", "registry-1.docker.io")):
            given = {"UPSTREAM_CREDENTIALS": self.credentials(namespace)}
            _, upstream = self.load(self.flags(), given).upstreams
            mirror, itself = upstream.hosts
            self.assertEqual((namespace, True), (upstream.namespace, upstream.configured))
            self.assertIsNone(mirror.credentials)
            self.assertEqual((ALICE, False), (itself.credentials, itself.guarded))
            self.assertEqual(own, itself.host)

    def test_credentials_of_nobody(self) -> None:
        """A mirror never learns them: where a registry itself is not asked they are not used."""
        only = '- {namespace: "*", host: mirror.lan}'
        for namespace in ("quay.io", "docker.io", "word"):
            given = {"UPSTREAM_CREDENTIALS": self.credentials(namespace)}
            settings = self.load(self.flags(only), given)
            self.assertEqual([CATCH_ALL], [one.namespace for one in settings.upstreams])
            self.assertIn("are ignored", settings.warnings[0])
        problem = self.one_problem(
            self.flags(only), {"UPSTREAM_CREDENTIALS": self.credentials(CATCH_ALL)}
        )
        self.assertIn("not the namespace of a registry", problem)
