"""Resources whose responses are made by coroutines."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from oci_registry.spec.errors import Unsupported
from oci_registry.web.site import RegistryRequest

ALLOWED = ("GET", "HEAD")
METHODS = frozenset(method.encode() for method in ALLOWED)


class Answering(Resource):
    """A leaf whose response is made by a coroutine, which is cancelled when the client leaves."""

    isLeaf = True

    def render(self, request: Any) -> int:
        """Start the response."""
        answering = Deferred.fromCoroutine(self.answer(request))
        if not answering.called:
            # Downloads that other clients may use continue.
            request.notifyFinish().addErrback(lambda _: answering.cancel())
        return NOT_DONE_YET

    async def answer(self, request: RegistryRequest) -> None:
        """Respond to a request. Never fails; cancelled when the client has left."""
        raise NotImplementedError


def check_method(request: RegistryRequest) -> None:
    """Raise `Unsupported` for a method other than those in `ALLOWED`."""
    if request.method not in METHODS:
        raise Unsupported.for_method(request.method.decode("latin-1"), ALLOWED)
