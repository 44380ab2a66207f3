"""Which registries the settings are about, and with which credentials."""

from __future__ import annotations

import json
import os

from .support import SECRET, LoaderTestCase

CREDENTIALS = json.dumps({"docker.io": {"username": "alice", "password": SECRET}})
QUAY = "- {namespace: quay.io, host: quay.io}\n"


class DefaultNamespace(LoaderTestCase):
    """--default-namespace and its other names."""

    def test_any_name(self) -> None:
        """Both flags and both variables mean the same."""
        for flags, environ in (
            ({"default-namespace": "Quay.IO"}, {}),
            ({"default-upstream-namespace": "quay.io"}, {}),
            ({}, {"DEFAULT_NAMESPACE": "quay.io"}),
            ({}, {"DEFAULT_UPSTREAM_NAMESPACE": "quay.io"}),
            ({"default-upstream-namespace": "quay.io"}, {"DEFAULT_NAMESPACE": "gcr.io"}),
            ({"default-namespace": "quay.io", "default-upstream-namespace": "QUAY.io"}, {}),
        ):
            self.assertEqual(self.load(flags, environ).default_namespace, "quay.io")

    def test_aliases(self) -> None:
        """Other names of docker.io mean docker.io, also when compared."""
        flags = {
            "default-namespace": "index.docker.io",
            "default-upstream-namespace": "registry-1.docker.io",
        }
        self.assertEqual(self.load(flags).default_namespace, "docker.io")

    def test_contradiction(self) -> None:
        """Two different values are a problem that names both."""
        flags = {"default-namespace": "a.io", "default-upstream-namespace": "b.io"}
        problem = self.one_problem(flags)
        for part in ("--default-namespace and --default-upstream-namespace", "a.io and b.io"):
            self.assertIn(part, problem)

    def test_not_a_host(self) -> None:
        """What is neither a host nor configured is a problem."""
        self.assertIn("spaces", self.one_problem({"default-namespace": "a b"}))
        problem = self.one_problem({"default-namespace": "dockerio"})
        self.assertIn("dockerio is neither configured nor a registry host", problem)
        self.assertIn("neither", self.one_problem({"default-namespace": "127.1"}))
        problem = self.one_problem({"default-namespace": f"x:{SECRET}@quay.io"})
        self.assertIn("credentials", problem)

    def test_configured_word(self) -> None:
        """A configured namespace may be a plain word."""
        path = self.write("u.yaml", "- {namespace: my_mirror, host: quay.io}")
        flags = {"default-namespace": "my_mirror", "upstream-config-file": path}
        for upstreams in ("any", "configured"):
            settings = self.load({**flags, "upstreams": upstreams})
            self.assertEqual(settings.default_namespace, "my_mirror")

    def test_configured_only(self) -> None:
        """With --upstreams configured the default has to be configured."""
        path = self.write("u.yaml", QUAY)
        flags = {"upstream-config-file": path, "upstreams": "configured"}
        self.assertIn("docker.io is not configured", self.one_problem(flags))
        self.assertEqual(self.load({**flags, "upstreams": "any"}).default_namespace, "docker.io")
        self.load({**flags, "default-namespace": "quay.io"})
        self.load({"upstreams": "configured"})

    def test_no_second_problem(self) -> None:
        """A broken upstream file is reported once, and not again as a default that is missing."""
        path = self.write("u.yaml", "- {namespace: docker.io}")
        self.assertIn(
            "host: is required",
            self.one_problem({"upstream-config-file": path, "upstreams": "configured"}),
        )


