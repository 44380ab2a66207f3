"""Credentials from JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.credentials import (
    apply_credentials,
    make_credentials,
    parse_credentials,
    parse_token_server,
    warn_of_exposure,
)
from oci_registry.config.findings import Findings
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    Credentials,
    HostSettings,
    ProxySettings,
    UpstreamSettings,
)
from tests.support.settings import upstream_settings

from .support import SECRET, ConfigTestCase

ALICE = Credentials(username="alice", password=SECRET)
KEY_FILE = json.dumps({"type": "service_account", "private_key": f"-----\n{SECRET}\n"}, indent=2)
ALICE_JSON = json.dumps({"username": "alice", "password": SECRET})


class Making(ConfigTestCase):
    """make_credentials."""

    def test_made(self) -> None:
        """Anything that Basic authentication can carry is accepted."""
        self.assertEqual(make_credentials("alice", SECRET), ALICE)
        self.assertEqual(make_credentials("a b", "ä:☃ ").password, "ä:☃ ")
        self.assertEqual(make_credentials("a:b", "c"), Credentials("a:b", "c"))
        self.assertEqual(make_credentials("alice", None), Credentials("alice", ""))

    def test_key_file(self) -> None:
        """A password may be a document of several lines, as Google's key files are."""
        for password in (KEY_FILE, f"{SECRET}\r\n\t{SECRET}"):
            self.assertEqual(make_credentials("_json_key", password).password, password)

    def test_refused(self) -> None:
        """What it cannot carry is refused, without being repeated."""
        for username, password, reason in (
            ("", SECRET, "username is empty"),
            ("alice", "", "password is empty"),
            (f"{SECRET}\n", SECRET, "username contains control"),
            (f"{SECRET}\t", SECRET, "username contains control"),
            ("alice", f"{SECRET}\x00", "password contains control"),
            ("alice", f"{SECRET}\x1b[0m", "password contains control"),
            ("alice", f"{SECRET}\x7f", "password contains control"),
            ("alice", f"{SECRET}\ud800", "password cannot be written in UTF-8"),
        ):
            error = self.assertRaises(ValueError, make_credentials, username, password)
            self.assertIn(reason, str(error))
            self.assertNotIn(SECRET, str(error))


class TokenServers(ConfigTestCase):
    """parse_token_server."""

    def test_server(self) -> None:
        """A host is read, with a port or without, in lower case."""
        for text, expected in {
            "Auth.example.NET": "auth.example.net",
            " auth:5001 ": "auth:5001",
            "10.0.0.1": "10.0.0.1",
            "[::1]:5001": "[::1]:5001",
        }.items():
            self.assertEqual(parse_token_server(text), expected)

    def test_refused(self) -> None:
        """Anything else is refused, and no password written into it is repeated."""
        for text in ("", "https://auth", "auth/token", f"x:{SECRET}@auth", "*.example.net", "a b"):
            error = self.assertRaises(ValueError, parse_token_server, text)
            self.assertNotIn(SECRET, str(error))

    @given(st.text() | st.from_regex(r"\A[a-z0-9.-]{1,12}(:[0-9]{1,5})?\Z"))
    def test_anything(self, text: str) -> None:
        """Any text is a server, or refused, and a server is read as itself."""
        try:
            server = parse_token_server(text)
        except ValueError:
            return
        self.assertEqual(parse_token_server(server), server)


