"""Pages of the admin API that are made late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.admin.gate import Gate, LocalGate
from oci_registry.admin.late import LatePage, LatePages, Pages
from oci_registry.web.answering import Answering


class Page(Answering):
    """A page that says what it was asked."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate
        self.asked: list[object] = []

    async def answer(self, request: Any) -> None:
        self.asked.append(request)


class Request:
    """A request of a client that has left: nothing is sent to it."""

    gone = True


class Late(SynchronousTestCase):
    """Nothing is imported before a page is requested."""

    def setUp(self) -> None:
        self.importing: list[Deferred[None]] = []
        self.begun = 0
        self.made: list[Page] = []
        self.pages = LatePages(lambda: None, self.begin, cast(Any, self.in_thread))

    def in_thread(self, load: Callable[[], object]) -> Deferred[None]:
        self.importing.append(Deferred())
        return self.importing[-1]

    def begin(self) -> Callable[[Gate], Pages]:
        self.begun += 1

        def make(gate: Gate) -> Pages:
            self.made.append(Page(gate))
            return {b"api": self.made[-1]}

        return make

    def test_once(self) -> None:
        """Requests that come meanwhile wait; all are answered by the same page."""
        gate = LocalGate()
        page = LatePage(self.pages, gate, b"api")
        self.assertEqual([], self.importing)
        answers = [Deferred.fromCoroutine(page.answer(cast(Any, name))) for name in ("a", "b")]
        self.assertEqual(0, self.begun)
        for importing in self.importing:
            importing.callback(None)
        for answered in answers:
            self.successResultOf(answered)
        self.successResultOf(Deferred.fromCoroutine(page.answer(cast(Any, "c"))))
        self.assertEqual(1, self.begun)
        asked = [request for each in self.made for request in each.asked]
        self.assertEqual({"a", "b", "c"}, set(asked))
        self.assertEqual(["a", "b", "c"], self.made[0].asked)
        self.assertEqual({gate}, {each.gate for each in self.made})

    def test_two_gates(self) -> None:
        """Each gate has pages of its own, by the same imports."""
        gates = [LocalGate(), LocalGate()]
        for gate in gates:
            page = LatePage(self.pages, gate, b"api")
            answered = Deferred.fromCoroutine(page.answer(cast(Any, "a")))
            if self.importing and not self.importing[0].called:
                self.importing[0].callback(None)
            self.successResultOf(answered)
        self.assertEqual((1, gates), (self.begun, [each.gate for each in self.made]))

    def test_failure(self) -> None:
        """If the import fails, that request fails, and the next one tries again."""
        page = LatePage(self.pages, LocalGate(), b"api")
        failed = Deferred.fromCoroutine(page.answer(cast(Any, Request())))
        self.importing[0].errback(ImportError("no"))
        self.successResultOf(failed)
        answered = Deferred.fromCoroutine(page.answer(cast(Any, "b")))
        self.importing[1].callback(None)
        self.successResultOf(answered)
        self.assertEqual(["b"], self.made[0].asked)
