"""The upstream file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.files import fingerprint
from oci_registry.config.findings import Findings
from oci_registry.config.settings import Credentials, UpstreamSettings
from oci_registry.config.upstreams import KEYS, load_upstreams
from oci_registry.spec.durations import format_duration
from tests.support.settings import upstream_settings

from .support import SECRET, ConfigTestCase, pem


class _Case(ConfigTestCase):
    """Loads upstream files from text."""

    def load(self, text: str, mode: int = 0o600) -> tuple[UpstreamSettings, ...]:
        self.path = self.write("upstreams.yaml", text, mode)
        return load_upstreams(self.path, self.findings)

    def load_with(self, *lines: str) -> UpstreamSettings:
        """The upstream of an entry that has, besides what is required, these lines."""
        self.findings.problems.clear()
        rest = "".join(f"  {line}\n" for line in lines)
        loaded = self.load(f"- namespace: a.example\n  host: b.example\n{rest}")
        self.assertEqual(len(loaded), 1)
        return loaded[0]


class Entries(_Case):
    """Files that are fine."""

    def test_shortest(self) -> None:
        """Namespace and host suffice; everything else has its default."""
        self.assertEqual(
            self.load("- namespace: Quay.IO\n  host: Quay.io:443\n"),
            (upstream_settings(namespace="quay.io", host="quay.io:443"),),
        )
        self.assert_fine()

    def test_every_key(self) -> None:
        """Every key arrives where it belongs."""
        ca_file = self.write("ca.pem", pem()[0])
        upstream = self.load_with(
            "tls: true",
            "accept_invalid_certs: true",
            "ca_file: ca.pem",
            "user_agent: containerd/1.6.8",
            "username: alice",
            f"password: {SECRET}",
            "proxy: none",
            "manifest_invalidation_time: 1h 30m",
            "stale_while_revalidate: 1m",
            "stale_if_error: 0s",
            "blob_invalidation_time: 0s",
            "connect_timeout: 1s",
            "response_timeout: 2s",
            "body_timeout: 3s",
            "remember_not_found: 0s",
            "remember_denied: 4s",
            "trust_not_found: false",
            "retries: 0",
            "max_connections: 2",
            "prefetch: true",
            "rate_limit_reserve: 0",
            "keep_newest_tags: 3",
        )
        self.assertEqual(
            upstream,
            upstream_settings(
                namespace="a.example",
                host="b.example",
                tls=True,
                accept_invalid_certs=True,
                ca_file=ca_file,
                fingerprint=fingerprint(ca_file),
                user_agent="containerd/1.6.8",
                credentials=Credentials(username="alice", password=SECRET),
                proxy="none",
                manifest_invalidation_time=5400,
                stale_while_revalidate=60,
                stale_if_error=0,
                blob_invalidation_time=0,
                connect_timeout=1,
                response_timeout=2,
                body_timeout=3,
                remember_not_found=0,
                remember_denied=4,
                trust_not_found=False,
                retries=0,
                max_connections=2,
                prefetch=True,
                rate_limit_reserve=0,
                keep_newest_tags=3,
            ),
        )
        self.assert_fine()

    def test_prefetch_offline(self) -> None:
        """A registry that is never asked has nothing to prefetch, which is a warning."""
        self.load_with("prefetch: true", "offline: true")
        self.assertIn("has no effect", "\n".join(self.findings.warnings))

    def test_null_is_unset(self) -> None:
        """A key without a value is a key that is not there."""
        optional = [f"{key}: null" for key in KEYS if key not in ("namespace", "host")]
        self.assertEqual(
            self.load_with(*optional), upstream_settings(namespace="a.example", host="b.example")
        )
        self.assert_fine()

    def test_order(self) -> None:
        """The upstreams keep the order of the file, and aliases become the one name."""
        loaded = self.load(
            "- {namespace: b, host: b}\n"
            "- {namespace: index.docker.io, host: registry-1.docker.io}\n"
            "- {namespace: a, host: a}\n"
        )
        self.assertEqual([upstream.namespace for upstream in loaded], ["b", "docker.io", "a"])
        self.assert_fine()

    def test_password_file(self) -> None:
        """The password is read from a file beside this one, without the line's end."""
        for content in (SECRET, f"{SECRET}\n", f"{SECRET}\r\n"):
            self.write("secret", content)
            upstream = self.load_with("username: alice", "password_file: secret")
            self.assertEqual(upstream.hosts[0].credentials, Credentials("alice", SECRET))
        absolute = self.load_with("username: alice", f"password_file: {self.directory}/secret")
        self.assertEqual(absolute.hosts[0].credentials, Credentials("alice", SECRET))
        self.assert_fine()

    def test_no_entries(self) -> None:
        """A file without an upstream is a warning and not a problem."""
        for text in ("", "[]", "# nothing\n"):
            self.findings.warnings.clear()
            self.assertEqual(self.load(text), ())
            self.assert_fine(warnings=1)
            self.assertIn("contains no upstream", self.findings.warnings[0])

    def test_open_to_others(self) -> None:
        """A password in a file that others can read is a warning; without one it is none."""
        text = f"- {{namespace: a, host: a, username: alice, password: {SECRET}}}"
        self.load(text, mode=0o644)
        self.assert_fine(warnings=1)
        self.assertIn("mode 0644", self.findings.warnings[0])
        self.load("- {namespace: a, host: a, password: null}", mode=0o644)
        self.assert_fine(warnings=1)

    def test_patience(self) -> None:
        """A wait for headers as long as that of clients, or longer, is a warning."""
        for text, warnings in (("29s 999ms", 0), ("30s", 1), ("1h", 1)):
            self.findings.warnings.clear()
            self.load_with(f"response_timeout: {text}")
            self.assert_fine(warnings)
        for part in ("entry 1 (a.example), line 3: response_timeout: ", "containerd", "30s"):
            self.assertIn(part, self.findings.warnings[0])

    @given(st.integers(0, 100 * 365 * 86400))
    def test_any_duration(self, seconds: int) -> None:
        """Durations mean what they say."""
        path = self.write(
            "d.yaml",
            f"- {{namespace: a, host: a, blob_invalidation_time: {format_duration(seconds)}}}",
        )
        (upstream,) = load_upstreams(path, Findings())
        self.assertEqual(upstream.blob_invalidation_time, seconds)

    def test_user_agent(self) -> None:
        """A user agent may look like a number, and an empty one counts as not given."""
        for written, expected in {"1.10": "1.10", "5": "5", "''": None, '""': None}.items():
            path = self.write(
                "u.yaml", f"- namespace: a.example\n  host: a.example\n  user_agent: {written}\n"
            )
            (upstream,) = load_upstreams(path, self.findings)
            self.assertEqual(upstream.user_agent, expected)
            self.assert_fine()


