"""Where to listen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint, serverFromString
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.listen import (
    address_of,
    default_place,
    explain,
    parse_listen,
    same_place,
    split_places,
    takes_port,
)


class Forms(SynchronousTestCase):
    """parse_listen."""

    def test_accepted(self) -> None:
        """Every form becomes an endpoint description."""
        for text, endpoint in {
            "0.0.0.0:80": "tcp:80:interface=0.0.0.0",
            "127.0.0.1:0": "tcp:0:interface=127.0.0.1",
            "localhost:8080": "tcp:8080:interface=localhost",
            "LocalHost:8080": "tcp:8080:interface=localhost",
            " :8080 ": "tcp:8080",
            "8080": "tcp:8080",
            "65535": "tcp:65535",
            "[::1]:8080": "tcp6:8080:interface=\\:\\:1",
            "[::]:80": "tcp6:80:interface=\\:\\:",
            "[FE80::1%eth0]:80": "tcp6:80:interface=fe80\\:\\:1%eth0",
        }.items():
            self.assertEqual(parse_listen(text), endpoint)

    def test_endpoints(self) -> None:
        """Endpoint descriptions that this Twisted knows are passed on as they are."""
        for text in (
            "unix:/run/oci-registry.sock",
            "unix:/run/oci-registry.sock:mode=660",
            "tcp:80",
            "tcp:port=80:interface=127.0.0.1",
            "tcp:8080:interface=\\:\\:1",
            "tcp:8080:backlog=100000",
            "tcp6:8080",
            "ssl:8443:privateKey=key.pem:certKey=cert.pem",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:8080",
        ):
            self.assertEqual(parse_listen(text), text)

    def test_paths(self) -> None:
        """The path of a socket may have blanks, colons and equals signs; Twisted gets it as it is."""
        for text, path in {
            "unix:/run/a:b.sock": "/run/a:b.sock",
            "unix:/run/a:b:c.sock:mode=660": "/run/a:b:c.sock",
            "unix:/run/a\\:b.sock": "/run/a:b.sock",
            "unix:/run/my dir/x y.sock": "/run/my dir/x y.sock",
            "unix:/run/x=y:z.sock": "/run/x=y:z.sock",
            "unix:/run/x.sock:660": "/run/x.sock",
            "unix:address=/run/x.sock:mode=660": "/run/x.sock",
        }.items():
            reactor = MemoryReactor()
            serverFromString(reactor, parse_listen(text)).listen(None)
            self.assertEqual(reactor.unixServers[-1][0], path)
        # A misspelt argument is none of the path.
        description = parse_listen("unix:/run/x.sock:mdoe=660")
        self.assertRaises(TypeError, serverFromString, MemoryReactor(), description)

    def test_refused(self) -> None:
        """What is none of them is refused with a reason."""
        for text, reason in {
            "": "is not a port",
            "http": "is not a port",
            "65536": "is not a port",
            "-1": "is not a port",
            "٣": "is not a port",
            "localhost:": "'' is not a port",
            "localhost:http": "'http' is not a port",
            "localhost:99999": "is not a port",
            ":": "is not a port",
            "*:80": "is not a registry host",
            "127.1:80": "not an IPv4 address",
            "1.2.3.999:80": "not an IPv4 address",
            "a b:80": "spaces",
            "http://localhost:80": "'http' is not a type of endpoint",
            "onion:80:x=y": "'onion' is not a type of endpoint; known types: haproxy,",
            "::1:80": "needs brackets",
            "fe80::1:80": "needs brackets",
            "::1": "needs brackets",
            "[::1]": "has no port",
            "[::1]:": "is not a port",
            "[127.0.0.1]:80": "no IPv6 address",
            "[x]:80": "no IPv6 address",
            "[::1:80": "has no port",
            "unix:": "has nothing after unix:",
            "tcp:": "has nothing after tcp:",
            "tcp:99999": "'99999' is not a port",
            "tcp:interface=127.0.0.1:port=99999": "'99999' is not a port",
            "ssl:70000:privateKey=key.pem": "'70000' is not a port",
        }.items():
            error = self.assertRaises(ValueError, parse_listen, text)
            self.assertIn(reason, str(error), text)

    def test_twisted_agrees(self) -> None:
        """Twisted makes the endpoints that were meant."""
        reactor = MemoryReactor()
        four = serverFromString(reactor, parse_listen("127.0.0.1:80"))
        self.assertIsInstance(four, TCP4ServerEndpoint)
        six = serverFromString(reactor, parse_listen("[::1]:80"))
        self.assertIsInstance(six, TCP6ServerEndpoint)
        six.listen(None)
        self.assertEqual(reactor.tcpServers[-1][::3], (80, "::1"))

    @given(st.ip_addresses(), st.integers(0, 65535))
    def test_any_address(self, address: object, port: int) -> None:
        """Any address and port arrive at the reactor as they were given."""
        text = f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
        reactor = MemoryReactor()
        serverFromString(reactor, parse_listen(text)).listen(None)
        self.assertEqual(reactor.tcpServers[-1][0], port)
        self.assertEqual(reactor.tcpServers[-1][3], str(address))

    @given(st.text(alphabet="[]:.=\\/*a1t %", max_size=20))
    def test_anything(self, text: str) -> None:
        """Any text is an endpoint or a ValueError."""
        try:
            parse_listen(text)
        except ValueError as error:
            self.assertTrue(str(error))


class Lists(SynchronousTestCase):
    """split_places."""

    def test_split(self) -> None:
        """Blanks separate places, but are a part of the path behind unix: if no place follows."""
        for text, places in {
            "": [],
            "  ": [],
            " :1  [::]:2 3 ": [":1", "[::]:2", "3"],
            "unix:/run/x.sock 0.0.0.0:80": ["unix:/run/x.sock", "0.0.0.0:80"],
            "unix:/run/x.sock unix:/run/y.sock": ["unix:/run/x.sock", "unix:/run/y.sock"],
            "unix:/run/my dir/x y.sock": ["unix:/run/my dir/x y.sock"],
            "unix:/run/my  dir/a:b.sock 8080": ["unix:/run/my  dir/a:b.sock", "8080"],
            "unix:/run/x.sock localhost:http": ["unix:/run/x.sock", "localhost:http"],
            ":1 dir/x": [":1", "dir/x"],
        }.items():
            self.assertEqual(split_places(text), places, text)


class Places(SynchronousTestCase):
    """same_place."""

    def both(self, one: str, other: str) -> bool:
        self.assertEqual(same_place(one, other), same_place(other, one), (one, other))
        return same_place(one, other)

    def test_same(self) -> None:
        """A port of an address is taken by all endpoints that take it, and a path by one."""
        for one, other in (
            ("tcp:80", "tcp:80"),
            ("tcp:80", "tcp:port=80:interface=127.0.0.1"),
            ("tcp:80:interface=0.0.0.0", "ssl:80:key.pem:cert.pem"),
            ("tcp:80:127.0.0.1", "tcp:80:interface=127.0.0.1:backlog=9"),
            ("tcp6:80", "tcp:80:interface=127.0.0.1"),
            ("tcp6:80:interface=\\:\\:1", "tcp:80:interface=\\:\\:1"),
            ("tcp6:80:interface=\\:\\:", "tcp6:80:interface=\\:\\:1"),
            ("unix:/run/x.sock", "unix:address=/run/x.sock:mode=660"),
            (parse_listen("unix:/run/x=y:z"), parse_listen("unix:/run/x=y:z:mode=660")),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ):
            self.assertTrue(self.both(one, other), (one, other))

    def test_others(self) -> None:
        """Other ports, addresses, paths and kinds do not get into each other's way."""
        for one, other in (
            ("tcp:80", "tcp:81"),
            ("tcp:0", "tcp:0"),
            ("tcp:80:interface=127.0.0.1", "tcp:80:interface=127.0.0.2"),
            ("tcp:80", "tcp6:80:interface=\\:\\:1"),
            ("ssl:80:key.pem:cert.pem:interface=127.0.0.1", "tcp:80:interface=127.0.0.2"),
            ("unix:/run/x.sock", "unix:/run/y.sock"),
            ("unix:80", "tcp:80"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=1"),
            ("systemd:domain=INET:index=0", "tcp:80"),
        ):
            self.assertFalse(self.both(one, other), (one, other))


class Descriptions(SynchronousTestCase):
    """What is read of an endpoint description."""

    def test_addresses(self) -> None:
        """A description says what it takes, by position or by name, and with escapes."""
        for description, address in {
            "tcp:80": ("port", "80", "0.0.0.0"),
            "tcp:80:127.0.0.1": ("port", "80", "127.0.0.1"),
            "tcp:interface=127.0.0.1:port=80": ("port", "80", "127.0.0.1"),
            "tcp6:80": ("port", "80", "::"),
            "tcp6:80:interface=\\:\\:1": ("port", "80", "::1"),
            "ssl:443:key.pem:cert.pem": ("port", "443", "0.0.0.0"),
            "unix:/run/x\\=y\\:z:mode=660": ("unix", "/run/x=y:z", ""),
            "systemd:domain=INET:index=0": None,
        }.items():
            self.assertEqual(address_of(description), address, description)

    def test_ports(self) -> None:
        """Only some kinds are for ports."""
        for kind, expected in (("tcp", True), ("tcp6", True), ("ssl", True), ("unix", False)):
            self.assertEqual(takes_port(f"{kind}:80"), expected)

    def test_default(self) -> None:
        """Without a place it is port 80, or the one that an older variable names."""
        self.assertEqual(default_place({"PORT": " "}), ("--listen", "0.0.0.0:80"))
        self.assertEqual(default_place({"PORT": "81"}), ("PORT", "0.0.0.0:81"))


class Explaining(SynchronousTestCase):
    """explain."""

    def explained(self, description: str) -> str:
        try:
            serverFromString(MemoryReactor(), description)
        except Exception as error:
            return explain(error)
        return "nothing is wrong"

    def test_reasons(self) -> None:
        """What Twisted raises for a bad description becomes a sentence."""
        for description, reason in {
            "tcp:80:x=y": "the endpoint got an unexpected keyword argument 'x'",
            "tcp:interface=127.0.0.1": "the endpoint missing 1 required",
            "tcp:http": "invalid literal for int() with base 10: 'http'",
            "ssl:443:privateKey=/nowhere/key.pem": "/nowhere/key.pem: No such file or directory",
            "systemd:domain=INET:index=0": "no such socket was passed",
            "systemd:domain=INET:name=x": "no such socket was passed",
            "systemd:domain=INET": "Specify exactly one",
        }.items():
            self.assertIn(reason, self.explained(description))

    def test_unexpected(self) -> None:
        """What plugins may raise beyond that has a reason too."""
        self.assertEqual(explain(RuntimeError()), "is not usable: RuntimeError")
        self.assertEqual(explain(RuntimeError("odd")), "is not usable: odd")
        self.assertEqual(explain(ValueError()), "is not usable: ValueError")
        self.assertEqual(explain(OSError("odd")), "is not usable: odd")