class Credentials(LoaderTestCase):
    """--upstream-credentials, its file and its variable."""

    def test_environment(self) -> None:
        """They reach the built-in upstream without a warning."""
        settings = self.load(environ={"UPSTREAM_CREDENTIALS": CREDENTIALS})
        (upstream,) = settings.upstreams
        self.assertEqual(upstream.hosts[0].credentials.password, SECRET)
        self.assertEqual(settings.warnings, ())

    def test_flag(self) -> None:
        """On the command line they come with a warning."""
        settings = self.load({"upstream-credentials": CREDENTIALS}, {"UPSTREAM_CREDENTIALS": "x"})
        self.assertEqual(settings.upstreams[0].hosts[0].credentials.username, "alice")
        (warning,) = settings.warnings
        self.assertIn("visible in the process list", warning)

    def test_file(self) -> None:
        """From a file they come without, unless others can read it."""
        path = self.write("c.json", CREDENTIALS)
        settings = self.load({"upstream-credentials-file": path}, {"UPSTREAM_CREDENTIALS": "x"})
        self.assertEqual(settings.upstreams[0].hosts[0].credentials.username, "alice")
        self.assertEqual(settings.warnings, ())
        os.chmod(path, 0o644)
        (warning,) = self.load({"upstream-credentials-file": path}).warnings
        self.assertIn("mode 0644", warning)

    def test_both(self) -> None:
        """Flag and file together are a problem."""
        path = self.write("c.json", CREDENTIALS)
        flags = {"upstream-credentials": CREDENTIALS, "upstream-credentials-file": path}
        self.assertIn("cannot be given with", self.one_problem(flags))

    def test_malformed(self) -> None:
        """What is no JSON is reported by place and not by content."""
        document = f'{{"docker.io": {{"username": "alice", "password": {SECRET}}}}}'
        path = self.write("c.json", document)
        for flags, environ, source in (
            ({"upstream-credentials": document}, {}, "--upstream-credentials: "),
            ({"upstream-credentials-file": path}, {}, f"--upstream-credentials-file {path}: "),
            ({}, {"UPSTREAM_CREDENTIALS": document}, "UPSTREAM_CREDENTIALS: "),
        ):
            problem = self.one_problem(flags, environ)
            self.assertTrue(problem.startswith(source), problem)
            self.assertIn("line 1, column 49", problem)

    def test_wrong_flag(self) -> None:
        """A document given as the name of a file is not repeated."""
        problem = self.one_problem({"upstream-credentials-file": CREDENTIALS})
        self.assertTrue(problem.startswith("--upstream-credentials-file: cannot be read"), problem)

    def test_override_file(self) -> None:
        """They replace those of the upstream file, and the warning names the namespace."""
        path = self.write(
            "u.yaml",
            f"- {{namespace: docker.io, host: h, tls: false, username: b, password: {SECRET}}}",
        )
        settings = self.load({"upstream-config-file": path}, {"UPSTREAM_CREDENTIALS": CREDENTIALS})
        self.assertEqual(settings.upstreams[0].hosts[0].credentials.username, "alice")
        replaced, plain = settings.warnings
        self.assertIn("UPSTREAM_CREDENTIALS: the credentials for docker.io replace", replaced)
        self.assertIn("tls is false", plain)

    def test_unknown(self) -> None:
        """Those for a registry that is not configured are a warning."""
        path = self.write("u.yaml", QUAY)
        document = CREDENTIALS.replace("docker.io", "ghcr.io")
        flags = {"upstream-config-file": path}
        settings = self.load(flags, {"UPSTREAM_CREDENTIALS": document})
        self.assertEqual([u.namespace for u in settings.upstreams], ["quay.io"])
        self.assertIn("credentials for ghcr.io are ignored", settings.warnings[0])
        settings = self.load(flags, {"UPSTREAM_CREDENTIALS": CREDENTIALS})
        self.assertEqual([u.namespace for u in settings.upstreams], ["quay.io", "docker.io"])
        self.assertEqual(settings.warnings, ())

    def test_several_hosts(self) -> None:
        """Where a registry has mirrors, they go to the registry itself or nowhere."""
        path = self.write("u.yaml", "- {namespace: docker.io, hosts: [m, registry-1.docker.io]}")
        environ = {"UPSTREAM_CREDENTIALS": CREDENTIALS}
        settings = self.load({"upstream-config-file": path}, environ)
        mirror, own = settings.upstreams[0].hosts
        self.assertIsNone(mirror.credentials)
        self.assertEqual(own.credentials.username, "alice")
        self.assertEqual(settings.warnings, ())
        path = self.write("u.yaml", "- {namespace: docker.io, hosts: [m, n]}")
        settings = self.load({"upstream-config-file": path}, environ)
        self.assertEqual([host.credentials for host in settings.upstreams[0].hosts], [None, None])
        (warning,) = settings.warnings
        self.assertIn("UPSTREAM_CREDENTIALS: the credentials for docker.io are ignored", warning)
