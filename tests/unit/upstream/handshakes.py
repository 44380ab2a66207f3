"""Handshakes in memory, between what a policy makes and a server with a certificate."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.settings import HostSettings
from oci_registry.upstream.tls import TlsPolicy
from oci_registry.upstream.verification import CertificateRefused
from tests.support.certificates import Certified

HOST = "registry.example.com"


class Handshake:
    """TLS in memory between a server and a client made by a policy."""

    def __init__(self, policy: TlsPolicy, server: Any, host: str = HOST, port: int = 443) -> None:
        creator = policy.creatorForNetloc(host.encode(), port)
        self.client = creator.clientConnectionForTLS(None)
        self.client.set_connect_state()
        self.server = SSL.Connection(server.getContext(), None)
        self.server.set_accept_state()

    def run(self) -> None:
        """Shake hands; raises what the client meets."""
        for _ in range(4):
            for one, other in ((self.client, self.server), (self.server, self.client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error:
                    if one is self.client:
                        raise
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(1 << 16))


class PolicyTestCase(SynchronousTestCase):
    """Policies for an upstream."""

    def settings(self, host: str = HOST, **options: Any) -> HostSettings:
        return HostSettings(host, **options)

    def file(self, *parts: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(b"\n".join(parts))
        return str(path)

    def reason(self, policy: TlsPolicy, certified: Certified, host: str = HOST) -> str:
        handshake = Handshake(policy, certified.server(), host)
        error = self.assertRaises(CertificateRefused, handshake.run)
        return str(error.args[0][0][-1])
