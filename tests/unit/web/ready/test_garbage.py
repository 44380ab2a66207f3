"""How many objects of the ready answers the garbage collector tracks: it delays all requests."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from io import StringIO
from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.logs import AccessLog
from oci_registry.web.ready.table import ReadyAnswers
from oci_registry.web.recent_routes import recent_route
from oci_registry.workers.leases import Borrower, Lease
from oci_registry.workers.reports import Responses
from tests.unit.web.ready.support import RAW, SMALL, Mirror

COUNT = 25
FIRST = 3
"""How many are not counted: what they make for the first time stays."""
ALL = FIRST + COUNT
OF_TESTS = ("tests.", "unittest.", "twisted.trial.")


class GarbageTestCase(SynchronousTestCase):
    """Counts objects."""

    def setUp(self) -> None:
        # What is there already need not be looked at each time; it stays frozen.
        gc.collect()
        gc.freeze()

    def objects(self) -> Counter[str]:
        """Return the objects that are tracked, by type."""
        # The collector finds out that a tuple need not be tracked, first the inner ones.
        for _ in range(3):
            gc.collect()
        types = (type(one) for one in gc.get_objects())
        return Counter(
            kind.__qualname__ for kind in types if not str(kind.__module__).startswith(OF_TESTS)
        )

    def assert_none(self, add: Callable[[int], object]) -> None:
        """Nothing is tracked for each call of *add*."""
        for number in range(FIRST):
            add(number)
        # The first count makes objects itself.
        self.objects()
        before = self.objects()
        for number in range(FIRST, ALL):
            add(number)
        more = self.objects() - before
        self.assertEqual(
            {},
            {kind: n for kind, n in more.items() if n >= COUNT // 2},
        )


class Answers(GarbageTestCase):
    """Ready answers."""

    def mirror(self) -> Mirror:
        """Return a mirror whose log is forgotten at the end."""
        mirror = Mirror(ready=True)
        self.addCleanup(mirror.leave)
        return mirror

    def ready(self, mirror: Mirror, path: str, **headers: str) -> None:
        """Ask for something until it is ready, and then for the ready answer."""
        for _ in range(2):
            mirror.ask(path, **headers)
        self.assertTrue(mirror.at_once(path, **headers))
        mirror.leave()
        # Many requests are spread over several iterations.
        mirror.clock.advance(0)
        mirror.log.truncate(0)
        mirror.log.seek(0)

    def test_manifests(self) -> None:
        """Neither an answer with a manifest nor its line of the access log is tracked, by tag or by digest."""
        mirror, references = self.mirror(), []
        for number in range(ALL):
            digest = mirror.upstream.add(RAW + b" " * number, f"t{number}").digest
            references.append((f"t{number}", digest))
            self.ready(mirror, f"/v2/library/app/manifests/t{number}")
        known = len(mirror.answers or ())

        def add(number: int) -> None:
            for reference in references[number]:
                path = f"/v2/library/app/manifests/{reference}?ns=docker.io"
                self.ready(mirror, path, User_Agent=f"agent/{number}")

        self.assert_none(add)
        assert mirror.answers is not None
        self.assertEqual(2 * ALL, len(mirror.answers) - known)
        self.assertEqual(1 + 1, len(mirror.answers.sources))

    def test_learned_again(self) -> None:
        """An answer with a manifest is not tracked after its sizes had to be learned again."""
        mirror = self.mirror()
        for number in range(ALL):
            mirror.upstream.add(RAW + b" " * number, f"t{number}")
            self.ready(mirror, f"/v2/library/app/manifests/t{number}")

        def use(number: int) -> None:
            mirror.sizes.losses += 1
            self.assertTrue(mirror.at_once(f"/v2/library/app/manifests/t{number}"))
            mirror.leave()

        self.assert_none(use)

    def test_blobs(self) -> None:
        """Answers about a blob, whole and in parts, are not tracked."""
        mirror, paths = self.mirror(), []
        for number in range(ALL):
            digest = mirror.upstream.add_blob(SMALL + b"%d" % number)
            paths.append(f"/v2/library/app/blobs/{digest}")
            self.ready(mirror, paths[-1])
        known = len(mirror.answers or ())

        def add(number: int) -> None:
            path = f"{paths[number]}?ns=docker.io"
            self.ready(mirror, path)
            self.ready(mirror, path, Range="bytes=1-5")

        self.assert_none(add)
        assert mirror.answers is not None
        self.assertEqual(ALL, len(mirror.answers) - known)
        self.assertEqual(1, len(mirror.answers.blob_sources))

    def test_reloaded(self) -> None:
        """However often the upstreams are configured, there is one source for each that is in use."""
        mirror = self.mirror()
        for _ in range(5):
            self.ready(mirror, "/v2/library/app/manifests/1")
            mirror.table.generation += 1
        assert mirror.answers is not None
        self.assertEqual(1 + 1, len(mirror.answers.sources))

    def test_lent(self) -> None:
        """An answer that a worker has borrowed is not tracked."""
        clock = Clock()
        table = ReadyAnswers(clock, AccessLog(StringIO(), "text", clock), Responses())
        borrower = Borrower(table, clock.seconds)

        def add(number: int) -> None:
            target, piece = b"/%d" % number, b"%d" % number
            answer = (piece, piece, b"", piece, 0.0, inf)
            borrower.borrow(Lease(target, 1.0, answer, (f"/{number}", None, None), "manifest"))
            self.assertIsNotNone(
                table.respond(b"GET %b HTTP/1.1\r\nHost: m\r\n\r\n" % target, "10.0.0.1")
            )

        self.assert_none(add)
        self.assertEqual(ALL, len(table))


class Routes(GarbageTestCase):
    """The routes of recent requests."""

    def test_routes(self) -> None:
        """None of them is tracked."""
        digest = b"sha256:" + b"a" * 64

        def add(number: int) -> None:
            for path in (
                b"manifests/%d" % number,
                b"manifests/" + digest,
                b"blobs/" + digest,
                b"tags/list",
                b"referrers/" + digest,
            ):
                recent_route(b"/v2/library/app%d/" % number + path, b"ns=example.com")

        self.assert_none(add)