class Problems(_Case):
    """Everything that can be wrong with an entry."""

    def test_values(self) -> None:
        """A bad value is a problem that names file, entry, namespace, line, key and reason."""
        for line, *parts in (
            ("tls: 'true'", "tls: must be true or false, not text"),
            ("tls: 1", "tls: must be true or false, not a whole number"),
            ("accept_invalid_certs: maybe", "accept_invalid_certs: must be true or false"),
            ("user_agent: [a]", "user_agent: must be text, not a list"),
            ('user_agent: "a\\r\\nX-Evil: b"', "user_agent: must be printable ASCII"),
            ("manifest_invalidation_time: 14", "manifest_invalidation_time:", "needs a unit"),
            ("blob_invalidation_time: soon", "blob_invalidation_time: bad duration 'soon'"),
            ("blob_invalidation_time: 1.5", "must be a duration such as 14d, not a number"),
            ("blob_invalidation_time: true", "must be a duration"),
            ("ca_file: missing.pem", "ca_file:", "missing.pem cannot be read: No such file"),
            ("connect_timeout: 0s", "connect_timeout: must be longer than 0s"),
            ("response_timeout: 0", "response_timeout: must be longer than 0s"),
            ("body_timeout: 0m", "body_timeout: must be longer than 0s"),
            ("body_timeout: 60", "body_timeout: ", "needs a unit"),
            ("stale_if_error: never", "stale_if_error: bad duration 'never'"),
            ("stale_while_revalidate: [1s]", "stale_while_revalidate: must be a duration"),
            ("remember_not_found: true", "remember_not_found: must be a duration"),
            ("remember_denied: -1s", "remember_denied: ", "negative"),
            ("trust_not_found: 1", "trust_not_found: must be true or false"),
            ("retries: 101", "retries: must be a whole number from 0 to 100"),
            ("retries: -1", "retries: must be a whole number from 0 to 100"),
            ("retries: '8'", "retries: must be a whole number from 0 to 100, not text"),
            ("max_connections: 1", "max_connections: must be a whole number from 2 to 10000"),
            ("max_connections: 10001", "max_connections: must be a whole number from 2 to 10000"),
            ("proxy: proxy:3128", "proxy: must be http://"),
            ("tsl: true", "'tsl': unknown key; did you mean tls?"),
            ("wibble: true", "'wibble': unknown key; known: accept_invalid_certs,"),
        ):
            self.load_with(line)
            self.assert_problem(f"{self.path}: entry 1 (a.example), line 3: ", *parts)

    def test_passwords(self) -> None:
        """Nothing that is said about a password repeats it."""
        self.write("empty", "\n")
        self.write("binary", b"\xff")
        self.write("secret", SECRET)
        for lines, *parts in (
            ([f"password: {SECRET}"], "password: requires username"),
            (["password_file: secret"], "password_file: requires username"),
            ([f"username: [{SECRET}]", "password: x"], "username: must be text"),
            (["username: a", f"password: [{SECRET}]"], "password: must be text, not a list"),
            (["username: a", f"password: !{SECRET} x"], "password: must be text"),
            (["username: a", f'password: "{SECRET}\\x01"'], "control characters"),
            (
                ["username: a", f"password: {SECRET}", "password_file: secret"],
                "line 5: password_file: cannot be combined with password",
            ),
            (["username: a", "password_file: missing"], "missing cannot be read"),
            (["username: a", "password_file: empty"], "empty is empty"),
            (["username: a", "password_file: binary"], "binary is not UTF-8"),
            (["username: a", f"password:{SECRET}: x"], "'password...': unknown key"),
        ):
            self.findings.problems.clear()
            text = "".join(f"  {line}\n" for line in lines)
            self.load(f"- namespace: a.example\n  host: b.example\n{text}")
            problems = "\n".join(self.findings.problems)
            for part in parts:
                self.assertIn(part, problems)
            self.assert_discreet()

    def test_required(self) -> None:
        """Namespace and host are required, and null is not enough."""
        self.assertEqual(self.load("- {}\n- {namespace: null, host: a}\n- {namespace: a}\n"), ())
        self.assertEqual(
            [problem.removeprefix(f"{self.path}: ") for problem in self.findings.problems],
            [
                "entry 1, line 1: namespace: is required",
                "entry 1, line 1: host: is required, or hosts",
                "entry 2, line 2: namespace: is required",
                "entry 3 (a), line 3: host: is required, or hosts",
            ],
        )

    def test_names(self) -> None:
        """Namespaces and hosts that are none are refused, credentials in them not repeated."""
        for namespace, host, part in (
            ("a/b", "a", "namespace: "),
            ("''", "a", "namespace: is empty"),
            ("[a]", "a", "namespace: must be text"),
            (
                "a",
                "https://quay.io/",
                "host: must be host[:port] or host[:port]/path without a scheme: write 'quay.io'",
            ),
            (
                "a",
                f"x:{SECRET}@quay.io",
                "host: must be host[:port] or host[:port]/path; put credentials into",
            ),
            (f"x:{SECRET}@a", "a", "namespace: must be host[:port]; put credentials into"),
            ("a", "quay.io/v2", "without v2: write 'quay.io'"),
            ("a", "quay.io:99999", "host: 'quay.io:99999' is not"),
        ):
            self.findings.problems.clear()
            self.assertEqual(self.load(f"- namespace: {namespace}\n  host: {host}\n"), ())
            self.assert_problem(part)

    def test_twice(self) -> None:
        """A registry is configured once, by whichever of its names."""
        loaded = self.load(
            "- {namespace: docker.io, host: a}\n- {namespace: registry-1.docker.io, host: b}\n"
        )
        self.assertEqual([upstream.hosts[0].host for upstream in loaded], ["a"])
        self.assert_problem("entry 2 (docker.io), line 2: namespace", "first in line 1")

    def test_all_at_once(self) -> None:
        """Every problem of every entry is reported."""
        self.load(
            "- {namespace: a, host: '', tls: x, blob_invalidation_time: 1}\n- {host: a}\n- x\n"
        )
        self.assertEqual(len(self.findings.problems), 5, self.findings.problems)

    def test_ca_file(self) -> None:
        """What holds no certificate, or a broken one, is refused."""
        certificate, key = pem()
        self.write("key.pem", key)
        self.write("broken.pem", certificate.replace(b"M", b"!", 3))
        self.write("cut.pem", certificate[:100])
        for name, part in {
            "key.pem": "contains no certificate in PEM format",
            "broken.pem": "contains an invalid certificate",
            "cut.pem": "contains an invalid certificate",
            ".": "Is a directory",
        }.items():
            self.load_with(f"ca_file: {name}")
            self.assert_problem("ca_file: ", part)

    def test_file(self) -> None:
        """A file that cannot be used at all is one problem and no warning."""
        missing = str(self.directory / "missing.yaml")
        self.assertEqual(load_upstreams(missing, self.findings), ())
        self.assert_problem(missing, "No such file")
        self.findings.problems.clear()
        self.load("a: b")
        self.assert_problem("must be a list")
        self.findings.problems.clear()
        self.load(": : :\n  - {")
        self.assert_problem("is not YAML")
        self.findings.problems.clear()
        self.load("#" * (1024 * 1024 + 1))
        self.assert_problem("longer than")
        self.assertEqual(self.findings.warnings, [])


