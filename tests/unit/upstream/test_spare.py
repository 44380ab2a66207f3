"""What no client waits for is requested only where there is room beside clients."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from oci_registry.spec.digest import Digest
from oci_registry.upstream.interfaces import Capacity
from oci_registry.upstream.limiter import Permit
from oci_registry.upstream.requests import Priority
from tests.support.fake_http import FakeResponse
from tests.unit.upstream.support import APP, LATEST, A, B, HostsTestCase

FREE, BUSY, RESERVED = Capacity.FREE, Capacity.BUSY, Capacity.RESERVED
MANIFEST = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}'


def granted(**headers: str) -> FakeResponse:
    """Return a manifest with some headers more."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Content-Type"] = "application/vnd.oci.image.manifest.v1+json"
    return FakeResponse(200, MANIFEST, named)


class SpareTests(HostsTestCase):
    """RemoteRegistry.spare."""

    def spare(self, *, blob: bool = False, under_way: int = 0) -> Capacity:
        found = self.upstream.spare(APP, blob=blob, under_way=under_way)
        self.why = found.why
        return found.capacity

    def ask(self) -> None:
        """Request the manifest of a tag, however that ends."""
        self.start(self.upstream.manifest(APP, LATEST, patient=False)).addErrback(lambda _: None)
        self.clock.advance(0)

    def take(self, number: int, host: int = 0) -> list[Permit]:
        """Use some connections of a host."""
        limiter = self.group.hosts[host]._limiter
        return [
            self.successResultOf(limiter.take(Priority.BLOB, f"r{each}")) for each in range(number)
        ]

    def test_unused(self) -> None:
        """Until an upstream has answered, one manifest is requested at a time, and blobs together."""
        self.assertIs(FREE, self.spare())
        self.assertIs(BUSY, self.spare(under_way=1))
        self.assertIs(FREE, self.spare(blob=True, under_way=1))
        self.answer(A, granted())
        self.ask()
        self.assertIs(FREE, self.spare(under_way=3))

    def test_reserve(self) -> None:
        """The reserve of the announced limit is left to clients, and what is under way counts."""
        self.answer(A, granted(RateLimit_Limit="100", RateLimit_Remaining="28"))
        self.ask()
        self.assertIs(FREE, self.spare(under_way=2))
        self.assertIs(BUSY, self.spare(under_way=3))
        self.answer(A, granted(RateLimit_Limit="100", RateLimit_Remaining="25"))
        self.ask()
        self.assertIs(RESERVED, self.spare())
        self.assertIn("a.example: 25 of 100 requests are left", self.why)
        self.assertIs(FREE, self.spare(blob=True, under_way=3))

    def test_setting(self) -> None:
        """How much is reserved is a setting; 0 reserves nothing, 100 all."""
        for reserve, expected in ((0, FREE), (100, RESERVED)):
            self.connect(rate_limit_reserve=reserve)
            self.answer(A, granted(RateLimit_Limit="100", RateLimit_Remaining="50"))
            self.ask()
            self.assertIs(expected, self.spare())

    def test_connections(self) -> None:
        """Half of the connections are left to clients."""
        self.connect(max_connections=4)
        (first, second) = self.take(2)
        self.assertIs(BUSY, self.spare(blob=True))
        first.release()
        self.assertIs(FREE, self.spare(blob=True))
        second.release()

    def test_waiting(self) -> None:
        """While a client waits for a connection, there is none."""
        self.connect(max_connections=16)
        held = self.take(14)
        waiting: Deferred[Permit] = self.group.hosts[0]._limiter.take(Priority.BLOB, "w")
        for permit in held[1:]:
            permit.release()
        self.successResultOf(waiting)
        self.assertIs(FREE, self.spare(blob=True))

    def test_pauses(self) -> None:
        """A short pause of a rate limited host is waited for, a long one is not."""
        for seconds, expected in ((5, BUSY), (3000, RESERVED)):
            self.connect()
            for host in (A, B):
                self.answer(host, FakeResponse(429, b"", {"Retry-After": str(seconds)}))
            for tag in (LATEST, Digest.of(b"x")):
                asked = self.upstream.manifest(APP, tag, patient=False)
                self.start(asked).addErrback(lambda _: None)
            self.assertIs(expected, self.spare())
        self.assertIn("is rate limited for 3000 s", self.why)