class Parsing(ConfigTestCase):
    """parse_credentials."""

    def parse(self, document: str | bytes) -> dict[str, Credentials]:
        return parse_credentials(document, "HERE", self.findings)

    def test_by_namespace(self) -> None:
        """Credentials are found by namespace, in lower case and by one name of a registry."""
        found = self.parse(
            f'{{"Quay.IO": {ALICE_JSON}, "index.docker.io": {ALICE_JSON}, "mirror": {ALICE_JSON}}}'
        )
        self.assertEqual(found, {"quay.io": ALICE, "docker.io": ALICE, "mirror": ALICE})
        self.assert_fine()

    def test_key_file(self) -> None:
        """The text of a key file, line ends included, is a password like any other."""
        document = json.dumps({"gcr.io": {"username": "_json_key", "password": KEY_FILE}})
        self.assertEqual(self.parse(document), {"gcr.io": Credentials("_json_key", KEY_FILE)})
        self.assert_fine()

    def test_none(self) -> None:
        """An empty object is fine."""
        self.assertEqual(self.parse(" {} "), {})
        self.assert_fine()

    def test_bytes(self) -> None:
        """A file may begin with a byte order mark."""
        self.assertEqual(self.parse(b'\xef\xbb\xbf{"a": %s}' % ALICE_JSON.encode()), {"a": ALICE})
        self.assert_fine()

    def test_the_rest_is_read(self) -> None:
        """One bad entry does not hide the others, neither their problems."""
        found = self.parse(f'{{"a": 1, "b": {ALICE_JSON}, "c": []}}')
        self.assertEqual(found, {"b": ALICE})
        self.assertEqual(len(self.findings.problems), 2)

    def test_problems(self) -> None:
        """What is wrong is reported by place and reason, and nothing of the document with it."""
        for document, *parts in (
            ("", "not JSON", "line 1, column 1"),
            (f'{{"a": {{"username": "x",\n "password": {SECRET}}}}}', "line 2, column 14"),
            (f'{{"a": {{"username": "x", "password": "{SECRET}}}}}', "Unterminated"),
            (f'{{"a": "\\{SECRET}"}}', "Invalid escape"),
            (f'{{"a": {ALICE_JSON}}} {SECRET}', "Extra data"),
            (f"'{SECRET}'", "not JSON"),
            (SECRET, "not JSON"),
            (f'"{SECRET}"', "must be a JSON object by namespace, not text"),
            (f'["{SECRET}"]', "not a list"),
            ("null", "not null"),
            ("true", "not true or false"),
            ("7", "not a number"),
            (f'{{"https://x:{SECRET}@docker.io": {ALICE_JSON}}}', "key 1 is not the namespace"),
            (f'{{"a/b": {ALICE_JSON}}}', "key 1 is not the namespace"),
            (f'{{"docker.io": "alice:{SECRET}"}}', "HERE: docker.io", "not text"),
            ('{"docker.io": null}', "docker.io: must be an object", "not null"),
            (f'{{"a": {{"{SECRET}": "x"}}}}', "a: the username is missing"),
            (f'{{"a": {{"username": "x", "username": "{SECRET}"}}}}', "username is given twice"),
            (f'{{"a": {{"username": "x", "password": ["{SECRET}"]}}}}', "must be text, not a list"),
            (f'{{"a": {{"password": "{SECRET}"}}}}', "the username is missing"),
            ('{"a": {"username": "x"}}', "the password is missing"),
            ('{"a": {"username": "x", "password": ""}}', "the password is empty"),
            (f'{{"a": {{"username": "x", "password": "{SECRET}\\ud800"}}}}', "UTF-8"),
            ("[" * 100_000, "nested too deeply"),
            ("9" * 10_000, "far too large"),
            (b'{"a": "\xff"}', "not UTF-8, at byte 7"),
        ):
            self.findings.problems.clear()
            self.assertEqual(self.parse(document), {}, document[:80])
            self.assert_problem("HERE", *parts)

    def test_further_keys(self) -> None:
        """Other keys are ignored with a warning that does not repeat them."""
        given = {"auth": SECRET, "username": "alice", SECRET: [1], "password": SECRET}
        self.assertEqual(self.parse(json.dumps({"a": given})), {"a": ALICE})
        self.assert_fine(warnings=2)
        for number, warning in zip((1, 3), self.findings.warnings, strict=True):
            self.assertIn(
                f"HERE: a: key {number} is ignored: it is neither username nor password", warning
            )

    def test_colon(self) -> None:
        """A colon in a user name is a warning."""
        document = json.dumps({"a": {"username": "a:b", "password": SECRET}})
        self.assertEqual(self.parse(document), {"a": Credentials("a:b", SECRET)})
        self.assert_fine(warnings=1)
        self.assertIn("HERE: a: the username contains a colon", self.findings.warnings[0])

    def test_twice(self) -> None:
        """A registry is given once, by whichever of its names; the first one counts."""
        for first, second in (("a", "a"), ("docker.io", "index.docker.io")):
            self.findings.problems.clear()
            bob = '{"username": "bob", "password": "x"}'
            found = self.parse(f'{{"{first}": {ALICE_JSON}, "{second}": {bob}}}')
            self.assertEqual(found, {first: ALICE})
            self.assert_problem(f"HERE: {first} is given twice")

    @given(st.text(alphabet='{}[]":, \\ux1ensr', max_size=40) | st.binary(max_size=20))
    def test_anything(self, document: str | bytes) -> None:
        """Any document gives credentials, or problems, and never an error."""
        findings = Findings()
        found = parse_credentials(document, "HERE", findings)
        self.assertTrue(findings.problems or json.loads(document) == {} or found)

    @given(
        st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1)
    )
    def test_any_password(self, password: str) -> None:
        """Every printable password survives, however JSON writes it."""
        findings = Findings()
        document = json.dumps({"a": {"username": "x", "password": password}})
        (credentials,) = parse_credentials(document, "HERE", findings).values()
        self.assertEqual(credentials.password, password)


