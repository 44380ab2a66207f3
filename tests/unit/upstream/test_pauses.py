"""Whoever asks for a pause gets it, and nobody else: hosts, and the servers that they lead to."""

from __future__ import annotations

from urllib.parse import urlsplit

from twisted.internet.defer import Deferred

from oci_registry.spec.errors import BadGateway, TooManyRequests
from oci_registry.spec.reference import Tag
from tests.support.fake_http import FakeResponse, Sent
from tests.unit.upstream.support import APP, LATEST, OTHER, A, QuestionsTestCase, manifest

CDN = "cdn.example"
TOKENS = "auth.a.example"


class PausesTestCase(QuestionsTestCase):
    """One host."""

    names = (A,)

    def get(self, repository: str = APP, tag: Tag = LATEST) -> Deferred[object]:
        """Ask patiently for a manifest."""
        return self.start(self.upstream.manifest(repository, tag))


class OfOthers(PausesTestCase):
    """A server that the host leads to asks for a pause."""

    def test_target(self) -> None:
        """A redirect's target that asks for a second gets it, and then the client has its answer."""
        for status in (429, 503):
            for value in ("0", "1"):
                self.connect()
                answers = [FakeResponse(status, headers={"Retry-After": value}), manifest()]
                self.answer(A, lambda sent, left=answers: self.redirect(sent, left))
                asked = self.get()
                self.clock.advance(0.9)
                self.assertNoResult(asked)
                self.clock.advance(0.2)
                self.successResultOf(asked)

    def redirect(self, sent: Sent, left: list[FakeResponse]) -> FakeResponse:
        if urlsplit(sent.url).netloc == CDN:
            return left.pop(0)
        return FakeResponse(307, headers={"Location": f"https://{CDN}/x"})

    def test_long(self) -> None:
        """One that asks for minutes is not waited for."""
        answers = [FakeResponse(503, headers={"Retry-After": "120"})]
        self.answer(A, lambda sent: self.redirect(sent, answers))
        error = self.error(self.get(), TooManyRequests)
        self.assertEqual("120", error.headers["Retry-After"])

    def test_token_server(self) -> None:
        """A token server that asks for a second gets it, too."""
        answers = [
            FakeResponse(429, headers={"Retry-After": "1"}),
            FakeResponse(body=b'{"token":"t"}'),
        ]

        def answer(sent: Sent) -> FakeResponse:
            if urlsplit(sent.url).netloc == TOKENS:
                return answers.pop(0)
            if "Authorization" in sent.headers:
                return manifest()
            challenge = f'Bearer realm="https://{TOKENS}/token",service="s"'
            return FakeResponse(401, headers={"WWW-Authenticate": challenge})

        self.answer(A, answer)
        asked = self.get()
        self.assertNoResult(asked)
        self.clock.advance(1)
        self.successResultOf(asked)


class OfTheHost(PausesTestCase):
    """The host does."""

    def test_no_time(self) -> None:
        """A 503 whose ``Retry-After`` means nothing is a failure like others: it is tried again."""
        for value in ("", "soon", "-5"):
            self.connect()
            answers = [FakeResponse(503, headers={"Retry-After": value}), manifest()]
            self.answer(A, lambda _, left=answers: left.pop(0))
            asked = self.get()
            self.clock.advance(0.5)
            self.successResultOf(asked)

    def test_works_between(self) -> None:
        """Two repositories that are limited say nothing of others, if others were answered between."""
        limited = FakeResponse(429, headers={"Retry-After": "600"})
        for repository, answer in ((APP, limited), ("fine", manifest()), (OTHER, limited)):
            self.answer(A, answer)
            asked = self.get(repository)
            if answer is limited:
                self.error(asked, TooManyRequests)
            else:
                self.successResultOf(asked)
        self.answer(A, manifest())
        self.successResultOf(self.get("third"))
        self.error(self.get(APP), TooManyRequests)

    def test_tags(self) -> None:
        """A list of tags is asked for again where there is nothing else to show."""
        answers = [FakeResponse(503)] * 3 + [FakeResponse(body=b'{"tags":["a"]}')]
        self.answer(A, lambda _: answers.pop(0))
        self.error(self.start(self.upstream.tags(APP, None, None)), BadGateway)
        asked = self.start(self.upstream.tags(APP, None, None, wait=True))
        self.clock.pump([0.5] * 4)
        self.assertEqual(("a",), self.successResultOf(asked).tags)
