"""Ports whose connections let files be sent without reading them."""

from __future__ import annotations

from collections.abc import Mapping
from socket import AF_UNIX
from typing import Any

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from oci_registry.web.transports import FileTransport, TCPFileTransport, UNIXFileTransport

Transports = Mapping[type, type[FileTransport]]
TRANSPORTS: Transports = {tcp.Port: TCPFileTransport, unix.Port: UNIXFileTransport}
"""The transport class for each class of port. With other classes and reactors, files are read."""


def is_plain(port: object, factory: IProtocolFactory) -> bool:
    """Whether the protocols of *factory* are connected directly to the sockets of a port.

    Only then the connections can be handed from one process to another.
    """
    return type(port) in TRANSPORTS and getattr(port, "factory", None) is factory


def hide_path(port: Any) -> None:
    """Make a port of Twisted one without a name in the file system: others are not changed or removed."""
    # Until Twisted 25.5 this is where other ports have their number.
    attribute = "_bindPath" if hasattr(port, "_bindPath") else "port"
    setattr(port, attribute, b"\0" + getattr(port, attribute))


@frozen
class _Adopting:
    """The part of a reactor that takes over a UNIX socket, which stays as it is when it is closed here."""

    _reactor: Any

    def adoptStreamPort(self, descriptor: int, _: int, factory: IProtocolFactory) -> Any:
        port: Any = unix.Port._fromListeningDescriptor(self._reactor, descriptor, factory)
        hide_path(port)
        # As with TCP: it would end for the service manager too.
        port._shouldShutdown = False
        port.startListening()
        return port


def keep_passed(endpoint: IStreamServerEndpoint, reactor: Any) -> IStreamServerEndpoint:
    """Return an endpoint that leaves a UNIX socket as it is to the service manager that has passed it.

    Twisted would let everybody connect, which only the owner of its file can do. At the end it would
    remove the file and have the socket listen no more, so that the next daemon would get no client.
    """
    if isinstance(endpoint, AdoptedStreamServerEndpoint) and endpoint.addressFamily == AF_UNIX:
        endpoint.reactor = _Adopting(reactor)
    return endpoint


@implementer(IStreamServerEndpoint)
@frozen
class FileEndpoint:
    """An endpoint with connections that let files be sent, if it is one for plain connections.

    It does nothing if there is a layer between the connection and our protocol: TLS, the PROXY protocol.
    """

    endpoint: IStreamServerEndpoint
    transports: Transports = TRANSPORTS

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, as the endpoint itself does."""
        return self.endpoint.listen(factory).addCallback(self._listening, factory)

    def _listening(self, port: Any, factory: IProtocolFactory) -> IListeningPort:
        transport = self.transports.get(type(port))
        if transport is not None and port.factory is factory:
            # Twisted reads this attribute for each connection, so it can be replaced.
            port.transport = transport
        listening: IListeningPort = port
        return listening
