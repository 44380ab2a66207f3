"""Certificates of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, TLSVersion
from zope.interface import implementer

_NEWEST = {
    TLSVersion.TLSv1_1: SSL.TLS1_1_VERSION,
    TLSVersion.TLSv1_2: SSL.TLS1_2_VERSION,
}


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Certified:
    """A certificate for *name*, a host's name or an IP address, signed by *issuer* or by itself.

    *names*: the hosts that it is for, if not the one that it is called by. *usage*: what it may be used
    for, if not for everything. *authority*: whether it may sign others.
    """

    def __init__(
        self,
        name: str,
        *,
        names: Sequence[str] = (),
        days: int = 1,
        issuer: Certified | None = None,
        usage: x509.ObjectIdentifier | None = None,
        authority: bool = True,
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        known = [_general(host) for host in names or (name,)]
        end = datetime.now(UTC) + timedelta(days=days)
        signer = issuer or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._subject)
            .issuer_name(signer._subject)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=30))
            .not_valid_after(end)
            .add_extension(x509.SubjectAlternativeName(known), critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        self._certificate = builder.sign(signer._key, hashes.SHA256())
        self.certificate: bytes = self._certificate.public_bytes(serialization.Encoding.PEM)
        self.key: bytes = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def as_trusted(self) -> Certificate:
        """Return it as Twisted wants those that are trusted."""
        return Certificate(crypto.X509.from_cryptography(self._certificate))

    def server(
        self,
        *chain: Certified,
        clients: Certified | None = None,
        demanding: bool = True,
        lower: TLSVersion | None = None,
    ) -> CertificateOptions:
        """Return what a server that has this certificate listens with; it sends *chain* behind it.

        *clients*: who vouches for clients, which are asked for a certificate; they are turned away
        without one if *demanding*. *lower*: the newest version that is spoken.
        """
        options: dict[str, Any] = {}
        if lower is not None:
            options["insecurelyLowerMinimumTo"] = lower
        if clients is not None:
            options |= {
                "verify": True,
                "requireCertificate": demanding,
                "caCerts": [crypto.X509.from_cryptography(clients._certificate)],
            }
        made = CertificateOptions(
            privateKey=self._key,
            certificate=self._certificate,
            extraCertChain=[crypto.X509.from_cryptography(one._certificate) for one in chain],
            **options,
        )
        if lower is not None:
            # Twisted's own limit of the newest version means another one in older releases.
            made.getContext().set_max_proto_version(_NEWEST[lower])
        return made


@implementer(IOpenSSLServerConnectionCreator)
class Changing:
    """What a server listens with whose *certified* may be changed while it does."""

    def __init__(self, certified: Certified) -> None:
        self.certified = certified

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self.certified.server().getContext(), None)
