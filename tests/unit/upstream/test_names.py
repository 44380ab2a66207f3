"""Names: they are looked up in threads, each once for all who wait for it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostnameResolver, IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from oci_registry.upstream.names import MOST, NamesReactor, ThreadedResolver

FOUND = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 7, 2)),
    (socket.AF_UNIX, socket.SOCK_STREAM, 6, "", "/socket"),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
]


class Receiver:
    """Notes what it is told: the addresses, and whether these are all."""

    def __init__(self) -> None:
        self.began = 0
        self.found: list[IAddress] = []
        self.ended = 0

    def resolutionBegan(self, resolution: object) -> None:
        self.began += 1

    def addressResolved(self, address: IAddress) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.ended += 1


class LookingUp(SynchronousTestCase):
    """A resolver with threads that a test lets go on."""

    def setUp(self) -> None:
        self.waiting: list[Callable[[], None]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.result: list[Any] | Exception = FOUND
        self.resolver = ThreadedResolver(self.in_thread, self.look_up)

    def in_thread(self, call: Callable[..., Any], *args: object) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def go_on() -> None:
            try:
                done.callback(call(*args))
            except Exception:
                done.errback(Failure())

        self.waiting.append(go_on)
        return done

    def look_up(self, *args: Any) -> list[Any]:
        self.asked.append(args)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def ask(self, host: str = "host", port: int = 443, *more: Any) -> Receiver:
        """Ask for the addresses of a host."""
        receiver = Receiver()
        self.resolver.resolveHostName(receiver, host, port, *more)  # type: ignore[arg-type]
        self.assertEqual(1, receiver.began)
        return receiver

    def test_addresses(self) -> None:
        """All addresses are told in the order of the system, with the port that was asked for."""
        receiver = self.ask()
        self.assertEqual(([], 0), (receiver.found, receiver.ended))
        self.waiting.pop()()
        self.assertEqual([("host", 0, socket.AF_UNSPEC, socket.SOCK_STREAM)], self.asked)
        self.assertEqual(
            [IPv6Address("TCP", "2001:db8::1", 443, 7, 2), IPv4Address("TCP", "192.0.2.1", 443)],
            receiver.found,
        )
        self.assertEqual(1, receiver.ended)

    def test_kinds(self) -> None:
        """Only addresses of the kinds that are asked for are told, for their transport."""
        receivers = [self.ask("host", 1, [IPv4Address]), self.ask("host", 2, [IPv6Address], "UDP")]
        self.waiting.pop()()
        self.assertEqual([IPv4Address("TCP", "192.0.2.1", 1)], receivers[0].found)
        self.assertEqual([IPv6Address("UDP", "2001:db8::1", 2, 7, 2)], receivers[1].found)

    def test_once(self) -> None:
        """One thread looks a name up for all who ask meanwhile, whatever their ports; another, others."""
        receivers = [self.ask("host", port) for port in range(1, 60)]
        self.ask("another")
        self.assertEqual(2, len(self.waiting))
        self.waiting[0]()
        self.assertEqual(["host"], [name for name, *_ in self.asked])
        for port, receiver in enumerate(receivers, 1):
            self.assertEqual([port] * 2, [each.port for each in receiver.found])  # type: ignore[attr-defined]
            self.assertEqual(1, receiver.ended)
        # Who asks later may get another answer.
        self.result = []
        again = self.ask()
        self.waiting[2]()
        self.assertEqual(([], 1), (again.found, again.ended))

    def test_most(self) -> None:
        """A bounded number wait for a name: the first ones have given up by then, and hear of the end."""
        receivers = [self.ask() for _ in range(MOST + 2)]
        self.assertEqual([1, 1, 0], [each.ended for each in receivers[:3]])
        self.assertEqual([], receivers[0].found)
        self.waiting.pop()()
        self.assertEqual({1}, {each.ended for each in receivers})
        self.assertEqual(2, len(receivers[2].found))

    def test_failed(self) -> None:
        """A name that cannot be looked up has no address; what is no error of that is logged too."""
        for error, logged in (
            (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), 0),
            (UnicodeError("label too long"), 0),
            (OSError(24, "Too many open files"), 0),
            (RuntimeError("can't start new thread"), 1),
        ):
            self.result = error
            receiver = self.ask()
            self.waiting.pop()()
            self.assertEqual(([], 1), (receiver.found, receiver.ended), error)
            self.assertEqual(logged, len(self.flushLoggedErrors(RuntimeError)))

    def test_no_thread(self) -> None:
        """If no thread can be started, the name has no address, and the next connection tries again."""
        can_start = [False, True]

        def in_thread(call: Callable[..., Any], *args: object) -> Deferred[Any]:
            if not can_start.pop(0):
                raise RuntimeError("can't start new thread")
            return self.in_thread(call, *args)

        self.resolver = ThreadedResolver(in_thread, self.look_up)
        receiver = self.ask()
        self.assertEqual(([], 1), (receiver.found, receiver.ended))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        again = self.ask()
        self.waiting.pop()()
        self.assertEqual((2, 1), (len(again.found), again.ended))

    def test_numbers(self) -> None:
        """An address needs no thread, unless it has a scope, which only the system knows."""
        for text, expected in (
            ("192.0.2.1", IPv4Address("TCP", "192.0.2.1", 443)),
            ("2001:db8::1", IPv6Address("TCP", "2001:db8::1", 443)),
            ("::ffff:192.0.2.1", IPv6Address("TCP", "::ffff:192.0.2.1", 443)),
        ):
            receiver = self.ask(text)
            self.assertEqual(([expected], 1), (receiver.found, receiver.ended))
        self.assertEqual([], self.waiting)
        self.ask("fe80::1%lo")
        self.waiting.pop()()
        self.assertEqual(["fe80::1%lo"], [name for name, *_ in self.asked])

    def test_asks_again_at_once(self) -> None:
        """Who asks again when the answer is there has a look-up of its own."""
        resolver, asked = self.resolver, Receiver()

        class Again(Receiver):
            def resolutionComplete(self) -> None:
                super().resolutionComplete()
                resolver.resolveHostName(asked, "host")  # type: ignore[arg-type]

        resolver.resolveHostName(Again(), "host")  # type: ignore[arg-type]
        self.waiting.pop()()
        self.assertEqual(0, asked.ended)
        self.waiting.pop()()
        self.assertEqual(1, asked.ended)

    def test_endpoint(self) -> None:
        """Endpoints take its addresses, and its reactor is one in all else."""
        reactor = MemoryReactorClock()
        reactor.advance(5)
        names: Any = NamesReactor(reactor, self.resolver)
        self.assertTrue(verifyObject(IHostnameResolver, names.nameResolver))
        self.assertTrue(IReactorPluggableNameResolver.providedBy(names))
        self.assertEqual(5, names.seconds())
        HostnameEndpoint(names, "host", 80).connect(Factory.forProtocol(Protocol))
        self.waiting.pop()()
        self.assertEqual([("2001:db8::1", 80)], [client[:2] for client in reactor.tcpClients])
        self.result = []
        none = HostnameEndpoint(names, "none", 80).connect(Factory.forProtocol(Protocol))
        self.waiting.pop()()
        self.failureResultOf(none, DNSLookupError)

    def test_system(self) -> None:
        """Without anything else it asks the system."""
        receiver = Receiver()
        resolver = ThreadedResolver(lambda call, *args: succeed(call(*args)))
        resolver.resolveHostName(receiver, "localhost", 80)  # type: ignore[arg-type]
        self.assertIn("127.0.0.1", [each.host for each in receiver.found])  # type: ignore[attr-defined]
