"""A service that listens at an endpoint while it runs."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure


class Listener(Service):
    """Listens at *endpoint*; each connection gets a protocol from *factory*. *place* is for the log.

    Twisted's own (``strports.service``) imports a client's state machine, which takes as long as
    importing the server.
    """

    _log = Logger()

    def __init__(
        self, place: str, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> None:
        self.endpoint = endpoint
        self._place = place
        self._factory = factory
        # Named as in Twisted's own service.
        self._waitingForPort: Deferred[IListeningPort | None] | None = None

    def privilegedStartService(self) -> None:
        """Begin to listen; raises at once if it is known immediately that this is impossible."""
        super().privilegedStartService()
        at_once: list[Failure] = []
        starting = True

        def failed(failure: Failure) -> None:
            if starting:
                at_once.append(failure)
            elif not failure.check(CancelledError):
                self._log.failure("cannot listen at {place}", failure, place=self._place)

        self._waitingForPort = self.endpoint.listen(self._factory).addErrback(failed)
        starting = False
        if at_once:
            at_once[0].raiseException()

    def startService(self) -> None:
        """Listen, unless it is listening already."""
        super().startService()
        if self._waitingForPort is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        """Stop listening, or stop trying to."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._waitingForPort is None:
            return
        self._waitingForPort.cancel()
        port = await self._waitingForPort
        if port is not None:
            await maybeDeferred(port.stopListening)
