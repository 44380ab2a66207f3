"""Everything that makes a ready answer wrong, and what is ready at all."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.logs import AccessEntry
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway
from oci_registry.spec.reference import Tag
from oci_registry.spec.routes import Name
from oci_registry.streams.recent import RecentTable
from oci_registry.upstream.table import Target
from oci_registry.web.ready.table import ReadyAnswers, ReadyLimits
from oci_registry.web.site import IDLE_TIMEOUT
from tests.support.settings import upstream_settings
from tests.unit.web.ready.support import RAW, Mirror

PATH = "/v2/library/app/manifests/1"
MAX_AGE = 3600.0


class ReadyTestCase(SynchronousTestCase):
    """A mirror with a ready answer for `PATH`, and one for the same manifest by digest."""

    def setUp(self) -> None:
        self.mirror = Mirror(ready=True)
        self.addCleanup(self.mirror.leave)
        self.by_digest = f"/v2/library/app/manifests/{self.mirror.digest}"
        for path in (PATH, self.by_digest):
            self.mirror.warm(path)
            self.assertTrue(self.mirror.at_once(path))

    def gone(self, path: str = PATH) -> None:
        """The answer is not ready; the next request makes it so again."""
        self.assertFalse(self.mirror.at_once(path))
        self.mirror.warm(path)
        self.assertTrue(self.mirror.at_once(path))


class Changes(ReadyTestCase):
    """What happens to manifests and tags."""

    def test_age(self) -> None:
        """A tag is ready for exactly as long as it is fresh, and says how long that is."""
        for passed, ttl in ((0.5, 3599), (0.5, 3599), (3598.5, 0), (0.25, 0)):
            self.mirror.clock.advance(passed)
            self.assertTrue(self.mirror.at_once())
            self.assertIn(b"hit; ttl=%d\r\n" % ttl, self.mirror.ask(PATH))
        self.mirror.clock.advance(0.25)
        self.mirror.upstream.error = BadGateway("down")
        self.assertFalse(self.mirror.at_once())
        self.assertIn(b"\r\nWarning: ", self.mirror.ask(PATH))
        self.assertFalse(self.mirror.at_once())
        self.assertTrue(self.mirror.at_once(self.by_digest))

    def test_clock_set_back(self) -> None:
        """A tag that was confirmed in the future is revalidated."""
        self.mirror.clock.rightNow -= 1.0
        self.mirror.upstream.asked.clear()
        self.gone()
        self.assertEqual(["HEAD library/app 1"], self.mirror.upstream.asked)

    def test_revalidated(self) -> None:
        """A tag that was confirmed again has another age."""
        self.mirror.clock.advance(10)
        known = self.mirror.manifests._known
        manifest = known.recall(self.mirror.target, self.mirror.digest)
        assert manifest is not None
        decision = self.mirror.now(known.decide(self.mirror.target, Tag("1"), manifest.digest))
        known.confirm(self.mirror.target, Tag("1"), manifest, decision)
        self.gone()
        self.assertIn(b"ttl=3600\r\n", self.mirror.ask(PATH))

    def test_moved(self) -> None:
        """A tag that has moved has another manifest."""
        self.mirror.clock.advance(MAX_AGE)
        self.mirror.upstream.add(RAW + b"\n", "1")
        self.gone()
        self.assertTrue(self.mirror.ask(PATH).endswith(RAW + b"\n"))
        self.assertTrue(self.mirror.ask(self.by_digest).endswith(RAW))

    def test_removed(self) -> None:
        """A manifest or a tag that was removed from the store is fetched again."""
        store, tags = self.mirror.manifest_store, self.mirror.tag_store
        for remove in (
            lambda: store.delete("docker.io", self.mirror.digest),
            lambda: tags.delete("docker.io", "library/app", "1"),
        ):
            self.mirror.now(remove())
            self.gone()

    def test_refused(self) -> None:
        """A tag that upstream has refused is not ready, however new it is."""
        for gone in (False, True):
            self.mirror.manifests._known.set_negative(self.mirror.target, Tag("1"), gone=gone)
            self.gone()

    def test_forgotten(self) -> None:
        """What has left the memory is read from the store again."""
        self.mirror.manifest_store._recent.forget(next(iter(self.keys())))
        self.gone()
        self.mirror.tag_store._recent.clear()
        self.gone()

    def keys(self) -> list[str]:
        return [key for key in self.mirror.stored() if self.mirror.digest.encoded[2:] in key]

    def test_reloaded(self) -> None:
        """After the upstreams were configured again, names may mean other registries."""
        self.mirror.table.configure(
            (
                upstream_settings("docker.io", "registry-1.docker.io"),
                upstream_settings("library", "other.example.com"),
            )
        )
        self.assertFalse(self.mirror.at_once())
        self.assertIn(b"404", self.mirror.ask(PATH))

    def test_reloaded_meanwhile(self) -> None:
        """A request from before a reload makes nothing ready, and ends no answer from after it."""
        table, slow = self.mirror.table, f"{PATH}?ns=docker.io"
        resolve = table.resolve

        def resolve_late(name: Name, ns: str | None) -> Target:
            table.resolve = resolve  # type: ignore[method-assign]
            target = resolve(name, ns)
            table.generation += 1
            self.gone()
            return target

        table.resolve = resolve_late  # type: ignore[method-assign]
        self.assertIn(b" 200 OK", self.mirror.ask(slow))
        self.assertTrue(self.mirror.at_once(PATH))
        self.gone(slow)
        self.assertTrue(self.mirror.at_once(PATH))

    def test_upstream_closed(self) -> None:
        """An upstream that clients have named and that made room for others is made again."""
        path = f"{PATH}?ns=other.example.com"
        other = self.mirror.table.upstream("other.example.com")
        other.add(RAW, "1")  # type: ignore[attr-defined]
        self.mirror.warm(path)
        self.assertTrue(self.mirror.at_once(path))
        for number in range(300):
            self.mirror.table.upstream(f"r{number}.example.com")
        self.assertFalse(self.mirror.at_once(path))

    def test_used_upstream(self) -> None:
        """An upstream that clients use through ready answers does not make room for others."""
        path = f"{PATH}?ns=other.example.com"
        other = self.mirror.table.upstream("other.example.com")
        other.add(RAW, "1")  # type: ignore[attr-defined]
        self.mirror.warm(path)
        for number in range(300):
            self.mirror.table.upstream(f"r{number}.example.com")
            self.assertTrue(self.mirror.at_once(path))

    def test_closing(self) -> None:
        """A site that is closing answers in full, since it says that this is the last response."""
        connection = self.mirror.connect()
        connection.send(b"GET / HTTP/1.1\r\n")
        late = self.mirror.connect()
        late.ask("/readyz")
        self.mirror.site.close(30)
        connection.send(b"Host: m\r\n\r\n")
        self.assertTrue(connection.transport.disconnecting)
        late.channel._closing = False
        late.transport.disconnecting = False
        late.ask(PATH)
        self.assertIn(b"\r\nConnection: close\r\n", late.got)


class Connections(ReadyTestCase):
    """Connections on which something else is going on."""

    request = f"GET {PATH} HTTP/1.1\r\nHost: m\r\n\r\n".encode()

    def test_behind_others(self) -> None:
        """A request waits for those before it."""
        self.mirror.upstream.holding = True
        connection = self.mirror.connect()
        connection.ask("/v2/library/app/manifests/other")
        connection.send(self.request)
        self.assertEqual(b"", connection.got)
        self.mirror.upstream.release()
        first, second = connection.answers()
        self.assertEqual((RAW + b" ", RAW), (first.body, second.body))

    def test_client_that_does_not_read(self) -> None:
        """While a client does not take what was sent, nothing more is sent past the usual way."""
        connection = self.mirror.connect()
        connection.channel.pauseProducing()
        respond = self.mirror.answers.respond  # type: ignore[union-attr]
        self.patch(self.mirror.answers, "respond", lambda *_: self.fail("answered"))
        connection.send(self.request)
        self.patch(self.mirror.answers, "respond", respond)
        self.assertEqual(RAW, connection.answer().body)

    def test_idle(self) -> None:
        """The time that a connection may be idle begins again with each ready answer."""
        connection = self.mirror.connect()
        for _ in range(3):
            self.mirror.clock.advance(IDLE_TIMEOUT - 2)
            connection.send(self.request)
        self.assertFalse(connection.transport.disconnecting)
        self.mirror.clock.advance(IDLE_TIMEOUT + 2)
        self.assertTrue(connection.transport.disconnecting)

    def test_handshake_byte_later(self) -> None:
        """The first byte of a connection is seen, be it of a ready answer."""
        connection = self.mirror.connect()
        connection.send(self.request)
        connection.send(b"\x16")
        self.assertNotIn(b"plain HTTP", connection.answers()[1].body)


class Bounds(ReadyTestCase):
    """What is kept, and how much."""

    def offered(self, *requests: tuple[str, str, dict[str, str]], version: str = "1.1") -> int:
        """Return how many more answers are ready after some requests."""
        answers = self.mirror.answers
        assert answers is not None
        before = len(answers)
        for method, path, headers in requests:
            connection = self.mirror.connect()
            lines = [f"{method} {path} HTTP/{version}", "Host: m"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return len(answers) - before

    def test_not_kept(self) -> None:
        """Only whole hits of manifests are kept, and pages that are always the same."""
        path, tag = "/v2/library/app/manifests/other", f'"{self.mirror.digest}"'
        self.assertEqual(0, self.offered(("GET", path, {})), "a miss")
        self.assertEqual(0, self.offered(("GET", path, {}), version="1.0"))
        self.assertEqual(0, self.offered(("GET", f"http://m{path}", {})))
        self.assertEqual(0, self.offered(("GET", f"{path}?{'x' * 3000}", {})))
        self.assertEqual(0, self.offered(("GET", "/v2/library/app/manifests/none", {})))
        self.assertEqual(0, self.offered(("POST", path, {})))
        self.assertEqual(0, self.offered(("GET", f"{PATH}?n=1", {"If-None-Match": tag})))
        self.assertEqual(0, self.offered(("GET", "/readyz", {}), ("GET", "/", {"Range": "x"})) - 1)
        self.assertEqual(0, self.offered(("GET", "/v2/library/app/tags/list", {})))
        self.assertEqual(1, self.offered(("HEAD", path, {"Connection": "close"})))

    def test_large(self) -> None:
        """A manifest that is large is answered in full."""
        self.mirror.upstream.add(RAW + b" " * ReadyLimits().body, "large")
        path = "/v2/library/app/manifests/large"
        self.assertEqual(0, self.offered(*[("GET", path, {})] * 3))

    def test_many(self) -> None:
        """Answers have a limit in number and one in bytes; those used last stay."""
        answers = self.mirror.answers
        assert answers is not None
        for limits, most in ((ReadyLimits(entries=5), 5), (ReadyLimits(size=7000), 3)):
            fresh = ReadyAnswers(self.mirror.clock, answers._log, self.mirror.metrics, limits)
            for name in ("_entries", "_limits"):
                setattr(answers, name, getattr(fresh, name))
            for number in range(10):
                self.mirror.warm(f"{PATH}?n={number}")
            self.assertIsInstance(answers._entries, RecentTable)
            self.assertLessEqual(len(answers), most)
            self.assertLessEqual(answers._entries.weight, limits.size)
            self.assertTrue(self.mirror.at_once(f"{PATH}?n=9"))
            self.assertFalse(self.mirror.at_once(f"{PATH}?n=0"))


class Last(ReadyTestCase):
    """Requests of clients that open a connection for each."""

    def test_made_by_them(self) -> None:
        """They make answers ready for themselves and for others."""
        path = "/v2/library/app/manifests/other"
        plain = Mirror(ready=False)
        self.addCleanup(plain.leave)
        for connection in (*["close"] * 3, *["keep-alive"] * 2, "close"):
            asked = {"Connection": connection}
            got = [mirror.ask(path, **asked) for mirror in (self.mirror, plain)]
            self.assertEqual(got[1], got[0])
            self.assertEqual(connection == "close", b"\r\nConnection: close\r\n" in got[0])
            closed = [m.connections[-1].transport.closed for m in (self.mirror, plain)]
            self.assertEqual([connection == "close"] * 2, closed)
        self.assertTrue(self.mirror.at_once(path, Connection="close"))


class Counting(ReadyTestCase):
    """What a ready answer leaves behind."""

    def test_heard(self) -> None:
        """A listener of the access log hears of it what is logged, until it stops listening."""
        heard: list[AccessEntry] = []
        log = self.mirror.site._access_log
        log.hear(heard.append)
        self.assertTrue(self.mirror.at_once())
        self.assertFalse(self.mirror.at_once(f"{PATH}?n=1"))
        log.hear(None)
        self.assertTrue(self.mirror.at_once())
        ready, plain = heard
        self.assertEqual(ready, evolve(plain, uri=PATH))
        self.assertEqual(("docker.io", "hit"), (ready.namespace, ready.outcome))

    def test_sizes(self) -> None:
        """The sizes that a manifest states are known after it was served, whatever happened to them."""
        sizes = self.mirror.sizes
        (name,) = [name for name in sizes._hints if " library/app@" in name]
        key = ("docker.io", "library/app", Digest.parse(name.partition("@")[2]))
        sizes.contradict(*key, 6)
        self.assertIsNone(sizes.get(*key))
        self.assertTrue(self.mirror.at_once())
        self.assertEqual(5, sizes.get(*key))

    def test_used(self) -> None:
        """A manifest is used when it is served."""
        self.mirror.clock.advance(100)
        when = self.mirror.clock.seconds()
        store = self.mirror.manifest_store
        self.assertFalse(store.used_since("docker.io", self.mirror.digest, when))
        self.assertTrue(self.mirror.at_once())
        self.assertTrue(store.used_since("docker.io", self.mirror.digest, when))
