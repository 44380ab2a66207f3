"""The hosts of an entry."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.config.files import fingerprint
from oci_registry.config.findings import Findings
from oci_registry.config.hosts import HOST_KEYS, MAX_HOSTS
from oci_registry.config.settings import (
    DIRECT,
    FROM_ENVIRONMENT,
    Credentials,
    HostSettings,
    ProxySettings,
)
from oci_registry.config.upstreams import KEYS, load_upstreams

from .support import SECRET, pem
from .support import HostTestCase as _Case

ALICE = Credentials("alice", SECRET)
PROXY = ProxySettings("proxy", 3128)


class Several(_Case):
    """hosts."""

    def test_order(self) -> None:
        """They keep their order; a text is a host without anything special about it."""
        self.assertEqual(
            self.load("  hosts: [B.example, {host: c.example, tls: false}, 'd.example:5000']"),
            (
                HostSettings("b.example"),
                HostSettings("c.example", tls=False),
                HostSettings("d.example:5000"),
            ),
        )
        self.assert_fine()

    def test_every_key(self) -> None:
        """Every key of an item arrives where it belongs, and in no other host."""
        certificate, key = pem()
        files = [
            self.write(f"{name}.pem", content)
            for name, content in (("ca", pem()[0]), ("cert", certificate), ("key", key))
        ]
        hosts = self.load(
            "  hosts:\n"
            "  - b.example\n"
            "  - host: c.example\n"
            "    tls: true\n"
            "    accept_invalid_certs: true\n"
            "    ca_file: ca.pem\n"
            "    client_cert_file: cert.pem\n"
            "    client_key_file: key.pem\n"
            "    username: alice\n"
            f"    password: {SECRET}\n"
            "    token_servers: [auth.example.net]\n"
            "    proxy: http://proxy:3128\n"
        )
        self.assertEqual(
            hosts,
            (
                HostSettings("b.example"),
                HostSettings(
                    "c.example",
                    tls=True,
                    accept_invalid_certs=True,
                    ca_file=files[0],
                    client_cert_file=files[1],
                    client_key_file=files[2],
                    credentials=ALICE,
                    token_servers=("auth.example.net",),
                    proxy=PROXY,
                    fingerprint=fingerprint(*files),
                ),
            ),
        )
        self.assertEqual(self.findings.problems, [])

    def test_null_is_unset(self) -> None:
        """A key without a value is a key that is not there, hosts itself included."""
        nothing = [f"{key}: null" for key in HOST_KEYS if key != "host"]
        self.assertEqual(self.host(*nothing), HostSettings("b.example"))
        rest = "\n".join(f"  {line}" for line in ("host: null", *nothing))
        self.assertEqual(len(self.load(f"  hosts: [b.example]\n{rest}")), 1)
        self.assertEqual(len(self.load("  hosts: null\n  host: b.example")), 1)
        self.assert_fine()

    def test_merged(self) -> None:
        """Hosts can share keys by merging."""
        hosts = self.load(
            "  hosts:\n"
            f"  - &one {{host: b.example, username: alice, password: {SECRET}}}\n"
            "  - {<<: *one, host: c.example}\n"
        )
        self.assertEqual([host.credentials for host in hosts], [ALICE, ALICE])
        self.assertEqual([host.host for host in hosts], ["b.example", "c.example"])
        self.assert_fine()

    def test_one_of_two(self) -> None:
        """Either host or hosts is required, and not both."""
        self.assertEqual(self.load(""), ())
        self.assert_problem("line 1: host: is required, or hosts")
        self.load("  host: b.example\n  hosts: [c.example]")
        self.assert_problem("entry 1 (a.example), line 2: host: belongs to the items of hosts")

    def test_keys_of_the_entry(self) -> None:
        """What is a host's own must not stand beside hosts, and what is the entry's not in them."""
        for key in HOST_KEYS:
            if key == "proxy":
                continue
            self.load(f"  {key}: b.example\n  hosts: [c.example]")
            self.assert_problem(f"(a.example), line 2: {key}: belongs to the items of hosts")
        for key in set(KEYS) - set(HOST_KEYS):
            self.load(f"  hosts: [{{host: b.example, {key}: null}}]")
            self.assert_refused(f"2: {key}: belongs to the entry, not to a host")

    def test_unknown_key(self) -> None:
        """An unknown key of a host is reported with the nearest of a host."""
        self.load("  hosts: [{host: b.example, hosst: x}]")
        self.assert_refused("'hosst': unknown key; did you mean host?")

    def test_not_a_list(self) -> None:
        """Hosts are a list."""
        for value in ("b.example", "5", "{host: b.example}", "''"):
            self.assertEqual(self.load(f"  hosts: {value}"), ())
            self.assert_problem("(a.example), line 2: hosts: must be a list of hosts")

    def test_number(self) -> None:
        """There is at least one host, and there are not too many."""
        names = [f"host{number}.example" for number in range(MAX_HOSTS + 1)]
        self.assertEqual(len(self.load(f"  hosts: [{', '.join(names[:-1])}]")), MAX_HOSTS)
        self.assert_fine()
        for value, count in ((f"[{', '.join(names)}]", MAX_HOSTS + 1), ("[]", 0)):
            self.assertEqual(self.load(f"  hosts: {value}"), ())
            self.assert_problem(f"line 2: hosts: must be from 1 to {MAX_HOSTS} hosts, not {count}")

    def test_twice(self) -> None:
        """No host is named twice, not by its port either."""
        for one, other in (
            ("b.example", "B.example"),
            ("b.example", "{host: b.example, tls: false}"),
            ("b.example", "'b.example:443'"),
            ("'b.example:443'", "b.example"),
            ("'b.example:80'", "{host: b.example, tls: false}"),
            ("b.example.", "b.example"),
            ("b.example/x", "'b.example:443/x/'"),
        ):
            self.load(f"  hosts:\n  - {one}\n  - c.example\n  - {other}\n")
            self.assert_problem("host 3 (b.example", "line 5: host: b.example", "is given twice")
        self.load("  hosts: [b.example, 'b.example:80', b.example/x, b.example/y, c.b.example]")
        self.assert_fine()

    def test_items(self) -> None:
        """An item that is no host is reported by its number, and the others are read."""
        for item, *parts in (
            ("5", "host: '5' is not a registry host"),
            ("[c.example]", "host: must be text, not a list"),
            ("~", "host: is required"),
            ("{tls: true}", "host: is required"),
            ("''", "host: is empty"),
            (
                f"x:{SECRET}@c.example",
                "host: must be host[:port] or host[:port]/path; put credentials into",
            ),
            ("https://c.example", "host: must be host[:port] or host[:port]/path without a scheme"),
        ):
            hosts = self.load(f"  hosts:\n  - b.example\n  - {item}\n")
            self.assertEqual(hosts, (HostSettings("b.example"),))
            self.assert_problem("entry 1 (a.example), host 2, line 4: ", *parts)

    def test_all_at_once(self) -> None:
        """Every problem of every host is reported."""
        self.load("  hosts: [{host: '', tls: x}, 5, {host: b.example, proxy: x, ca_file: y}]")
        self.assertEqual(len(self.findings.problems), 5, self.findings.problems)

    def test_open_to_others(self) -> None:
        """A password of a host, or of a proxy, in a file that others can read is a warning."""
        for text in (
            f"  hosts: [b.example, {{host: c.example, username: x, password: {SECRET}}}]",
            f"  hosts: [b.example, {{host: c.example, proxy: 'https://x:{SECRET}@proxy'}}]",
            f"  host: b.example\n  proxy: https://x:{SECRET}@proxy",
        ):
            self.assertTrue(self.load(text, 0o644))
            self.assert_fine(warnings=1)
            self.assertIn("contains a password", self.findings.warnings[0])
            self.load(text)
            self.assert_fine()
        self.load("  hosts: [{host: b.example, password: ~, proxy: http://proxy}]", 0o644)
        self.assert_fine()


class ClientCertificates(_Case):
    """client_cert_file and client_key_file."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = pem()
        self.write("cert.pem", self.certificate)
        self.write("key.pem", self.key)
        self.write("both.pem", self.certificate + self.key)

    def test_two_files(self) -> None:
        """Certificate and key are in a file each."""
        host = self.host("client_cert_file: cert.pem", "client_key_file: key.pem")
        self.assertEqual(host.client_cert_file, str(self.directory / "cert.pem"))
        self.assertEqual(host.client_key_file, str(self.directory / "key.pem"))
        self.assert_fine()

    def test_one_file(self) -> None:
        """Without a file for the key it is in that of the certificate."""
        both = str(self.directory / "both.pem")
        for lines in ([], ["client_key_file: both.pem"]):
            host = self.host("client_cert_file: both.pem", *lines)
            self.assertEqual((host.client_cert_file, host.client_key_file), (both, both))
        self.assert_fine()

    def test_other_content(self) -> None:
        """Files that have got other content make another host of it."""
        lines = ("client_cert_file: cert.pem", "client_key_file: key.pem")
        before = self.host(*lines)
        self.assertEqual(self.host(*lines), before)
        certificate, key = pem()
        self.write("cert.pem", certificate)
        self.write("key.pem", key)
        self.assertNotEqual(self.host(*lines), before)
        self.assert_fine()

    def test_open_to_others(self) -> None:
        """A key that others can read is a warning; a certificate may be read by all."""
        self.write("cert.pem", self.certificate, 0o644)
        self.host("client_cert_file: cert.pem", "client_key_file: key.pem")
        self.assert_fine()
        self.write("key.pem", self.key, 0o644)
        self.host("client_cert_file: cert.pem", "client_key_file: key.pem")
        self.assert_fine(warnings=1)
        self.assertIn("client_key_file: ", self.findings.warnings[0])
        self.assertIn("key.pem can be read or changed", self.findings.warnings[0])
        self.write("both.pem", self.certificate + self.key, 0o640)
        self.host("client_cert_file: both.pem")
        self.assert_fine(warnings=1)
        self.assertIn("client_cert_file: ", self.findings.warnings[0])

    def test_refused(self) -> None:
        """What is wrong is reported with key and file, and nothing out of it."""
        self.write("other.pem", pem()[1])
        self.write("broken.pem", self.certificate[:100])
        for lines, *parts in (
            (["client_key_file: key.pem"], "client_key_file: requires client_cert"),
            (
                ["client_cert_file: cert.pem"],
                "client_cert_file: ",
                "cert.pem contains no private key",
            ),
            (["client_cert_file: missing"], "client_cert_file: ", "missing cannot be read"),
            (
                ["client_cert_file: key.pem"],
                "client_cert_file: ",
                "key.pem contains no certificate",
            ),
            (["client_cert_file: broken.pem"], "broken.pem contains an invalid certificate"),
            (["client_cert_file: {}"], "client_cert_file: must be text"),
            (
                ["client_cert_file: cert.pem", "client_key_file: missing"],
                *("client_key_file: ", "missing cannot be read"),
            ),
            (
                ["client_cert_file: both.pem", "client_key_file: cert.pem"],
                *("client_key_file: ", "cert.pem contains no private key"),
            ),
            (
                ["client_cert_file: cert.pem", "client_key_file: other.pem"],
                *("client_key_file: ", "other.pem contains a private key that does not match"),
            ),
            (
                ["client_cert_file: cert.pem", "client_key_file: [x]"],
                "client_key_file: must be text",
            ),
        ):
            host = self.host(*lines)
            self.assertEqual((host.client_cert_file, host.client_key_file), (None, None))
            self.assert_refused(*parts)
            self.assertNotIn("-----", self.findings.problems[0])