class Applying(ConfigTestCase):
    """apply_credentials."""

    def apply(
        self,
        upstreams: tuple[UpstreamSettings, ...],
        namespace: str,
        *,
        allow_dynamic: bool = True,
    ) -> tuple[UpstreamSettings, ...]:
        return apply_credentials(
            upstreams, {namespace: ALICE}, "HERE", self.findings, allow_dynamic=allow_dynamic
        )

    def test_given_to_the_upstream(self) -> None:
        """They go to the upstream of their namespace and to no other."""
        upstreams = tuple(
            upstream_settings(namespace=n, host=n) for n in ("a.example", "b.example")
        )
        first, second = self.apply(upstreams, "b.example")
        self.assertEqual((first.hosts[0].credentials, second.hosts[0].credentials), (None, ALICE))
        self.assert_fine()

    def test_override(self) -> None:
        """They replace those of the upstream file, with a warning that names the namespace."""
        old = Credentials(username="bob", password=SECRET)
        upstream = upstream_settings(namespace="a.example", host="a.example", credentials=old)
        (changed,) = self.apply((upstream,), "a.example")
        self.assertEqual(changed.hosts[0].credentials, ALICE)
        self.assert_fine(warnings=1)
        self.assertIn("HERE: the credentials for a.example replace", self.findings.warnings[0])

    def hosts(self, namespace: str, *names: str) -> UpstreamSettings:
        return UpstreamSettings(namespace, tuple(HostSettings(name) for name in names))

    def test_own_host(self) -> None:
        """Of several hosts the one with the registry's own name gets them, and no mirror does."""
        for namespace, own in (
            ("a.example", "a.example"),
            ("docker.io", "registry-1.docker.io"),
            ("docker.io", "docker.io"),
            ("a.example:5000", "a.example:5000"),
        ):
            upstream = self.hosts(namespace, "mirror.example", own, "a.example.evil")
            (changed,) = self.apply((upstream,), namespace)
            self.assertEqual([host.host for host in changed.hosts if host.credentials], [own])
            self.assertEqual(
                [host.host for host in changed.hosts], ["mirror.example", own, "a.example.evil"]
            )
            self.assertEqual(changed.hosts[1].credentials, ALICE)
        self.assert_fine()

    def test_no_own_host(self) -> None:
        """Where none has it they are not used, with a warning that says where they belong."""
        upstream = self.hosts("a.example", "b.example", "c.example", "a.example:5000")
        self.assertEqual(self.apply((upstream,), "a.example"), (upstream,))
        self.assert_fine(warnings=1)
        for part in ("HERE: the credentials for a.example are ignored", "set them on its hosts"):
            self.assertIn(part, self.findings.warnings[0])

    def test_only_host(self) -> None:
        """An only host gets them, whatever its name."""
        (changed,) = self.apply((self.hosts("a.example", "b.example"),), "a.example")
        self.assertEqual(changed.hosts[0].credentials, ALICE)
        self.assert_fine()

    def test_override_of_several(self) -> None:
        """Those that the own host has already are replaced, with a warning; others stay."""
        bob = Credentials(username="bob", password=SECRET)
        upstream = UpstreamSettings(
            "a.example",
            (
                HostSettings("b.example", credentials=bob),
                HostSettings("a.example", credentials=bob),
            ),
        )
        (changed,) = self.apply((upstream,), "a.example")
        self.assertEqual([host.credentials for host in changed.hosts], [bob, ALICE])
        self.assert_fine(warnings=1)

    def test_unknown(self) -> None:
        """Those for an upstream that nobody configured are not used, with a warning."""
        self.assertEqual(self.apply(BUILTIN_UPSTREAMS, "quay.io"), BUILTIN_UPSTREAMS)
        self.assert_fine(warnings=1)
        self.assertIn("for quay.io are ignored", self.findings.warnings[0])

    def test_built_in(self) -> None:
        """docker.io is known without being configured, unless only configured ones are."""
        (added,) = self.apply((), "docker.io")
        self.assertEqual(
            (added.hosts[0].host, added.hosts[0].credentials), ("registry-1.docker.io", ALICE)
        )
        self.assert_fine()
        self.assertEqual(self.apply((), "docker.io", allow_dynamic=False), ())
        self.assert_fine(warnings=1)