class Keeping(_Case):
    """What is kept of an upstream, and how much."""

    def test_pin(self) -> None:
        """Patterns are read; those of docker.io may lack ``library/``."""
        self.assertEqual(
            [*map(str, self.load_with('pin: ["team/*", "a:3.*"]').pin)], ["team/*", "a:3.*"]
        )
        (hub,) = self.load(
            "- namespace: docker.io\n  host: b.example\n  pin: [alpine, 'x*', a/b]\n"
        )
        self.assertEqual([*map(str, hub.pin)], ["library/alpine", "x*", "a/b"])
        self.assert_fine()

    def test_wrong_patterns(self) -> None:
        """What is no list of patterns is refused, with the number of the item."""
        for value, reason in (
            ("team/*", "must be a list"),
            ("[a, b@sha256:0]", "item 2: .* has a digest"),
            ("[{}]", "item 1 must be text"),
            (f"[{', '.join(['a'] * 201)}]", "at most 200"),
        ):
            self.load_with(f"pin: {value}")
            self.assertRegex("\n".join(self.findings.problems), reason)

    def test_max_size(self) -> None:
        """A size is of bytes, and not smaller than a useful one."""
        size = self.load_with("max_size: 50 GiB").max_size
        self.assertEqual(size and size.bytes, 50 * 2**30)
        self.assert_fine()
        for value, reason in (
            ("80%", "must not be a share; accepted: [^%]*$"),
            ("1MiB", "too small"),
            ("7", "needs a unit"),
        ):
            self.load_with(f"max_size: {value}")
            self.assertRegex("\n".join(self.findings.problems), reason)

    def test_all_others(self) -> None:
        """All registries without an entry can have pins, but no limit together."""
        (others,) = self.load("- namespace: '*'\n  host: '*'\n  pin: [a]\n")
        self.assertEqual([*map(str, others.pin)], ["a"])
        self.assert_fine()
        self.load("- namespace: '*'\n  host: '*'\n  max_size: 50GiB\n")
        self.assertRegex(
            "\n".join(self.findings.problems), "max_size: is not allowed .* --max-size"
        )
