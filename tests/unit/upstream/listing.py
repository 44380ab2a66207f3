"""What the tests of lists have in common: an upstream that is a dictionary of pages."""

from __future__ import annotations

import json
from collections.abc import Mapping

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IResponse

from oci_registry.spec.errors import RegistryError
from tests.support.fake_http import FakeResponse, as_response

HOST = "registry.example.com"
URL = f"http://{HOST}"


def page(value: object, following: str | None = None) -> FakeResponse:
    """Return a page with a link to the next."""
    headers = {} if following is None else {"Link": f'<{following}>; rel="next"'}
    return FakeResponse(body=json.dumps(value).encode(), headers=headers)


def tags(*names: str, following: str | None = None) -> FakeResponse:
    """Return a page of tags."""
    return page({"name": "a/b", "tags": list(names)}, following)


class ListTestCase(SynchronousTestCase):
    """Pages by path; what is not there is a 404, and an error is raised."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pages: dict[str, FakeResponse | RegistryError] = {}
        self.asked: list[str] = []

    async def ask(
        self, method: str, repository: str, path: str, headers: Mapping[str, str]
    ) -> IResponse:
        self.assertEqual(("GET", "a/b"), (method, repository))
        self.asked.append(path)
        answer = self.pages.get(path, FakeResponse(404))
        if isinstance(answer, RegistryError):
            raise answer
        return as_response(answer)