class Exposure(ConfigTestCase):
    """warn_of_exposure."""

    def test_on_the_wire(self) -> None:
        """Credentials that travel in the clear, or to anybody, are a warning each."""
        name = {"namespace": "a.example", "host": "a.example"}
        warn_of_exposure(
            (
                upstream_settings(**name, tls=False, credentials=ALICE),
                upstream_settings(**name, accept_invalid_certs=True, credentials=ALICE),
                upstream_settings(**name, credentials=ALICE),
                upstream_settings(**name, tls=False, accept_invalid_certs=True),
            ),
            self.findings,
        )
        self.assert_fine(warnings=2)
        plain, trusting = self.findings.warnings
        self.assertIn("upstream a.example: tls is false", plain)
        self.assertIn("upstream a.example: accept_invalid_certs", trusting)

    def test_of_several_hosts(self) -> None:
        """Where there are several hosts, the one is named."""
        hosts = (HostSettings("a.example"), HostSettings("b.example", tls=False, credentials=ALICE))
        warn_of_exposure((UpstreamSettings("a.example", hosts),), self.findings)
        self.assert_fine(warnings=1)
        self.assertIn("upstream a.example, host b.example: tls", self.findings.warnings[0])

    def test_to_a_proxy(self) -> None:
        """Credentials for a proxy are warned of in the same way."""
        name = {"namespace": "a.example", "host": "a.example"}
        warn_of_exposure(
            (
                upstream_settings(**name, proxy=ProxySettings("p", 80, credentials=ALICE)),
                upstream_settings(**name, proxy=ProxySettings("p", 80, True, ALICE)),
                upstream_settings(**name, proxy=ProxySettings("p", 80), credentials=ALICE),
            ),
            self.findings,
        )
        self.assert_fine(warnings=1)
        self.assertIn(
            "upstream a.example: the proxy is reached over http", self.findings.warnings[0]
        )
