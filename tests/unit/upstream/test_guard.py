"""The guard: hosts that clients name are reached at public addresses only."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry.makers import Sizes
from oci_registry.upstream.errors import TooManyLookups
from oci_registry.upstream.failures import NameCancelled
from oci_registry.upstream.guard import (
    AT_ONCE,
    MAX_ADDRESSES,
    MOST_WAITING,
    WAITING,
    GuardedReactor,
    Lookups,
    is_public,
    resolve_public,
)
from tests.support.network import resolving

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)


class Public(SynchronousTestCase):
    """Which addresses count as public."""

    def test_public(self) -> None:
        """Addresses of the open Internet pass, however they are wrapped."""
        for text in (
            "1.1.1.1",
            "8.8.8.8",
            "104.18.121.25",
            "2606:4700::6810:7b9a",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ):
            self.assertTrue(is_public(text), text)

    def test_not_public(self) -> None:
        """Addresses of this host, of private networks, of no one and of many do not pass."""
        for text in (
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.1",
            "192.0.0.192",
            "192.88.99.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "2002:808:808::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::1%eth0",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
        ):
            self.assertFalse(is_public(text), text)

    def test_wrapped(self) -> None:
        """A private IPv4 address is not public in any IPv6 disguise."""
        for text in (
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:808:808::f5ff:fffe",
            "2001:0:7f00:1::f7f7:f7f7",
        ):
            self.assertFalse(is_public(text), text)

    def test_not_an_address(self) -> None:
        """What is no address is not public."""
        for text in ("", "localhost", "registry.example.com", "1.1.1", "1.1.1.1.1", "%", "0x7f.1"):
            self.assertFalse(is_public(text), text)

    @given(V4)
    def test_mapped_like_plain(self, address: IPv4Address) -> None:
        """An IPv4 address is judged alike on its own, mapped, and behind NAT64."""
        plain = is_public(str(address))
        self.assertEqual(plain, is_public(f"::ffff:{address}"))
        self.assertEqual(plain, is_public(str(IPv6Address(0x64FF9B << 96 | int(address)))))
        if not plain:
            self.assertFalse(is_public(str(IPv6Address(0x2002 << 112 | int(address) << 80))))

    @given(V4 | V6)
    def test_never_private(self, address: IPv4Address | IPv6Address) -> None:
        """No address passes that the standard library knows to be private or local."""
        if address.is_multicast or address.is_loopback or address.is_link_local:
            self.assertFalse(is_public(str(address)))
        # The library calls every mapped address private, whatever it leads to.
        mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
        if address.is_private and not mapped:
            self.assertFalse(is_public(str(address)))


class Guarded(SynchronousTestCase):
    """Endpoints made with the guarded reactor."""

    def connect(self, *addresses: str) -> tuple[list[str], Any]:
        """Connect to a host with *addresses*; return where to, and what came of it by now."""
        reactor = resolving({"host": list(addresses)})
        endpoint = HostnameEndpoint(GuardedReactor(reactor, Lookups()), "host", 443)
        outcome: list[Any] = []
        endpoint.connect(Factory.forProtocol(Protocol)).addErrback(outcome.append)
        reactor.pump([1] * 10)
        return [client[0] for client in reactor.tcpClients], outcome

    def test_private_only(self) -> None:
        """A host that has only private addresses does not exist."""
        reached, outcome = self.connect("127.0.0.1", "10.1.2.3", "::1", "::ffff:127.0.0.1")
        self.assertEqual([], reached)
        outcome[0].trap(DNSLookupError)

    def test_public(self) -> None:
        """A public address is connected to as it was resolved: nobody resolves it again."""
        self.assertEqual(["1.1.1.1"], self.connect("1.1.1.1")[0])

    def test_mixed(self) -> None:
        """Of several addresses only the public ones are tried."""
        reached, _ = self.connect("127.0.0.1", "1.1.1.1", "fe80::1", "2606:4700::1")
        self.assertEqual({"1.1.1.1", "2606:4700::1"}, set(reached))

    def test_rebinding(self) -> None:
        """A name that has become private is not reached again, nor is it looked up in between."""
        reactor = resolving({"host": ["1.1.1.1"]})
        for addresses, reached in ((["1.1.1.1"], 1), (["127.0.0.1"], 1), (["8.8.8.8"], 2)):
            reactor.nameResolver.known["host"] = addresses
            endpoint = HostnameEndpoint(GuardedReactor(reactor, Lookups()), "host", 443)
            endpoint.connect(Factory.forProtocol(Protocol)).addErrback(lambda _: None)
            reactor.advance(1)
            self.assertEqual(reached, len(reactor.tcpClients))
        self.assertEqual(["host"] * 3, reactor.nameResolver.asked)

    def test_thousands(self) -> None:
        """Of a host with thousands of addresses a few are tried, however many private ones come first."""
        private = [f"10.0.{n}.1" for n in range(200)]
        public = [f"1.1.{n}.1" for n in range(200)]
        self.assertEqual(public[:MAX_ADDRESSES], self.connect(*private, *public)[0])

    def test_found(self) -> None:
        """What is resolved for a proxy is judged alike."""
        reactor = resolving(
            {"host": ["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1"], "inside": ["::1"]}
        )
        guarded = GuardedReactor(reactor, Lookups())
        found = self.successResultOf(resolve_public(guarded, "host"))
        self.assertEqual(["1.1.1.1", "2606:4700::1"], found)
        for host in ("inside", "nowhere"):
            self.failureResultOf(resolve_public(guarded, host), DNSLookupError)

    def test_addresses(self) -> None:
        """An address needs no look-up that others wait for, whether it is public or not."""
        lookups = Lookups()
        for number in range(AT_ONCE + WAITING):
            lookups.begin(f"h{number}", lambda: None)
        reactor = resolving({"1.1.1.1": ["1.1.1.1"], "10.0.0.1": ["10.0.0.1"]})
        guarded = GuardedReactor(reactor, lookups)
        self.assertEqual(["1.1.1.1"], self.successResultOf(resolve_public(guarded, "1.1.1.1")))
        for address in ("10.0.0.1", "::1", "fe80::1%lo", "::ffff:127.0.0.1"):
            self.failureResultOf(resolve_public(guarded, address), DNSLookupError)
            self.assertRaises(DNSLookupError, guarded.check, address)
            endpoint = HostnameEndpoint(guarded, address, 443)
            self.failureResultOf(endpoint.connect(Factory.forProtocol(Protocol)), DNSLookupError)
        self.assertEqual(["1.1.1.1"], reactor.nameResolver.asked)

    def test_interfaces(self) -> None:
        """The guarded reactor is a reactor with a resolver."""
        reactor = resolving({})
        guarded = GuardedReactor(reactor, Lookups())
        self.assertTrue(IReactorPluggableNameResolver.providedBy(guarded))
        self.assertTrue(verifyObject(IHostnameResolver, guarded.nameResolver))
        self.assertEqual(reactor.seconds(), guarded.seconds())


class FewAtATime(SynchronousTestCase):
    """Names that somebody made up, to be answered late or never."""

    def test_configured_ones_do_not_wait(self) -> None:
        """However many are looked up, most of the threads for names are left to others."""
        hosts = [f"h{number}" for number in range(AT_ONCE + 3)]
        reactor, lookups = resolving(dict.fromkeys(hosts)), Lookups()
        for host in hosts:
            resolve_public(GuardedReactor(reactor, lookups), host)
        self.assertEqual(hosts[:AT_ONCE], reactor.nameResolver.asked)
        self.assertLessEqual(AT_ONCE, Sizes().names // 2)

    def test_turns(self) -> None:
        """Each waits for its turn, and more than can wait are told that there is nothing."""
        lookups, begun = Lookups(), []
        for number in range(AT_ONCE + WAITING):
            self.assertTrue(lookups.begin(f"h{number}", lambda n=number: begun.append(n)))
            self.assertEqual(number >= AT_ONCE, lookups.is_waiting(f"h{number}"))
        self.assertFalse(lookups.begin("another", lambda: begun.append("never")))
        self.assertEqual(list(range(AT_ONCE)), begun)
        for number in range(AT_ONCE + WAITING):
            lookups.done(f"h{number}")
            self.assertFalse(lookups.is_waiting(f"h{min(number, WAITING - 1) + AT_ONCE}"))
        self.assertEqual(list(range(AT_ONCE + WAITING)), begun)
        self.assertTrue(lookups.begin("another", lambda: begun.append("again")))
        self.assertEqual("again", begun[-1])

    def test_one_name(self) -> None:
        """Many connections to one host are one name, while that is looked up and while it waits."""
        lookups, begun = Lookups(), list[str]()
        for _ in range(AT_ONCE + WAITING):
            self.assertTrue(lookups.begin("busy", lambda: begun.append("busy")))
        self.assertEqual(AT_ONCE + WAITING, len(begun))
        for number in range(1, AT_ONCE):
            lookups.begin(f"h{number}", lambda: None)
        for number in range(MOST_WAITING):
            self.assertFalse(lookups.is_full("late"), number)
            self.assertTrue(lookups.begin("late", lambda: begun.append("late")))
        self.assertTrue(lookups.is_full("late"))
        self.assertFalse(lookups.begin("late", lambda: begun.append("never")))
        self.assertFalse(lookups.is_full("busy"))
        self.assertFalse(lookups.is_full("another"))
        # All of its look-ups have to end before it is the turn of another name.
        for _ in range(AT_ONCE + WAITING):
            self.assertNotIn("late", begun)
            lookups.done("busy")
        self.assertEqual(["late"] * MOST_WAITING, begun[AT_ONCE + WAITING :])

    def test_at_once(self) -> None:
        """Look-ups that end at once start those that wait, each once."""
        lookups, begun = Lookups(), list[int]()

        def look_up(number: int) -> None:
            begun.append(number)
            lookups.done(f"h{number // 2 * 2}")

        for number in range(0, AT_ONCE * 2, 2):
            lookups.begin(f"h{number}", lambda: None)
        waiting = range(AT_ONCE * 2, AT_ONCE * 2 + WAITING)
        for number in waiting:
            self.assertTrue(lookups.begin(f"h{number // 2 * 2}", partial(look_up, number)))
        lookups.done("h0")
        self.assertEqual(list(waiting), begun)

    def test_refused(self) -> None:
        """A name that may not even wait is refused; the others are none the worse for it."""
        held = [f"h{n}" for n in range(AT_ONCE)]
        waiting = [f"w{n}" for n in range(WAITING)]
        reactor = resolving(dict.fromkeys(held) | {host: ["1.1.1.1"] for host in waiting})
        guarded = GuardedReactor(reactor, Lookups())
        for host in held:
            resolve_public(guarded, host)
        found = []
        for host in waiting:
            guarded.check(host)
            found.append(resolve_public(guarded, host))
        self.assertIsInstance(guarded.cancelled("w0"), TooManyLookups)
        self.assertIsInstance(guarded.cancelled("h0"), NameCancelled)
        self.failureResultOf(resolve_public(guarded, "late"), TooManyLookups)
        self.assertRaises(TooManyLookups, guarded.check, "late")
        endpoint = HostnameEndpoint(guarded, "late", 443)
        self.failureResultOf(endpoint.connect(Factory.forProtocol(Protocol)), DNSLookupError)
        self.assertNoResult(found[0])
        reactor.nameResolver.answer("h0", ["8.8.8.8"])
        for each in found:
            self.assertEqual(["1.1.1.1"], self.successResultOf(each))

    def test_cancelled(self) -> None:
        """Who gives up hears why, and the answer that comes later is nobody's."""
        held = [f"h{n}" for n in range(AT_ONCE)]
        reactor = resolving(dict.fromkeys(held) | {"late": ["1.1.1.1"]})
        guarded = GuardedReactor(reactor, Lookups())
        found = [resolve_public(guarded, host) for host in (*held, "late")]
        for each in found:
            each.cancel()
        self.failureResultOf(found.pop(), TooManyLookups)
        for each in found:
            self.failureResultOf(each, NameCancelled)
        for number, host in enumerate(held):
            reactor.nameResolver.answer(host, ["8.8.8.8"] * (number % 2))
        self.assertEqual([*held, "late"], reactor.nameResolver.asked)
