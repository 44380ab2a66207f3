"""What the daemon says of itself when it listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from oci_registry import startup
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    CATCH_ALL,
    FilesystemSettings,
    S3Settings,
    Settings,
    UpstreamSettings,
)
from oci_registry.startup import KnownEndpoint, free_space, listed, mirrored
from oci_registry.storage.interfaces import StoreError
from tests.support.settings import upstream_settings
from tests.unit.service_case import Pool, ServiceTestCase


class Words(SynchronousTestCase):
    """Lists, registries and sizes."""

    def test_listed(self) -> None:
        """Words become a list as in a sentence."""
        for items, text in ((["a"], "a"), (["a", "b"], "a and b"), (list("abcd"), "a, b, c and d")):
            self.assertEqual(text, listed(items))

    def mirrored(self, *names: str, dynamic: bool = True) -> str:
        upstreams = tuple(upstream_settings(name, name) for name in names)
        storage = FilesystemSettings("/x")
        return mirrored(Settings((), storage, upstreams=upstreams, allow_dynamic_upstreams=dynamic))

    def test_mirrored(self) -> None:
        """The registries are those that requests can name."""
        many = [f"r{number}.example" for number in range(14)]
        for names, dynamic, text in (
            (["docker.io"], True, "docker.io and any other registry"),
            (["docker.io", "quay.io"], True, "docker.io, quay.io and any other registry"),
            (["docker.io"], False, "docker.io"),
            (["docker.io", "quay.io"], False, "docker.io and quay.io"),
            (["docker.io", CATCH_ALL], False, "docker.io and any other registry"),
            ([CATCH_ALL], False, "any registry"),
            ([], True, "any registry"),
            ([], False, "no registry"),
            (many[:4], False, "r0.example, r1.example, r2.example and r3.example"),
            (many, False, "r0.example, r1.example and 12 more"),
            (many, True, "r0.example, r1.example, 12 more and any other registry"),
        ):
            self.assertEqual(text, self.mirrored(*names, dynamic=dynamic))

    def test_offline(self) -> None:
        """Registries that are never asked are named as such."""
        first = upstream_settings("a.example", "a.example", offline=True)
        second = upstream_settings("b.example", "b.example")
        others = upstream_settings(CATCH_ALL, CATCH_ALL, offline=True)
        settings = Settings((), FilesystemSettings("/x"), upstreams=(first, second))
        for changed, text in (
            ({}, "a.example (offline), b.example and any other registry"),
            ({"allow_dynamic_upstreams": False}, "a.example (offline) and b.example"),
            ({"upstreams": (second, others)}, "b.example and any other registry (offline)"),
            ({"upstreams": (others,)}, "any registry (offline)"),
            ({"offline": True}, "a.example, b.example and any other registry (all offline)"),
            ({"offline": True, "upstreams": (others,)}, "any registry (all offline)"),
        ):
            self.assertEqual(text, mirrored(evolve(settings, **changed)))

    def test_defaults(self) -> None:
        """Without any configuration it is Docker Hub, and any other."""
        self.assertEqual(("docker.io",), tuple(up.namespace for up in BUILTIN_UPSTREAMS))
        storage = FilesystemSettings("/x")
        self.assertEqual("docker.io and any other registry", mirrored(Settings((), storage)))

    def test_free_space(self) -> None:
        """The free space is that of the volume on which a directory will be made."""
        asked: list[Path] = []

        def usage(place: Path) -> Any:
            asked.append(place)
            return type("Usage", (), {"free": self.free})

        self.patch(startup.shutil, "disk_usage", usage)
        top = Path(self.mktemp()).absolute()
        top.mkdir()
        for free, text in (
            (41_400_000_000, "41 GB"),
            (4_190_000_000, "4.2 GB"),
            (4_000_000_000, "4.0 GB"),
            (1_230_000_000_000, "1.2 TB"),
            (0, "0 B"),
        ):
            self.free = free
            self.assertEqual(text, free_space(str(top / "not" / "there")))
        self.assertEqual({top}, set(asked))

    def test_unknown_space(self) -> None:
        """Where the system cannot say, nothing is said."""

        def usage(place: Path) -> Any:
            raise PermissionError(13, "Permission denied")

        self.patch(startup.shutil, "disk_usage", usage)
        self.assertIsNone(free_space("/nowhere"))


class Port:
    """A listening port."""

    def __init__(self, address: IAddress, factory: Any) -> None:
        self._address = address
        self.factory = factory

    def getHost(self) -> IAddress:
        return self._address


@implementer(IStreamServerEndpoint)
class Endpoint:
    """An endpoint that listens at once, or fails."""

    def __init__(self, listening: Deferred[Any]) -> None:
        self._listening = listening

    def listen(self, factory: Any) -> Deferred[Any]:
        return self._listening


class Addresses(SynchronousTestCase):
    """Where it listens."""

    def url(self, description: str, address: IAddress, factory: Any = None) -> str:
        known = KnownEndpoint(description, Endpoint(succeed(Port(address, factory))))
        self.assertTrue(verifyObject(IStreamServerEndpoint, known))
        self.assertEqual(description, known.url)
        self.successResultOf(known.listen(Factory()))
        return known.url

    def test_urls(self) -> None:
        """The URL has the address that was bound, and https if clients must speak TLS."""
        tcp = IPv4Address("TCP", "127.0.0.1", 41234)
        tls = TLSMemoryBIOFactory.__new__(TLSMemoryBIOFactory)
        unknown: Any = object()
        for description, address, factory, url in (
            ("tcp:0:interface=127.0.0.1", tcp, None, "http://127.0.0.1:41234"),
            ("tcp:80", IPv4Address("TCP", "0.0.0.0", 80), None, "http://0.0.0.0:80"),
            ("tcp6:0", IPv6Address("TCP", "::1", 80), None, "http://[::1]:80"),
            ("ssl:0:certKey=x", tcp, None, "https://127.0.0.1:41234"),
            ("other:x", tcp, tls, "https://127.0.0.1:41234"),
            ("unix:x.sock", UNIXAddress(b"/run/x.sock"), None, "unix:/run/x.sock"),
            ("unix:x", UNIXAddress(b"\0x"), None, "unix:@x"),
            ("other:y", unknown, None, "other:y"),
        ):
            self.assertEqual(url, self.url(description, address, factory))

    def test_failure(self) -> None:
        """An endpoint that cannot listen fails as before, and has only its description."""
        known = KnownEndpoint("tcp:1", Endpoint(fail(OSError("no"))))
        self.failureResultOf(known.listen(Factory()), OSError)
        self.assertEqual("tcp:1", known.url)


class Hanging(Pool):
    """Threads that never come back."""

    def __call__(self, call: Any, *args: object) -> Deferred[Any]:
        return Deferred()


class Line(ServiceTestCase):
    """The line itself."""

    settings = Settings(
        listen=("tcp:1234", "unix:/tmp/mirror.sock", "tcp:8080"),
        storage=FilesystemSettings("/nowhere"),
        upstreams=(UpstreamSettings.dynamic("quay.io"),),
    )

    def line(self, settings: Settings) -> str:
        """Return what is logged without the version."""
        self.events.clear()
        self.start(settings)
        (line,) = [event for event in self.events if "storing" in event]
        level, name, version, rest = line.split(" ", 3)
        self.assertEqual(("info", "oci-registry"), (level, name))
        self.assertTrue(version[0].isdigit())
        return rest

    def test_directory(self) -> None:
        """Addresses, registries and the directory with its free space are in one line."""
        self.patch(startup.shutil, "disk_usage", lambda _: type("", (), {"free": 41 * 10**9}))
        self.assertEqual(
            "on http://0.0.0.0:1234, unix:/tmp/mirror.sock and http://0.0.0.0:8080, "
            "mirroring quay.io and any other registry, storing in /nowhere (41 GB free)",
            self.line(self.settings),
        )

    def test_bucket(self) -> None:
        """A bucket has its server and prefix, and no secret."""
        storage = S3Settings(
            "images", "https://s3.example.com", "key", "Tr0ub4dor", prefix="a/b", spool="/tmp/x"
        )
        line = self.line(evolve(self.settings, listen=("tcp:80",), storage=storage))
        self.assertEqual(
            "on http://0.0.0.0:80, mirroring quay.io and any other registry, "
            "storing in bucket images at s3.example.com, prefix a/b",
            line,
        )

    def test_unusable_store(self) -> None:
        """Where the store cannot be used, the line says why, and not what is free there."""
        self.starting = fail(StoreError("/nowhere: Permission denied"))
        self.assertEqual(
            "on http://0.0.0.0:80, mirroring quay.io and any other registry, "
            "not storing: /nowhere: Permission denied",
            self.line(evolve(self.settings, listen=("tcp:80",))),
        )

    def test_slow_start(self) -> None:
        """A store that takes long to prepare is not waited for."""
        self.starting = Deferred()
        self.start(self.settings)
        self.reactor.advance(1.9)
        self.assertFalse([event for event in self.events if "storing" in event])
        self.reactor.advance(0.1)
        self.assertEqual(1, len([event for event in self.events if "storing in" in event]))
        self.starting.callback(None)

    def test_slow_disk(self) -> None:
        """A volume that does not say in time how much is free holds nothing up."""
        self.makers = evolve(self.makers, pool=Hanging)
        self.start(self.settings)
        self.assertFalse([event for event in self.events if "storing in" in event])
        self.reactor.advance(2)
        (line,) = [event for event in self.events if "storing" in event]
        self.assertTrue(line.endswith("storing in /nowhere"))

    def test_stopped_meanwhile(self) -> None:
        """A daemon that is stopped before the line says nothing of listening any more."""
        self.makers = evolve(self.makers, pool=Hanging)
        daemon = self.start(self.settings)
        daemon.stopService()
        self.reactor.advance(2)
        self.assertFalse([event for event in self.events if "storing in" in event])

    def test_odd_answer(self) -> None:
        """Whatever goes wrong with the free space, the line comes."""

        def usage(place: Path) -> Any:
            raise ValueError("odd")

        self.patch(startup.shutil, "disk_usage", usage)
        self.assertTrue(self.line(self.settings).endswith("storing in /nowhere"))
