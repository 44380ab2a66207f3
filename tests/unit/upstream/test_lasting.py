"""Failures that will be the same in a second are not retried."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.error import ConnectionRefusedError as Refused

from oci_registry.spec.errors import BadGateway
from oci_registry.upstream.errors import CircuitOpen
from oci_registry.upstream.verification import CertificateRefused
from tests.unit.upstream.support import A, B, RequestsTestCase, manifest


class Lasting(RequestsTestCase):
    """Hosts to which no connection can be made, now or in a second."""

    def test_at_once(self) -> None:
        """Nobody waits for a certificate or a protocol to become right."""
        refused = CertificateRefused("hostname mismatch")
        plain = SSL.Error([("SSL routines", "", "wrong version number")])
        for trouble in (refused, plain):
            self.connect()
            for host in (A, B):
                self.answer(host, trouble)
            before = len(self.asked)
            self.error(self.ask(patient=True), BadGateway)
            self.assertEqual(before + 2, len(self.asked))
            self.assertEqual([], self.clock.getDelayedCalls())

    def test_opens_circuit(self) -> None:
        """A host with a wrong certificate is soon not asked any more, and then probed."""
        self.names = (A,)
        self.connect()
        self.answer(A, CertificateRefused("hostname mismatch"))
        for _ in range(5):
            self.error(self.ask(), BadGateway)
        self.error(self.ask(), CircuitOpen)
        self.assertEqual(5, self.asked_of(A))
        self.answer(A, manifest())
        self.successResultOf(self.ask(patient=True))

    def test_at_one(self) -> None:
        """Another host that may be about to work again is still waited for."""
        self.answer(A, CertificateRefused("hostname mismatch"))
        answers = [Refused(), Refused(), manifest()]
        self.answer(B, lambda _: answers.pop(0))
        asked = self.ask(patient=True)
        self.clock.pump([0.5] * 4)
        self.successResultOf(asked)
