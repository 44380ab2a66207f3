"""Passwords and token servers of a host."""

from __future__ import annotations

from oci_registry.config.settings import Credentials

from .support import SECRET, HostTestCase


class KeyFiles(HostTestCase):
    """A key file as password_file."""

    def test_key_file(self) -> None:
        """A key file of several lines is a password as it is, but for the line ends at its end."""
        document = f'{{\n  "type": "service_account",\n\t"private_key": "{SECRET}"\n}}'
        self.write("key.json", document + "\r\n\n", 0o600)
        host = self.host("username: _json_key", "password_file: key.json")
        self.assertEqual(host.credentials, Credentials("_json_key", document))
        self.assert_fine()


class PlainScalars(HostTestCase):
    """User names and passwords that YAML takes for something else."""

    def test_as_written(self) -> None:
        """A number, a date or a truth value is the text that is written there."""
        for written in (
            "20240611",
            "1001",
            "yes",
            "2024-06-11",
            "1.10",
            "0o17",
            "007",
            "1e5",
            "0x1F",
        ):
            host = self.host(f"username: {written}", f"password: {written}")
            self.assertEqual(host.credentials, Credentials(written, written))
            self.assert_fine()

    def test_nothing_is_no_password(self) -> None:
        """An empty password is no password, and a list or a YAML tag is a problem."""
        for written in ("null", "~", ""):
            host = self.host("username: alice", f"password: {written}")
            self.assertEqual(host.credentials, Credentials("alice", ""))
            self.assert_fine(warnings=1)
        for written in ("[x]", "{x: y}", "!own x"):
            self.assertIsNone(self.host("username: alice", f"password: {written}").credentials)
            self.assert_refused("password: must be text")


class UserNames(HostTestCase):
    """User names that other programs accept."""

    def test_alone(self) -> None:
        """A user name alone is sent with an empty password, and a warning is logged."""
        host = self.host("username: alice")
        self.assertEqual(host.credentials, Credentials("alice", ""))
        self.assert_fine(warnings=1)
        self.assertIn("username: has neither password nor", self.findings.warnings[0])

    def test_colon(self) -> None:
        """A colon in a user name is sent as it is, and a warning is logged."""
        host = self.host("username: 'a:b'", f"password: {SECRET}")
        self.assertEqual(host.credentials, Credentials("a:b", SECRET))
        self.assert_fine(warnings=1)
        self.assertIn("username: contains a colon", self.findings.warnings[0])


class TokenServers(HostTestCase):
    """token_servers."""

    def test_servers(self) -> None:
        """They are a list, in its order, in lower case."""
        host = self.host("token_servers: [Auth.example.net, 'auth.lan:5001']")
        self.assertEqual(host.token_servers, ("auth.example.net", "auth.lan:5001"))
        self.assertEqual(self.host("token_servers: []").token_servers, ())
        self.assert_fine()

    def test_refused(self) -> None:
        """What is no list of them is reported."""
        for value, *parts in (
            ("auth.example.net", "must be a list"),
            ("{auth.example.net: 1}", "must be a list"),
            ("[~]", "item 1 must be text"),
            ("[a, {b: c}]", "item 2 must be text"),
            ("[a, [b]]", "item 2 must be text"),
            ("[a, 'https://b']", "item 2: must be host[:port]"),
            (f"['x:{SECRET}@b']", "item 1: must be host[:port]"),
            (f"[{', '.join('a' * 17)}]", "at most 16 items, not 17"),
        ):
            self.host(f"token_servers: {value}")
            self.assert_refused("token_servers: ", *parts)

    def test_all_at_once(self) -> None:
        """Every item that is wrong is reported, and the others are read."""
        hosts = self.load("  host: b.example\n  token_servers: [a/b, c, '', d]")
        self.assertEqual(hosts[0].token_servers, ("c", "d"))
        self.assertEqual(len(self.findings.problems), 2)
