"""Requests to a host take turns: so many at once, manifests before blobs, repositories in rotation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.errors import TooManyRequests
from oci_registry.upstream import limiter as limiter_module
from oci_registry.upstream.limiter import ConnectionLimiter, Permit
from oci_registry.upstream.requests import Priority

BLOB, MANIFEST, REST = Priority.BLOB, Priority.SMALL, Priority.REST


class ConnectionLimiterTests(SynchronousTestCase):
    """The queue of one host."""

    def setUp(self) -> None:
        self.waiting = 0
        self.limiter = ConnectionLimiter(4, self.tell)

    def tell(self, count: int) -> None:
        self.waiting = count

    def taken(self, priority: Priority, repository: str = "r") -> Permit:
        """Take a permit that must be free."""
        return self.successResultOf(self.limiter.take(priority, repository))

    def queued(
        self, priority: Priority, repository: str, got: list[str], name: str
    ) -> Deferred[None]:
        """Wait for a permit, note that it came, and keep it."""
        waiter = self.limiter.take(priority, repository)
        self.assertNoResult(waiter)
        return waiter.addCallback(lambda permit: self.keep(permit, got, name))

    def keep(self, permit: Permit, got: list[str], name: str) -> None:
        got.append(name)
        self.last = permit

    def test_bound(self) -> None:
        """There are never more than the limit; a permit that is released goes to the next."""
        held = [self.taken(MANIFEST) for _ in range(4)]
        got: list[str] = []
        self.queued(MANIFEST, "r", got, "fifth")
        self.assertEqual(1, self.waiting)
        held[0].release()
        self.assertEqual((["fifth"], 0), (got, self.waiting))
        held[0].release()
        self.queued(MANIFEST, "r", got, "sixth")

    def test_spare(self) -> None:
        """There is room for requests that no client waits for while half is free and nobody waits."""
        self.assertTrue(self.limiter.spare)
        held = [self.taken(MANIFEST), self.taken(MANIFEST, "s")]
        self.assertFalse(self.limiter.spare)
        held[0].release()
        self.assertTrue(self.limiter.spare)

    def test_manifests_first(self) -> None:
        """A manifest goes before blobs that have waited for longer."""
        held = [self.taken(BLOB) for _ in range(3)]
        got: list[str] = []
        self.queued(BLOB, "r", got, "blob")
        other = self.taken(MANIFEST)
        self.queued(MANIFEST, "r", got, "manifest")
        held[0].release()
        self.assertEqual(["manifest"], got)
        self.last.release()
        self.assertEqual(["manifest", "blob"], got)
        other.release()

    def test_rests_before_blobs(self) -> None:
        """What is left of a blob goes before blobs that have waited for longer, and after manifests."""
        held = [self.taken(BLOB) for _ in range(3)]
        other = self.taken(MANIFEST)
        got: list[str] = []
        for priority in (BLOB, REST, MANIFEST):
            self.queued(priority, "r", got, priority.name)
        held[0].release()
        self.assertEqual(["SMALL"], got)
        other.release()
        self.assertEqual(["SMALL", "REST"], got)
        self.last.release()
        self.assertEqual(["SMALL", "REST", "BLOB"], got)

    def test_blobs_leave_room(self) -> None:
        """Blobs and rests do not take every permit, so that a manifest need not wait for one to end."""
        for priority in (BLOB, REST, BLOB):
            self.taken(priority)
        self.queued(BLOB, "r", [], "fourth")
        self.queued(REST, "r", [], "fifth")
        self.taken(MANIFEST)

    def test_repositories_take_turns(self) -> None:
        """An image of many layers does not keep another waiting for all of them."""
        held = [self.taken(BLOB) for _ in range(3)]
        got: list[str] = []
        for number in range(4):
            self.queued(BLOB, "large", got, f"large {number}")
        self.queued(BLOB, "small", got, "small")
        for permit in held:
            permit.release()
        self.assertEqual(["large 0", "small", "large 1"], got)

    def test_leaving(self) -> None:
        """A caller that gives up waiting leaves the queue, and no permit is lost."""
        held = [self.taken(MANIFEST) for _ in range(4)]
        got: list[str] = []
        leaving = self.queued(MANIFEST, "r", got, "leaving")
        self.queued(MANIFEST, "r", got, "staying")
        leaving.cancel()
        self.failureResultOf(leaving, CancelledError)
        self.assertEqual(1, self.waiting)
        held[0].release()
        self.assertEqual(["staying"], got)

    def test_bounded_queue(self) -> None:
        """There is an end to how many may wait."""
        self.limiter = ConnectionLimiter(4, self.tell, most_waiting=2)
        for _ in range(4):
            self.taken(MANIFEST)
        for _ in range(2):
            self.queued(MANIFEST, "r", [], "waiting")
        with self.assertRaises(TooManyRequests):
            self.limiter.take(MANIFEST, "r")

    def test_many_who_let_go_at_once(self) -> None:
        """However many wait, and let go of what they are given at once, each has its turn."""
        held = [self.taken(MANIFEST) for _ in range(4)]
        got: list[Permit] = []

        def take_and_leave(permit: Permit) -> None:
            got.append(permit)
            permit.release()

        for number in range(limiter_module.MAX_WAITING):
            waiter = self.limiter.take(MANIFEST, f"r{number % 7}")
            waiter.addCallback(take_and_leave)
        for permit in held:
            permit.release()
        self.assertEqual((limiter_module.MAX_WAITING, 0), (len(got), self.waiting))
        for _ in range(4):
            self.taken(MANIFEST)

    def test_share_of_a_repository(self) -> None:
        """A repository that never answers leaves half of many connections to the others."""
        self.limiter = ConnectionLimiter(8, self.tell)
        for _ in range(4):
            self.taken(MANIFEST, "hanging")
        got: list[str] = []
        self.queued(MANIFEST, "hanging", got, "fifth")
        self.queued(BLOB, "hanging", got, "blob")
        first = self.taken(MANIFEST, "other")
        self.taken(BLOB, "other")
        self.queued(MANIFEST, "other", got, "third")
        first.release()
        self.assertEqual(["third"], got)

    def test_share_of_repositories(self) -> None:
        """Several repositories that never answer leave connections to the others, too."""
        self.limiter = ConnectionLimiter(64, self.tell)
        for number in range(4):
            for _ in range(64):
                self.limiter.take(MANIFEST, f"hanging {number}")
        self.assertEqual(60, self.limiter.used)
        self.taken(MANIFEST, "other")
        self.taken(MANIFEST, "another")

    def test_smallest(self) -> None:
        """Two connections are one for blobs and one for all else."""
        self.limiter = ConnectionLimiter(2, self.tell)
        self.taken(BLOB)
        self.queued(BLOB, "r", [], "second")
        self.taken(MANIFEST)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["take", "release", "leave"]),
                st.sampled_from(Priority),
                st.integers(0, 3),
            )
        )
    )
    def test_any_order(self, steps: list[tuple[str, Priority, int]]) -> None:
        """Whatever is done in whatever order, the bounds hold and nobody waits beside a free permit."""
        self.waiting = 0
        limiter = ConnectionLimiter(4, self.tell)
        held: list[tuple[Priority, Permit]] = []
        waiting: list[tuple[Priority, Deferred[None]]] = []
        for step, priority, number in steps:
            if step == "take":

                def keep(permit: Permit, priority: Priority = priority) -> None:
                    held.append((priority, permit))

                waiter = limiter.take(priority, f"r{number}").addCallback(keep)
                waiting.append((priority, waiter))
            elif step == "release" and held:
                held.pop(number % len(held))[1].release()
            elif step == "leave" and waiting:
                _, leaving = waiting.pop(number % len(waiting))
                leaving.addErrback(lambda failure: failure.trap(CancelledError))
                leaving.cancel()
            waiting = [(t, w) for t, w in waiting if not w.called]
            blobs = sum(1 for t, _ in held if t >= REST)
            self.assertLessEqual(len(held), 4)
            self.assertLessEqual(blobs, 3)
            self.assertEqual(len(waiting), self.waiting)
            if len(held) < 4:
                self.assertFalse(any(t < REST for t, _ in waiting))
                self.assertFalse(blobs < 3 and waiting)