class Passwords(_Case):
    """password_file."""

    def test_open_to_others(self) -> None:
        """A file with a password that others can read is a warning."""
        self.write("secret", SECRET, 0o644)
        host = self.host("username: alice", "password_file: secret")
        self.assertEqual(host.credentials, ALICE)
        self.assert_fine(warnings=1)
        self.assertIn("password_file: ", self.findings.warnings[0])
        self.assertIn("secret can be read or changed", self.findings.warnings[0])


class Proxies(_Case):
    """proxy."""

    def test_proxy(self) -> None:
        """A URL is a proxy, with credentials if they are in it."""
        self.assertEqual(self.host("proxy: http://proxy:3128").proxy, PROXY)
        proxy = self.host(f"proxy: 'https://alice:{SECRET}@proxy'").proxy
        self.assertEqual(proxy, ProxySettings("proxy", 443, True, ALICE))
        self.assert_fine()

    def test_none(self) -> None:
        """None means directly, whatever the environment says."""
        for text in ("none", "None", "' NONE '"):
            self.assertEqual(self.host(f"proxy: {text}").proxy, DIRECT)
        self.assertEqual(self.host("tls: true").proxy, FROM_ENVIRONMENT)
        self.assert_fine()

    def test_for_all_hosts(self) -> None:
        """That of the entry is for the hosts that have none of their own."""
        own = "[b.example, {host: c.example, proxy: none}, {host: d.example, proxy: http://own}]"
        for proxy, expected in (
            ("http://proxy:3128", PROXY),
            ("none", DIRECT),
            ("null", FROM_ENVIRONMENT),
        ):
            hosts = self.load(f"  hosts: {own}\n  proxy: {proxy}")
            self.assertEqual(
                [host.proxy for host in hosts],
                [expected, DIRECT, ProxySettings("own", 80)],
            )
            self.assert_fine()

    def test_refused(self) -> None:
        """What is no proxy is reported without any of it."""
        for value, reason in {
            "proxy:3128": "must be http://[USER:PASSWORD@]HOST[:PORT] or https://...",
            "direct": "to use no proxy, write none",
            f"socks5://x:{SECRET}@proxy": "SOCKS proxies are not supported",
            f"http://x:{SECRET}": "must be http://",
            "5": "must be http://",
        }.items():
            self.assertEqual(self.host(f"proxy: '{value}'").proxy, FROM_ENVIRONMENT)
            self.assert_refused("proxy: ", reason)
        self.load(f"  hosts: [b.example, c.example]\n  proxy: ftp://{SECRET}")
        self.assert_problem("(a.example), line 3: proxy: must be http://")


class Anything(_Case):
    """Documents as they come."""

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.sampled_from(["b", "c:1", SECRET, ""]),
            lambda values: (
                st.lists(values, max_size=3)
                | st.dictionaries(st.sampled_from([*KEYS, "x"]), values, max_size=4)
            ),
            max_leaves=8,
        )
    )
    def test_anything(self, hosts: object) -> None:
        """Whatever stands at hosts gives hosts, or problems, and never an error."""
        document = json.dumps([{"namespace": "a.example", "hosts": hosts}])
        findings = Findings()
        loaded = load_upstreams(self.write("any.yaml", document), findings)
        self.assertTrue(findings.problems or loaded)
        names = [host.name for upstream in loaded for host in upstream.hosts]
        self.assertTrue(findings.problems or len(names) == len(set(names)))
