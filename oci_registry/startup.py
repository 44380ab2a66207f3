"""The line that the daemon logs when it listens: its version, addresses, registries and store."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import define
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from oci_registry.config.settings import CATCH_ALL, Settings
from oci_registry.spec.units import in_bytes
from oci_registry.spec.urls import authority

MOST_NAMED = 4
"""The maximum number of registries that are all named; if there are more, only the first two are."""


@implementer(IStreamServerEndpoint)
@define(eq=False)
class KnownEndpoint:
    """An endpoint that knows its actual address, which its description may leave open (port 0)."""

    description: str
    _endpoint: IStreamServerEndpoint
    _port: IListeningPort | None = None

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen, as the endpoint itself does."""
        return self._endpoint.listen(factory).addCallback(self._listening)

    def _listening(self, port: IListeningPort) -> IListeningPort:
        self._port = port
        return port

    @property
    def port(self) -> IListeningPort | None:
        """The port number; None before it listens."""
        return self._port

    @property
    def url(self) -> str:
        """The URL of the address, ``unix:PATH`` for a socket, or else the description."""
        if self._port is None:
            return self.description
        address = self._port.getHost()
        if isinstance(address, UNIXAddress):
            name = address.name or b""
            return f"unix:{name.decode('utf-8', 'replace')}".replace("\0", "@")
        if not isinstance(address, IPv4Address | IPv6Address):
            return self.description
        # If it is not imported, nothing uses TLS, and it should not be imported just for this check.
        tls = sys.modules.get("twisted.protocols.tls")
        wrapped = tls is not None and isinstance(
            getattr(self._port, "factory", None), tls.TLSMemoryBIOFactory
        )
        scheme = "https" if wrapped or self.description.startswith("ssl:") else "http"
        return f"{scheme}://{authority(address.host, address.port)}"


def listed(items: Sequence[str]) -> str:
    """Return words as a list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join((", ".join(items[:-1]), items[-1]) if len(items) > 1 else items)


def mirrored(settings: Settings) -> str:
    """Return which registries are mirrored: ``docker.io, quay.io and any other registry``."""
    offline = {up.namespace for up in settings.upstreams if up.offline and not settings.offline}
    names = [
        f"{up.namespace} (offline)" if up.namespace in offline else up.namespace
        for up in settings.upstreams
        if up.namespace != CATCH_ALL
    ]
    any_other = settings.allow_dynamic_upstreams or len(names) < len(settings.upstreams)
    every = " (all offline)" if settings.offline else ""
    others = " (offline)" if CATCH_ALL in offline else ""
    if not names:
        return f"any registry{others}{every}" if any_other else "no registry"
    if len(names) > MOST_NAMED:
        names = [*names[:2], f"{len(names) - 2} more"]
    return listed([*names, f"any other registry{others}"] if any_other else names) + every


def free_space(root: str) -> str | None:
    """Return the free space of the volume that *root* is on, or will be: ``41 GB``. Blocks.

    None if it is not known.
    """
    place = Path(root)
    try:
        while not place.exists() and place != place.parent:
            place = place.parent
        free = shutil.disk_usage(place).free
    except OSError:
        return None
    return in_bytes(free)
